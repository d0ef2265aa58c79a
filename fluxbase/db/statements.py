"""Reads what pg_stat_statements counts; it must not judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbase.db.sql import concat, ident, sql

if TYPE_CHECKING:
    from fluxbase.db.types import Connection, Record


async def statements(conn: Connection, schema: str, limit: int, *, seconds: float) -> list[Record]:
    """Return what the extension, which is in `schema`, counts of this database, slowest first.

    Raises:
        asyncpg.PostgresError: it cannot be read.
    """
    text = concat(
        sql("SELECT left(query, 2000) AS query, calls, total_exec_time AS total_ms, "),
        sql("mean_exec_time AS mean_ms, rows FROM "),
        ident(schema, "pg_stat_statements"),
        sql(" WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) "),
        sql("ORDER BY total_exec_time DESC LIMIT $1"),
    )
    return await conn.fetch(text, limit, timeout=seconds)
