"""The short way to one row is no other way than the driver's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from fluxbase.db.pool import connect

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fluxbase.app.backend import Backend
    from fluxbase.db.line import Line


@pytest.fixture
async def line(backend: Backend) -> AsyncGenerator[Line]:
    conn = await connect(backend.database.logins.admin, settings={}, seconds=10)
    await conn.execute("CREATE TEMP TABLE t (a int, b text)")
    yield conn
    await conn.close()


async def twice(line: Line, query: str, *values: object) -> list[asyncpg.Record | None]:
    """Ask the long way, then the short one."""
    return [await line.one(query, values) for _ in range(2)]


async def test_both_ways_give_the_first_row_and_nothing_where_there_is_none(line: Line) -> None:
    some = await twice(line, "SELECT $1::int AS a, n FROM generate_series(1, 3) n", 5)
    assert [dict(row) for row in some if row is not None] == [{"a": 5, "n": 1}] * 2
    assert await twice(line, "SELECT a FROM t WHERE a = $1", 5) == [None, None]


async def test_the_second_call_prepares_nothing(line: Line) -> None:
    query = "SELECT 'told apart', count(*) FROM pg_prepared_statements WHERE statement ~ 'told'"
    assert [row[1] for row in await twice(line, query) if row] == [1, 1]


async def test_a_table_that_changed_is_read_as_it_is_now(line: Line) -> None:
    await line.execute("INSERT INTO t VALUES (1, 'x')")
    query = "SELECT * FROM t"
    assert [list(row) for row in await twice(line, query) if row] == [[1, "x"]] * 2
    await line.execute("ALTER TABLE t ALTER a TYPE text, DROP b, ADD c int DEFAULT 7")
    assert [list(row) for row in await twice(line, query) if row] == [["1", 7]] * 2


async def test_a_type_that_changed_is_known_at_the_second_try(line: Line) -> None:
    await line.execute(
        "CREATE TYPE pg_temp.pair AS (a int, b int); CREATE FUNCTION pg_temp.one() "
        "RETURNS pg_temp.pair LANGUAGE plpgsql AS "
        "'DECLARE p pg_temp.pair; BEGIN p.a := 1; RETURN p; END'"
    )
    query = "SELECT pg_temp.one() AS p"
    assert [tuple(row["p"]) for row in await twice(line, query) if row] == [(1, None)] * 2
    await line.execute("ALTER TYPE pg_temp.pair DROP ATTRIBUTE b")
    with pytest.raises(asyncpg.OutdatedSchemaCacheError):
        await line.one(query, ())
    assert [tuple(row["p"]) for row in await twice(line, query) if row] == [(1,)] * 2


async def test_errors_are_the_same_and_the_line_goes_on(line: Line) -> None:
    query = "SELECT 1 / $1::int AS a"
    await line.one(query, (1,))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await line.one(query, (0,))
    with pytest.raises(asyncpg.DataError):
        await line.one(query, ("x",))
    with pytest.raises(asyncpg.InterfaceError):
        await line.one(query, (1, 2))
    row = await line.one(query, (1,))
    assert row is not None
    assert row["a"] == 1
    await line.close()
    with pytest.raises(asyncpg.InterfaceError):
        await line.one(query, (1,))
