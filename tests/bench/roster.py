"""The names of all contestants, in the order of the tables, and what is not equal about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.bench.transfers import TRANSFERS


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant in a group that is compared; `note` says how its work differs."""

    name: str
    group: str
    label: str
    note: str = ""
    drawn: bool = True  # in the picture


GROUPS: Final = {
    "ten": "10 rows of 100,000",
    "thousand": "1,000 rows of 100,000",
    "insert": "one row inserted",
    "embedded": "10 tasks, each with its project and its comments",
    "keys": "10 rows of 100,000, 200 callers in turn",
    "free": "10 rows of 100,000 by free SQL",
    "vectors": "10 nearest of the vectors that a caller sees",
    **{name: transfer.title for name, transfer in TRANSFERS.items()},
}
# The groups that are measured by themselves, after the others.
ROOMS: Final = ("free", "vectors", *TRANSFERS)
# The contestant of each group that the others are compared with.
OURS: Final = {
    "ten": "fluxbase",
    "thousand": "fluxbase-1000",
    "insert": "fluxbase-insert",
    "embedded": "fluxbase-embedded",
    "keys": "fluxbase-200",
    **{name: f"fluxbase-{name}" for name in ROOMS},
}
PINNED: Final = "starlette-1"

_PINNED: Final = "no credentials, limits or audit; its connections have the caller's role for good"
_TRIPS: Final = "no credentials, limits or audit; enters the caller's role for each call"
_LOGIN: Final = "no credentials, limits or audit; one fixed login that is set to the caller's role"
_OURS: Final = (
    "keys, rate limit, audit and metrics on; it tells whether there are more rows, and an answer "
    "holds the rows twice, as text and as structured content; quick reads of one key that come at "
    "the same moment share a connection, and all of these are of one key"
)
_NONE: Final = "no server at all; CPU is that of the loop, which holds 16 connections itself"
_TOOLBOX: Final = f"{_LOGIN}; an answer holds the rows once, each as a text of its own"
_REST: Final = (
    "plain HTTP instead of MCP; verifies a token (kept in its cache) and enters the caller's role "
    "for each call; no rate limit or audit"
)

_FREE: Final = (
    "each call judges the SQL, logs in to Postgres as the key, asks for the cost and logs out; "
    "four at a time"
)
_STORED: Final = (
    "beside the bytes each upload is a checksum and four transactions, one of which only tries, "
    "and each download one read and its record; "
    "CPU is that of the server without its client"
)
_FILE: Final = "no server, no checksum, no database; CPU is that of the loop"
_BOTO3: Final = "straight to the S3 server, no database; CPU is that of the loop"


def _carriers(name: str) -> tuple[Entry, Entry]:
    local = TRANSFERS[name].place == "local"
    label, note = ("raw file", _FILE) if local else ("raw boto3", _BOTO3)
    return (
        Entry(OURS[name], name, "Fluxbase", _STORED, drawn=False),
        Entry(f"raw-{name}", name, label, note, drawn=False),
    )


ROSTER: Final = (
    Entry(OURS["ten"], "ten", "Fluxbase", _OURS),
    Entry("fluxbase-modern", "ten", "Fluxbase, 2026-07-28 request", drawn=False),
    Entry("fluxbase-2w", "ten", "Fluxbase, 2 workers", "8 connections in each worker"),
    Entry(
        "fluxbase-2w-modern",
        "ten",
        "Fluxbase, 2 workers, 2026-07-28 request",
        "8 connections in each worker",
        drawn=False,
    ),
    Entry(PINNED, "ten", "bare Starlette, 1 trip, pinned role", _PINNED),
    Entry("starlette-3", "ten", "bare Starlette, 3 trips", _TRIPS),
    Entry("toolbox", "ten", "MCP Toolbox", _TOOLBOX),
    Entry("postgrest", "ten", "PostgREST", _REST),
    Entry(
        "server-postgres",
        "ten",
        "server-postgres, stdio",
        f"standard streams instead of HTTP, with a pool of 10 that cannot be told; {_LOGIN}",
    ),
    Entry("fastmcp", "ten", "FastMCP + asyncpg, 5 trips", _TRIPS),
    Entry("asyncpg-1", "ten", "asyncpg alone, 1 trip, pinned role", _NONE, drawn=False),
    Entry("asyncpg-3", "ten", "asyncpg alone, 3 trips", _NONE, drawn=False),
    Entry("pgbench-1", "ten", "pgbench, pinned role", _NONE, drawn=False),
    Entry("pgbench-4", "ten", "pgbench, BEGIN/claims/SELECT/COMMIT", _NONE, drawn=False),
    Entry(OURS["thousand"], "thousand", "Fluxbase"),
    Entry("starlette-1-1000", "thousand", "bare Starlette, 1 trip, pinned role", _PINNED),
    Entry("toolbox-1000", "thousand", "MCP Toolbox", _TOOLBOX),
    Entry("postgrest-1000", "thousand", "PostgREST", _REST),
    Entry(
        OURS["insert"],
        "insert",
        "Fluxbase",
        "each insert is recorded in its own transaction, as every write is",
    ),
    Entry("starlette-1-insert", "insert", "bare Starlette, 1 trip, pinned role", _PINNED),
    Entry("starlette-3-insert", "insert", "bare Starlette, 3 trips", _TRIPS),
    Entry("postgrest-insert", "insert", "PostgREST", _REST),
    Entry(OURS["embedded"], "embedded", "Fluxbase"),
    Entry("starlette-1-embedded", "embedded", "bare Starlette, SQL by hand", _PINNED),
    Entry("postgrest-embedded", "embedded", "PostgREST", _REST),
    Entry(OURS["keys"], "keys", "Fluxbase, 200 keys", drawn=False),
    Entry("starlette-3-200", "keys", "bare Starlette, 3 trips", _TRIPS, drawn=False),
    Entry("postgrest-200", "keys", "PostgREST, 200 tokens", _REST, drawn=False),
    Entry(OURS["free"], "free", "Fluxbase, execute_sql", _FREE, drawn=False),
    Entry("fluxbase-query", "free", "Fluxbase, query_table", drawn=False),
    Entry("pgbench-free", "free", "pgbench, pinned role", _NONE, drawn=False),
    Entry(OURS["vectors"], "vectors", "Fluxbase, search_vectors", drawn=False),
    Entry("pgbench-vectors", "vectors", "pgbench, the same SQL", _NONE, drawn=False),
    *(entry for name in TRANSFERS for entry in _carriers(name)),
)
ENTRIES: Final = {entry.name: entry for entry in ROSTER}


def title(name: str) -> str:
    """Return a contestant's label with its group, for a sentence."""
    entry = ENTRIES[name]
    return f"{entry.label} ({GROUPS[entry.group]})"
