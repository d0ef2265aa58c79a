"""The data rooms are told as ratios, megabytes and recall, in a section of their own."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.bench import __main__ as bench
from tests.bench import page
from tests.bench.results import Results, as_json
from tests.bench.roster import ROOMS
from tests.bench.sample import Sample
from tests.bench.section import ratios, section
from tests.bench.transfers import TRANSFERS
from tests.bench.vectors import NEAREST, QUESTIONS, SEARCH, SIZE, near, questions, recall
from tests.bench.work import WrongAnswer
from tests.unit.bench.runs import run
from tests.unit.bench.test_regression import FACTS

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

USER: Final = "00000000-0000-4000-8000-000000000000"
OTHER: Final = "00000000-0000-4000-8000-000000000001"
RATES: Final = {
    "fluxbase-free": [200.0, 100.0, 210.0],
    "fluxbase-query": [5000.0, 5000.0, 5000.0],
    "fluxbase-vectors": [1500.0, 1500.0, 1500.0],
    "pgbench-vectors": [2000.0, 2000.0, 2000.0],
    "fluxbase-put-8m-local": [50.0, 50.0, 50.0],
    "raw-put-8m-local": [100.0, 100.0, 100.0],
}


def rooms(errors: int = 0) -> dict[str, Any]:
    samples = {
        name: [Sample(rate, 3.0, 8.0, errors, 200.0, 100.0, 70.0) for rate in rates]
        for name, rates in RATES.items()
    }
    told = {"rows": 20_000, "size": 64, "owners": 10, "questions": 200, "recall": 0.985}
    return {"facts": FACTS, "vectors": told, **as_json(Results(samples))}


def found(*ids: int, user_id: str = USER) -> list[dict[str, Any]]:
    return [{"id": n, "user_id": user_id, "body": ""} for n in ids]


def test_each_neighbour_has_a_line_with_its_ratio() -> None:
    free, vectors, put, told = ratios(rooms())
    assert free == (
        "10 rows of 100,000 by free SQL: 200 calls/s, 0.040 x Fluxbase, query_table (5,000 calls/s)"
    )
    assert "1,500 calls/s, 0.75 x pgbench, the same SQL (2,000 calls/s)" in vectors
    assert "50/s, 419 MB/s, 0.50 x raw file (100/s, 839 MB/s)" in put
    assert told.startswith("recall@10 of search_vectors: 0.985 over 200 questions to 20,000")


def test_without_a_search_nothing_is_said_of_recall() -> None:
    part = rooms()
    del part["vectors"]
    assert not any("recall" in line for line in ratios(part))


def test_the_section_has_the_ratios_the_tables_and_how_noisy_it_was() -> None:
    text = section(rooms())
    assert text.startswith("## Data rooms\n\nMeasured on 2026-01-02 on a processor, 2 cores")
    assert "differed by up to 55% of its median" in text  # of 200: 100 to 210
    assert all(f"- {line}" in text for line in ratios(rooms()))
    row = next(line for line in text.splitlines() if line.startswith("| raw file"))
    assert re.findall(r"[\d.,]+", row)[-1] == "0.50"
    assert "- raw file: no server" in text


def test_the_section_follows_what_is_said_of_the_peers(tmp_path: Path) -> None:
    peers = {"facts": FACTS, **as_json(run())}
    page.write(peers, tmp_path)
    alone = (tmp_path / "benchmark.md").read_text("utf-8")
    page.write({**peers, "rooms": rooms()}, tmp_path)
    assert (tmp_path / "benchmark.md").read_text("utf-8") == f"{alone}\n{section(rooms())}\n"
    page.write({"rooms": rooms()}, tmp_path)
    assert section(rooms()) in (tmp_path / "benchmark.md").read_text("utf-8")


def test_a_run_of_the_rooms_alone_keeps_the_earlier_run_of_the_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measured(options: argparse.Namespace, _: Path) -> dict[str, Any]:
        assert options.peers == []
        assert len(options.rooms) == 5 + 2 * len(TRANSFERS)
        return {"rooms": rooms()}

    monkeypatch.setattr(bench, "_measured", measured)
    path = tmp_path / "results.json"
    peers = {"facts": FACTS, **as_json(run(fluxbase=3000.0))}
    path.write_text(json.dumps(peers), "utf-8")
    assert bench.main(["--only", "rooms", "--json", str(path)]) == 0
    assert json.loads(path.read_text("utf-8")) == json.loads(
        json.dumps({**peers, "rooms": rooms()})
    )
    said = capsys.readouterr().out
    assert "0.75 x pgbench, the same SQL" in said
    assert "MISSED" not in said  # what was not measured now is not judged


def test_wrong_answers_in_a_room_are_a_miss(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "kept.json"
    path.write_text(json.dumps({"rooms": rooms(errors=1)}), "utf-8")
    assert bench.main(["--from", str(path)]) == 1
    assert "MISSED: raw file (8 MiB uploaded, bytes in a folder): 3 wrong" in (
        capsys.readouterr().out
    )


def test_objects_go_both_ways_in_both_places() -> None:
    kinds = {(one.way, one.place) for one in TRANSFERS.values()}
    assert kinds == {(way, place) for way in ("put", "get") for place in ("local", "s3")}
    assert set(TRANSFERS) < set(ROOMS)
    assert TRANSFERS["get-64k-s3"].mb(1000) == pytest.approx(65.536)


def test_recall_is_the_share_of_the_true_neighbours() -> None:
    assert recall([[1, 2], [3, 4]], [[2, 1], [3, 5]]) == 0.75
    assert recall([[], [9]], [[1], [9]]) == 0.5
    with pytest.raises(ValueError, match="longer"):
        recall([[1]], [[1], [2]])


def test_questions_are_the_same_each_time() -> None:
    first = questions()
    questions.cache_clear()
    assert questions() == first
    assert (len(first), {len(one) for one in first}) == (QUESTIONS, {SIZE})


def test_the_parameters_of_a_search_get_their_names() -> None:
    statement = near(":v1", ":most", ":least")
    assert [statement.count(name) for name in (":v1", ":most", ":least")] == [2, 1, 1]
    assert not re.search("VECTOR|MOST|LEAST", statement)


def test_a_search_answers_with_as_many_rows_of_the_caller_as_asked_for() -> None:
    SEARCH.check(found(*range(NEAREST)), USER)
    for wrong in (found(*range(NEAREST - 1)), found(*range(NEAREST), user_id=OTHER)):
        with pytest.raises(WrongAnswer):
            SEARCH.check(wrong, USER)
