"""Asks a function of the database for embeddings; it must not know what they are for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxbase.db.sql import concat, ident, sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.db.types import Connection


async def embed_by(
    conn: Connection, function: str, texts: Sequence[str], *, seconds: float
) -> list[str]:
    """Return what a function `schema.name` makes of each text, as text.

    Raises:
        asyncpg.PostgresError: there is no such function, or it fails.
    """
    statement = concat(
        sql("SELECT "),
        ident(*function.split(".")),
        sql("(u.t)::text AS made FROM unnest($1::text[]) WITH ORDINALITY u(t, n) ORDER BY n"),
    )
    rows = await conn.fetch(statement, list(texts), timeout=seconds)
    return [row["made"] or "" for row in rows]
