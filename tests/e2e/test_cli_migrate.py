"""Migrations and the doctor at the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.cli_stand import Place, place

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture(scope="module")
def here() -> Generator[Place]:
    with place() as made:
        yield made


@pytest.fixture
def begun(here: Place) -> Generator[Path]:
    done = here.run("migrate", "new", "add_memos")
    assert done.code == 0, done.err
    file = here.folder / done.out.strip()
    yield file
    file.unlink(missing_ok=True)


def test_a_new_file_has_both_markers_and_is_refused_until_it_says_something(
    here: Place, begun: Path
) -> None:
    assert begun.read_text().split() == ["--", "migrate:up", "--", "migrate:down"]
    assert begun.name[:14].isdigit()
    again = here.run("migrate", "new", "add_memos")
    assert (again.code, "exists already" in again.err) == (2, True)
    empty = here.run("migrate", "up")
    assert (empty.code, "has no SQL" in empty.err) == (1, True)


def test_up_status_and_down_agree(here: Place, begun: Path) -> None:
    begun.write_text("-- migrate:up\nCREATE TABLE memos ();\n-- migrate:down\nDROP TABLE memos;\n")
    assert "pending" in here.run("migrate", "status").out
    assert here.run("migrate", "up").out.splitlines()[-1] == f"applied {begun.stem}"
    assert here.run("migrate", "up").out == "nothing to apply\n"
    assert here.run("migrate", "status", "-o", "json").json[0]["status"] == "applied"
    assert here.run("migrate", "down").out == f"undone {begun.stem}\n"
    nothing = here.run("migrate", "down")
    assert (nothing.code, "no applied migration" in nothing.err) == (1, True)


def test_a_failing_migration_stops_the_server_and_names_itself(here: Place, begun: Path) -> None:
    begun.write_text("-- migrate:up\nCREATE TABLE a ();\nCREATE TABEL b ();\n")
    for command in ("migrate", "up"), ("serve",):
        done = here.run(*command)
        assert done.code == 1
        assert f"migration {begun.stem} failed" in done.err
    assert not here.postgres_runs()


def test_the_server_applies_what_is_pending(here: Place, begun: Path) -> None:
    begun.write_text("-- migrate:up\nCREATE TABLE memos ();\n-- migrate:down\nDROP TABLE memos;\n")
    with here.serving() as running:
        assert f"applied your migration {begun.stem}" in running.err.read_text()
    assert here.run("migrate", "down").code == 0


def test_the_programs_own_history_is_shown_apart(here: Place) -> None:
    rows = here.run("migrate", "status", "--system", "-o", "json").json
    assert rows[0]["version"] == "0001"
    assert {row["status"] for row in rows} == {"applied"}


@pytest.mark.parametrize("name", ["", "../x", "a b", "é", "-x", "a" * 101])
def test_a_name_that_cannot_be_a_file_is_refused(here: Place, name: str) -> None:
    assert here.run("migrate", "new", "--", name).code == 2


def test_the_doctor_names_what_is_unsafe_and_what_mends_it(here: Place, begun: Path) -> None:
    begun.write_text(
        "-- migrate:up\nCREATE TABLE open (id int); GRANT SELECT ON open TO authenticated;\n"
        "-- migrate:down\nDROP TABLE open;\n"
    )
    assert here.run("migrate", "up").code == 0
    done = here.run("doctor")
    assert done.code == 1
    assert "public.open" in done.out
    assert "fix: ALTER TABLE public.open ENABLE ROW LEVEL SECURITY;" in done.out
    assert here.run("migrate", "down").code == 0
    assert here.run("doctor", "--strict").code == 0


def test_a_database_that_cannot_be_reached_is_said(here: Place) -> None:
    env = {"FLUXBASE_DATABASE_URL": "postgresql://u:hidden-word@127.0.0.1:1/x"}
    for command in ("doctor",), ("clientkeys", "list"), ("migrate", "status"), ("serve",):
        done = here.run(*command, **env)
        assert done.code == 1
        assert "cannot be reached" in done.out + done.err
        assert "hidden-word" not in done.out + done.err
