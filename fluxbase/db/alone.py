"""Connections on which one caller alone logs in, for SQL of its own making.

On the shared pools a statement could become another caller by a word (`SET ROLE`); here the session
itself is the caller. It is kept a few seconds for the same caller's next statement, emptied of all
that the last one left, and is never anybody else's. It must not know what the SQL says.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import orjson

from fluxbase.db.dsn import scram_verifier, with_login
from fluxbase.db.errors import translate
from fluxbase.db.lone_sessions import LoneSessions
from fluxbase.db.pool import connect
from fluxbase.db.sql import Params, Sql, concat, ident, join, sql
from fluxbase.errors import Forbidden, InternalError, InvalidArgument, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from fluxbase.db.catalog import Fetch
    from fluxbase.db.types import Connection
    from fluxbase.principal import Principal

_MOST_COLUMNS: Final = 1600
_PIECE: Final = 200


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement gave: names of columns, rows as JSON objects, and whether there are more."""

    columns: tuple[str, ...]
    rows: tuple[bytes, ...]
    truncated: bool


class Alone:
    """Opens such connections."""

    def __init__(
        self,
        admin: Fetch,
        url: str,
        service_url: str,
        derive: Callable[[str], str] | None,
        settings: Mapping[str, str],
    ) -> None:
        self._admin = admin
        self._url = url
        self._service_url = service_url
        self._derive = derive
        self._settings = settings
        self._let_in: set[str] = set()
        self._sessions = LoneSessions(self._log_in, _begin)

    @asynccontextmanager
    async def open(self, who: Principal, *, write: bool) -> AsyncGenerator[Lone]:
        """Yield a session of the caller's own, in a transaction that is rolled back unless kept.

        Raises:
            Forbidden: the caller is a user with a token, who has no role of its own.
            Unavailable: the database cannot be reached.
        """
        if who.kind == "user":
            raise Forbidden(
                "free SQL needs a key: users share a role, which SQL of their own could take over",
                hint="use a client key, or query_table",
            )
        async with self._sessions.lend(who, write=write) as raw:
            yield Lone(raw)

    async def close(self) -> None:
        """Close the sessions that are kept."""
        await self._sessions.close()

    async def _log_in(self, who: Principal, write: bool) -> Connection:
        settings = {
            **self._settings,
            "application_name": "fluxbase sql",
            "default_transaction_read_only": "off" if write else "on",
        }
        return await connect(
            await self._address(who), settings=settings, seconds=10, statement_cache_size=0
        )

    async def _address(self, who: Principal) -> str:
        if who.is_service:
            return self._service_url
        if self._derive is None:
            raise Unavailable("this process does not know the passwords of keys")
        password = self._derive(who.role)
        if who.role not in self._let_in:
            # A salt that follows from the role: every instance sets the same text.
            salt = sha256(f"{who.role}:{password}".encode()).digest()[:16]
            verifier = scram_verifier(password, salt)
            await self._admin("let_key_log_in", role=who.role, verifier=verifier)
            self._let_in.add(who.role)
        return with_login(self._url, who.role, password)


