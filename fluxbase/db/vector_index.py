"""Builds indexes of vectors without stopping writes; it must not know what is searched.

Source: pgvector, README, "Indexing": HNSW's defaults suit up to some millions of rows; IVFFlat
wants rows / 1000 lists up to a million rows, their square root beyond, and rows to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Final, Literal

from fluxbase.db.queries import queries
from fluxbase.db.sql import Sql, concat, ident, sql

if TYPE_CHECKING:
    from fluxbase.db.types import Connection, Record

Metric = Literal["cosine", "l2", "inner_product", "l1"]
FEW_FOR_LISTS: Final = 1000  # below this an IVFFlat index would be learned from too little
MOST_DIMENSIONS: Final = {"vector": 2000, "halfvec": 4000, "sparsevec": 16_000}
_LOCK: Final = 0x766563
_MEMORY: Final = sql("SET maintenance_work_mem = '256MB'")
_MANY: Final = 20_000  # rows from which on the graph outgrows what Postgres gives by itself
_LONGEST_NAME: Final = 63  # bytes
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
    """The index that a collection wants, on one column of vectors."""

    collection: str
    relation: int  # its oid
    schema: str
    table: str
    column: str
    kind: str  # vector, halfvec or sparsevec
    metric: str
    method: str  # hnsw or ivfflat
    rows: int
    own: str | None  # the one that was made for the collection before
    state: str  # as it was read; "stale": build another one although there is one

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


def _cut(name: str, end: str) -> str:
    # Postgres counts bytes.
    return name.encode()[: _LONGEST_NAME - len(end)].decode(errors="ignore") + end


async def build(conn: Connection, wanted: VectorIndex) -> None:
    """Build the index unless one serves, and write down that it is ready.

    Nothing is done when somebody else is building, or has built since it was read what is wanted.
    No index is touched but the collection's own.

    Raises:
        asyncpg.PostgresError: Postgres cannot build it; what was begun is taken away next time.
    """
    lock = (_LOCK << 32) + wanted.relation
    if not await conn.fetchval("SELECT pg_try_advisory_lock($1)", lock):
        return
    known = wanted.collection, wanted.state, wanted.own
    try:
        if await conn.fetchval(queries()["is_still_wanted"].sql, *known):
            await _build(conn, wanted)
            done = wanted.collection, "ready", None, wanted.state
            await conn.execute(queries()["set_index_state"].sql, *done)
    finally:
        await conn.execute("SELECT pg_advisory_unlock($1)", lock)


async def _build(conn: Connection, wanted: VectorIndex) -> None:
    known = await conn.fetch(queries()["vector_indexes"].sql, wanted.relation, wanted.column)
    own = next((index for index in known if index["name"] == wanted.own), None)
    if own is not None and not own["valid"]:
        await _drop(conn, wanted.schema, own["name"])
        own = None
    serving = any(index["name"] != wanted.own and _serves(index, wanted) for index in known)
    if serving or (own is not None and _serves(own, wanted) and wanted.state != "stale"):
        return
    name = await _free_name(conn, wanted)
    await conn.execute(queries()["name_index"].sql, wanted.collection, name)
    if wanted.rows >= _MANY:
        await conn.execute(_MEMORY)
    try:
        await conn.execute(_statement(wanted, name), timeout=None)
    finally:
        await conn.execute("RESET maintenance_work_mem")
    if own is not None:
        await _drop(conn, wanted.schema, own["name"])


def _serves(index: Record, wanted: VectorIndex) -> bool:
    same = (index["method"], index["opclass"]) == (wanted.method, wanted.opclass)
    return same and index["valid"] and not index["partial"]


async def _free_name(conn: Connection, wanted: VectorIndex) -> str:
    number = 0
    while True:
        end = f"_{wanted.method}" + (f"_{number}" if number else "")
        name = _cut(f"{wanted.table}_{wanted.column}", end)
        if await conn.fetchval(queries()["is_free_name"].sql, wanted.schema, name):
            return name
        number += 1


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
