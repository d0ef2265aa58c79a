"""Builds indexes of vectors without stopping writes; it must not know what is searched.

Source: pgvector, README, "Indexing": HNSW's defaults suit up to some millions of rows; IVFFlat
wants rows / 1000 lists up to a million rows, their square root beyond, and rows to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Final

from fluxbase.db.queries import queries
from fluxbase.db.sql import Sql, concat, ident, sql

if TYPE_CHECKING:
    from fluxbase.db.types import Connection

FEW_FOR_LISTS: Final = 1000  # below this an IVFFlat index would be learned from too little
MOST_DIMENSIONS: Final = {"vector": 2000, "halfvec": 4000, "sparsevec": 16_000}
_LOCK: Final = 0x766563
_MEMORY: Final = sql("SET maintenance_work_mem = '256MB'")
_MANY: Final = 20_000  # rows from which on the graph outgrows what Postgres gives by itself
_METHODS: Final = {"hnsw": sql("hnsw"), "ivfflat": sql("ivfflat")}
_CLASSES: Final = {
    (kind, metric): f"{kind}_{short}_ops"
    for kind in MOST_DIMENSIONS
    for metric, short in (
        ("cosine", "cosine"), ("l2", "l2"), ("inner_product", "ip"), ("l1", "l1"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """The index that is wanted, on one column of vectors."""

    relation: int  # its oid
    schema: str
    table: str
    column: str
    kind: str  # vector, halfvec or sparsevec
    metric: str
    method: str  # hnsw or ivfflat
    rows: int
    afresh: bool = False  # build another one although there is one

    @property
    def opclass(self) -> str:
        """The operator class that serves the metric."""
        return _CLASSES[self.kind, self.metric]


def fault(kind: str, dimensions: int, metric: str, method: str) -> str | None:
    """Return why pgvector has no such index, or `None`."""
    if dimensions > MOST_DIMENSIONS[kind]:
        return f"an index of {kind} holds at most {MOST_DIMENSIONS[kind]} dimensions"
    if method == "ivfflat" and (metric == "l1" or kind == "sparsevec"):
        return "ivfflat knows neither the metric l1 nor sparsevec"
    return None


def parameters(method: str, rows: int) -> dict[str, int]:
    """Return the parameters of an index for a number of rows."""
    if method == "ivfflat":
        return {"lists": max(1, rows // 1000 if rows <= 1_000_000 else isqrt(rows))}
    # A denser graph keeps recall where there are very many rows, at twice the price.
    dense = rows > 2_000_000
    return {"m": 24 if dense else 16, "ef_construction": 128 if dense else 64}


async def build(conn: Connection, wanted: VectorIndex) -> bool:
    """Build the index unless there is one; return false when somebody else is building.

    Raises:
        asyncpg.PostgresError: Postgres cannot build it; what was begun is taken away next time.
    """
    lock = (_LOCK << 32) + wanted.relation
    if not await conn.fetchval("SELECT pg_try_advisory_lock($1)", lock):
        return False
    try:
        await _build(conn, wanted)
    finally:
        await conn.execute("SELECT pg_advisory_unlock($1)", lock)
    return True


async def _build(conn: Connection, wanted: VectorIndex) -> None:
    query = queries()["vector_indexes"].sql
    known = await conn.fetch(query, wanted.relation, wanted.column)
    for index in known:
        if not index["valid"]:
            await _drop(conn, wanted.schema, index["name"])
    same = [
        index["name"]
        for index in known
        if index["valid"] and (index["method"], index["opclass"]) == (wanted.method, wanted.opclass)
    ]
    if same and not wanted.afresh:
        return
    taken = {index["name"] for index in known}
    name = next(name for n in range(100) if (name := _name(wanted, n)) not in taken)
    if wanted.rows >= _MANY:
        await conn.execute(_MEMORY)
    try:
        await conn.execute(_statement(wanted, name), timeout=None)
    finally:
        await conn.execute("RESET maintenance_work_mem")
    for old in same:
        await _drop(conn, wanted.schema, old)


async def _drop(conn: Connection, schema: str, name: str) -> None:
    await conn.execute(concat(sql("DROP INDEX CONCURRENTLY IF EXISTS "), ident(schema, name)))


def _statement(wanted: VectorIndex, name: str) -> Sql:
    given = parameters(wanted.method, wanted.rows)
    return concat(
        sql("CREATE INDEX CONCURRENTLY "), ident(name), sql(" ON "),
        ident(wanted.schema, wanted.table), sql(" USING "), _METHODS[wanted.method], sql(" ("),
        ident(wanted.column), sql(" "), ident("extensions", wanted.opclass), sql(") WITH ("),
        Sql(", ".join(f"{key} = {value:d}" for key, value in given.items())), sql(")"),
    )  # fmt: skip


def _name(wanted: VectorIndex, n: int) -> str:
    end = f"_{wanted.method}" + (f"_{n}" if n else "")
    return f"{wanted.table}_{wanted.column}"[: 63 - len(end)] + end