class Lone:
    """One transaction of one caller."""

    def __init__(self, raw: Connection) -> None:
        self._raw = raw

    async def cost(self, text: str, values: list[Any]) -> float:
        """Return what Postgres expects a statement to cost, in its own units.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        plan = await self.plan(text, values)
        return float(plan["Plan"]["Total Cost"])

    async def plan(self, text: str, values: list[Any], *, analyze: bool = False) -> dict[str, Any]:
        """Return the plan of a statement; with `analyze` it is run for that.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        how = sql("EXPLAIN (FORMAT JSON) ")
        if analyze:
            how = sql("EXPLAIN (FORMAT JSON, ANALYZE, BUFFERS) ")
        try:
            found = await self._raw.fetchval(concat(how, Sql(text)), *values)
        except Exception as error:
            raise _told(error) from error
        return orjson.loads(found)[0]

    async def read(self, text: str, values: list[Any], limit: int, most_bytes: int) -> Rows:
        """Return up to `limit` rows of a statement that gives some, and no more than so many bytes.

        Raises:
            TooLarge: the first row alone has more bytes.
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        try:
            names = await self._names(text)
            params = Params([*values])
            query = concat(
                sql("WITH q("), join(", ", [ident(name) for name in names]), sql(") AS ("),
                Sql(text), sql(") SELECT pg_catalog.to_json(q)::text FROM q LIMIT "),
                params.add(limit + 1), sql("::bigint"),
            )  # fmt: skip
            return await self._rows(query, params.values, names, limit, most_bytes)
        except Exception as error:
            raise _told(error) from error

    async def run(self, text: str, values: list[Any]) -> int:
        """Run a statement that gives no rows; return how many it changed.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`.
        """
        try:
            done = await self._raw.execute(text, *values)
        except Exception as error:
            raise _told(error) from error
        last = done.rpartition(" ")[2]
        return int(last) if last.isdigit() else 0

    async def keep(self) -> None:
        """Commit.

        Raises:
            FluxbaseError: see `fluxbase.db.errors.translate`; nothing was changed.
        """
        try:
            await self._raw.execute("COMMIT")
        except asyncpg.PostgresError as error:
            raise _told(error) from error
        except Exception as error:
            raise Unavailable(
                "the database went away while the change was being committed; its outcome is "
                "unknown: read before writing again"
            ) from error

    async def check(self) -> None:
        """See that a change could be committed, and take it back."""
        try:
            await self._raw.execute("SET CONSTRAINTS ALL IMMEDIATE")
            await self._raw.execute("ROLLBACK")
        except Exception as error:
            raise _told(error) from error

    async def _names(self, text: str) -> tuple[str, ...]:
        prepared = await self._raw.prepare(text)
        attributes = prepared.get_attributes()
        if len(attributes) > _MOST_COLUMNS:
            raise InvalidArgument("sql: the statement has too many columns")
        names: dict[str, None] = {}
        for attribute in attributes:
            name, number = attribute.name, 1
            while name in names:  # a JSON object has each name once
                number += 1
                name = f"{attribute.name}_{number}"
            names[name] = None
        return tuple(names)

    async def _rows(
        self, query: Sql, values: list[Any], names: tuple[str, ...], limit: int, most_bytes: int
    ) -> Rows:
        rows: list[bytes] = []
        size = 0
        cursor = await self._raw.cursor(query, *values)
        while piece := await cursor.fetch(min(_PIECE, limit + 1 - len(rows))):
            for record in piece:
                row = str(record[0]).encode()
                size += len(row) + 1
                if size > most_bytes or len(rows) == limit:
                    if not rows:
                        raise TooLarge("the first row alone is larger than an answer may be")
                    return Rows(names, tuple(rows), truncated=True)
                rows.append(row)
        return Rows(names, tuple(rows), truncated=False)


async def _begin(raw: Connection, who: Principal) -> None:
    try:
        if who.is_service:
            await raw.execute(concat(sql("SET ROLE "), ident(who.role)))
        await raw.execute("BEGIN")
        role = await raw.fetchval("SELECT current_user")
    except Exception as error:
        raise translate(error) from error
    if role != who.role:
        raise InternalError


def _told(error: Exception) -> Exception:
    """Return an error with what a writer of SQL has to know: the class of the mistake."""
    if isinstance(error, asyncpg.PostgresError):
        words = _MISTAKES.get(str(error.sqlstate))
        if words is not None:
            return InvalidArgument(f"sql: {words}")
    return translate(error)


_MISTAKES: Final = {
    "42703": "a column does not exist; describe_table shows those there are",
    "42702": "a column's name fits several tables; put the table before it",
    "42803": "a column stands neither in GROUP BY nor in an aggregate",
    "42804": "the types of two expressions do not fit each other; cast one",
    "42883": "a function or operator does not exist for these types; cast an argument ($1::uuid)",
    "42P08": "the type of a parameter is not clear; cast it ($1::int)",
    "42P18": "the type of a parameter is not clear; cast it ($1::int)",
    "42P01": "a table is not there, or not at this place of the statement",
    "42601": "the statement is not well formed",
    "42704": "a type, or a text search configuration, is not there",
    "0A000": "Postgres does not do this",
    "42P10": "a column reference is wrong, such as a position in ORDER BY",
    "42846": "a value cannot be cast to that type",
    "21000": "a subquery that stands for one value gives several rows",
    "22012": "division by zero",
    "42725": "a function's name fits several functions; cast its arguments",
    "42712": "a table's name is used twice; give one an alias",
}
