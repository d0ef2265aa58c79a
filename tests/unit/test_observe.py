"""What is seen is counted, and what looks like a secret is blanked."""

from __future__ import annotations

import json
import logging

import pytest

from fluxbase.observe import Call, Observer, redact, set_up_logging


def test_calls_are_counted_by_tool_and_outcome() -> None:
    observer = Observer()
    call = Call("r", "tools/call", "query_table", "k", "ok", "", 0.01)
    observer.call(call)
    observer.watch(lambda: [("pool_size", "Connections allowed", "client", 4)])
    text = observer.text().decode()
    assert 'fluxbase_calls_total{outcome="ok",tool="query_table"} 1.0' in text
    assert 'fluxbase_pool_size{name="client"} 4.0' in text


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
