"""What is seen is counted, and what looks like a secret is blanked."""

from __future__ import annotations

import json
import logging

import pytest

from fluxbase.observe import Call, Observer, redact, set_up_logging


def test_calls_are_counted_by_tool_and_outcome() -> None:
    observer = Observer()
    observer.count("query_table", "ok", 0.01)
    observer.watch(lambda: [("pool_size", "Connections allowed", "client", 4)])
    text = observer.text().decode()
    assert 'fluxbase_calls_total{outcome="ok",tool="query_table"} 1.0' in text
    assert 'fluxbase_pool_size{name="client"} 4.0' in text


def test_times_are_counted_by_how_long_they_were() -> None:
    observer = Observer()
    for seconds in (0.0004, 0.001, 0.2, 31):
        observer.count("query_table", "ok", seconds)
    lines = observer.text().decode().splitlines()
    told = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in lines}
    name = "fluxbase_call_seconds_bucket"
    assert told[f'{name}{{le="0.001",tool="query_table"}}'] == "2.0"
    assert told[f'{name}{{le="0.1",tool="query_table"}}'] == "2.0"
    assert told[f'{name}{{le="0.25",tool="query_table"}}'] == "3.0"
    assert told[f'{name}{{le="+Inf",tool="query_table"}}'] == "4.0"
    assert told['fluxbase_call_seconds_count{tool="query_table"}'] == "4.0"
    assert float(told['fluxbase_call_seconds_sum{tool="query_table"}']) == pytest.approx(31.2014)


@pytest.mark.parametrize(("level", "told"), [("info", ["failed"]), ("debug", ["ok", "failed"])])
def test_a_call_that_failed_has_a_line_and_one_that_did_not_only_when_asked_for(
    level: str, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    observer = Observer()
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        set_up_logging(level, "json")
        for outcome in ("ok", "failed"):
            if observer.tells(outcome):
                observer.tell(Call("r", "tools/call", "query_table", "k", outcome, "", 0.01))
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        logging.getLogger().handlers[:] = before[0]
        logging.getLogger().setLevel(before[1])
    assert [line["message"] for line in lines] == [f"query_table {outcome}" for outcome in told]
    assert all(line["principal"] == "k" for line in lines)


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("key fbk_abcdefgh_0123456789abcdefABCDEF0123456789_AbCd01 used", "0123456789abcdef"),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "eyJzdWIi"),
        ("postgresql://owner:hunter2@db/app", "hunter2"),
        ("redis://:hunter2@cache", "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_blanked(line: str, secret: str) -> None:
    assert secret not in redact(line)
    assert "***" in redact(line)


def test_json_lines_carry_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        set_up_logging("info", "json")
        logging.getLogger("fluxbase.test").info("done", extra={"fields": {"request_id": "r1"}})
        line = json.loads(capsys.readouterr().err)
    finally:
        logging.getLogger().handlers[:] = before[0]
        logging.getLogger().setLevel(before[1])
    assert (line["message"], line["request_id"], line["level"]) == ("done", "r1", "info")
