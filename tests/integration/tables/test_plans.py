"""Whatever is planned, Postgres runs, for the caller alone; what is refused never gets there."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx2
import pytest
from hypothesis import HealthCheck, given, settings

from fluxbase.app.server import Server
from fluxbase.db.database import Database
from fluxbase.db.sql import Sql, Statement, concat, sql
from fluxbase.errors import FluxbaseError
from fluxbase.tables import build
from fluxbase.tables.expressions import CASTS
from fluxbase.tables.plan import Level, Read
from fluxbase.tables.slots import Slots
from tests.conftest import config_for
from tests.grammar import translate
from tests.grammar.cases import HERE, cases
from tests.unit.tables import judge
from tests.unit.tables.calls import MARK, OPERATORS, VALUES, calls
from tests.world import USER2, Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from pathlib import Path

    from fluxbase.app.backend import Backend
    from fluxbase.db.sight import Sight
    from fluxbase.db.types import ReadRow
    from fluxbase.principal import Principal
    from fluxbase.tables.slots import Planned

_SCHEMA: Final = "plans"  # a copy, since the grammar's own tests may have theirs at the same time
# What Postgres may say of a value, which nobody can know to be wrong before: a type's own rules
# (22, and limits in 54), text search that is not well formed or in no known configuration, and
# casts, of which Postgres has its own list (42846).
_OF_VALUES: Final = ("22", "54", "42601", "42704", "42846")
_CASTS: Final = frozenset(f"{name}{end}" for name in CASTS.values() for end in ("", "[]"))
_UNCHECKED: Final = (HealthCheck.too_slow, HealthCheck.data_too_large)


class Watched(Database):
    """The database, and what was sent to it as which callers."""

    sent: list[Statement]
    refused: list[str]
    who: Principal

    async def read(self, who: Principal, statement: Statement, *, apart: bool = False) -> ReadRow:
        self.sent.append(statement)
        self.who = who
        try:
            return await super().read(who, statement, apart=apart)
        except FluxbaseError as error:
            cause = error.__cause__
            self.refused.append(str(getattr(cause, "sqlstate", type(cause))))
            raise


@dataclass
class Stand:
    """A server on a schema with everything, and what it sent to Postgres."""

    callers: dict[str, Caller]
    owner: asyncpg.Connection[asyncpg.Record]
    database: Watched
    levels: dict[str, list[Level]]  # by the text of the statement that was made of them
    sight: Sight = field(init=False)

    async def ask(self, tenant: str, arguments: dict[str, Any]) -> Any:
        """Return the answer, or the code and message of the refusal."""
        self.database.sent, self.database.refused = [], []
        try:
            return await self.callers[tenant].call("query_table", **arguments)
        except Refused as refused:
            return f"{refused.code}: {refused.message}"

    def faults(self) -> list[str]:
        """Return what an independent parser holds against the statements of the last call."""
        return [
            f"{fault} in {statement.text}"
            for statement in self.database.sent
            for fault in judge.faults(
                statement.text,
                judge.allowed(self.levels.get(statement.text, []), self._types(statement.text)),
                len(statement.values),
            )
        ]

    def _types(self, text: str) -> set[str]:
        """Return the types that any call may name; which value is wrong is asked of its column."""
        if text in self.levels:
            return set(_CASTS)
        tables = self.sight.tables.values()
        return {*_CASTS, *(c.cast for t in tables for c in t.relation.columns.values())}


def _noted(levels: dict[str, list[Level]]) -> pytest.MonkeyPatch:
    """Keep the levels that every statement is made of."""
    patch = pytest.MonkeyPatch()

    def noting(make: Callable[..., Planned]) -> Callable[..., Planned]:
        def made(of: Read | Level, *rest: Any) -> Planned:
            planned = make(of, *rest)
            levels[planned.text] = [of.level, of.counted] if isinstance(of, Read) else [of]
            return planned

        return made

    for name in ("read", "careful", "count", "explain"):
        patch.setattr(build, name, noting(getattr(build, name)))
    return patch


@asynccontextmanager
async def _schema(url: str) -> AsyncGenerator[asyncpg.Connection[asyncpg.Record]]:
    conn = await asyncpg.connect(url)
    for name in ("schema.sql", "rows.sql"):
        await conn.execute(_sql(name))
    await conn.execute("RESET search_path")
    try:
        yield conn
    finally:
        await conn.execute(f"SET client_min_messages = error; DROP SCHEMA {_SCHEMA} CASCADE")
        await conn.close()


@pytest.fixture(scope="module")
async def stand(
    backend: Backend, home: Path, keys: dict[str, tuple[str, str]]
) -> AsyncGenerator[Stand]:
    """The server on a copy of the grammar's schema."""
    async with _schema(backend.database.logins.admin) as owner:
        config = config_for(home, database={"exposed_schemas": [_SCHEMA], "client_pool_size": 2})
        levels: dict[str, list[Level]] = {}
        patch = _noted(levels)
        database = Watched(config.database, backend.database.logins)
        await database.open()
        other = replace(backend, config=config, database=database, postgres=None)
        try:
            async with Server(other).running() as app:
                transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 12345))
                async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
                    callers = {name: Caller(name, *keys[name], http) for name in ("user1", "user2")}
                    stand = Stand(callers, owner, database, levels)
                    assert len((await stand.ask("user1", {"table": "clients"}))["rows"]) == 5
                    stand.sight = await database.catalog.sight(database.who)
                    yield stand
        finally:
            patch.undo()
            await database.close()


async def each(
    stand: Stand, check: Callable[[dict[str, Any]], Coroutine[Any, Any, None]], many: int
) -> None:
    """See that something holds of many calls; Hypothesis runs beside the loop of the server."""
    loop = asyncio.get_running_loop()

    @given(calls(stand.sight))
    @settings(max_examples=many, deadline=None, suppress_health_check=_UNCHECKED)
    def one(arguments: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(check(arguments), loop).result(60)

    await asyncio.to_thread(one)


@pytest.mark.slow
async def test_whatever_is_planned_postgres_runs(stand: Stand) -> None:
    answered: list[bool] = []

    async def check(arguments: dict[str, Any]) -> None:
        answer = await stand.ask("user1", arguments)
        answered.append(not isinstance(answer, str))
        if isinstance(answer, str):
            assert answer[:4] in ("FLX1", "FLX2", "FLX3", "FLX6"), (answer, arguments)
        for state in stand.database.refused:
            assert state.startswith(_OF_VALUES), (state, answer, stand.database.sent[0].text)
        assert stand.faults() == []

    await each(stand, check, 400)
    assert sum(answered) > len(answered) / 3, "most calls are refused, so little is tested"


async def test_what_a_type_lacks_is_known_before_postgres_says_it(stand: Stand) -> None:
    kinds = {
        (column.base, column.is_array): (table.relation.name, name, column)
        for table in stand.sight.tables.values()
        for name in table.readable
        for column in (table.relation.columns[name],)
    }
    assert len(kinds) > 25
    for table, name, column in kinds.values():
        value = "{}" if column.is_array else VALUES.get(column.base, (*column.values, "x"))[0]
        asked: list[dict[str, Any]] = [
            {"select": f"x:{name}.{word}()"} for word in ("count", "sum", "avg", "min", "max")
        ]
        asked += [{"order": name}, {"select": f"{name},count()"}]
        for word in OPERATORS:
            listed = (value,) if word == "in" else value
            asked.append({"filter": {name: {word: listed}}})
            asked.append({"filter": {name: {f"{word}(any)": [value]}}})
        for arguments in asked:
            answer = await stand.ask("user1", {"table": table, **arguments})
            for state in stand.database.refused:
                assert state.startswith(_OF_VALUES), (state, column.type, arguments, answer)


@pytest.mark.parametrize("name", cases())
async def test_an_independent_parser_finds_nothing_in_a_statement_but_its_plan(
    stand: Stand, name: str
) -> None:
    case = cases()[name]
    answer = await stand.ask("user1", translate.arguments(case.ask))
    assert stand.database.sent or isinstance(answer, str)
    assert stand.faults() == []


async def test_no_operand_or_key_of_a_call_is_in_its_statement(stand: Stand) -> None:
    marked: list[bool] = []

    async def check(arguments: dict[str, Any]) -> None:
        await stand.ask("user1", arguments)
        for statement in stand.database.sent:
            assert MARK not in statement.text
            marked.append(MARK in str(statement.values))

    await each(stand, check, 200)
    assert any(marked)


async def test_a_value_pasted_into_a_statement_is_found(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pasted(slots: Slots, slot: int) -> Sql:
        return Sql("('Acorn Works'::text)") if slot >= 0 else slots.params.add(slot)

    call = {"table": "clients", "select": "city:name", "filter": {"name": "eq.Acorn Works"}}
    assert len((await stand.ask("user1", call))["rows"]) == 1
    assert stand.faults() == []
    monkeypatch.setattr(Slots, "use", pasted)
    call["select"] = "town:name"  # another shape, since the first is kept
    assert len((await stand.ask("user1", call))["rows"]) == 1, "pasting works, or shows nothing"
    assert [fault[:24] for fault in stand.faults()] == ["literal: 'Acorn Works' i"]


async def test_a_usual_limit_is_planned_for_once(stand: Stand) -> None:
    async def plans(limit: int) -> tuple[Sql, int]:
        """Return the statement of a limit, and how often it ran by a plan that was kept."""
        call = {"table": "clients", "filter": {"name": "neq.x"}, "limit": limit}
        for _ in range(30):
            assert not isinstance(await stand.ask("user1", call), str)
        [statement] = stand.database.sent
        counted = sql(
            "SELECT current_user::text, sum(generic_plans)::int FROM pg_prepared_statements "
        )
        asked = Statement(concat(counted, sql("WHERE statement = $1")), (statement.text,))
        return statement.text, (await stand.database.read(stand.database.who, asked))[1]

    ten, seven, eight = [await plans(limit) for limit in (10, 7, 8)]
    # It is prepared for reads that go alone and for batches; the first five are planned anew.
    assert ten[1] >= 20
    assert seven[0] == eight[0] != ten[0], "unusual ones are one statement, however many there are"


async def test_what_is_not_well_formed_is_refused_before_any_statement(stand: Stand) -> None:
    early = 0
    for case in cases("refusals").values():
        answer = await stand.ask("user1", translate.arguments(case.ask))
        assert isinstance(answer, str)
        if answer.startswith(("FLX102", "FLX2")) and not stand.database.refused:
            early += 1
            assert stand.database.sent == [], case.ask
    assert early > 100
    for argument in ("select", "order"):
        assert "character" in await stand.ask("user1", {"table": "clients", argument: "id,,name"})
        assert stand.database.sent == []
    # The counting itself works.
    await stand.ask("user1", {"table": "clients", "order": "id"})
    assert len(stand.database.sent) == 1


@pytest.mark.slow
async def test_no_answer_depends_on_the_rows_of_the_other_tenant(stand: Stand) -> None:
    asked: list[tuple[dict[str, Any], Any]] = []

    async def keep(arguments: dict[str, Any]) -> None:
        asked.append((arguments, await stand.ask("user1", arguments)))

    await each(stand, keep, 300)
    async with _without(stand.owner, USER2):
        others = await stand.ask("user2", {"table": "clients"})
        assert others["rows"] == [], "the rows are gone, or nothing is compared"
        for arguments, before in asked:
            assert await stand.ask("user1", arguments) == before, arguments
    assert len((await stand.ask("user2", {"table": "clients"}))["rows"]) == 3


@asynccontextmanager
async def _without(owner: asyncpg.Connection[asyncpg.Record], tenant: str) -> AsyncGenerator[None]:
    """Delete a tenant's rows, those that others refer to as well, until the block ends."""
    found = await owner.fetch(
        "SELECT c.oid::regclass::text AS name, EXISTS (SELECT FROM pg_attribute"
        " WHERE attrelid = c.oid AND attname = 'owner') AS owned FROM pg_class c"
        f" WHERE relkind IN ('r', 'p') AND relnamespace = '{_SCHEMA}'::regnamespace"
    )
    owned = [table["name"] for table in found if table["owned"]]
    try:
        # A row of the first tenant refers to this one, which is made another instead.
        await owner.execute(f"UPDATE {_SCHEMA}.users SET email = 'x', born = NULL WHERE id = 101")
        while owned:
            name = owned.pop(0)
            rest = " AND id <> 101" if name.endswith(".users") else ""
            try:
                await owner.execute(f"DELETE FROM {name} WHERE owner = $1{rest}", tenant)
            except asyncpg.ForeignKeyViolationError:
                owned.append(name)  # what refers to it goes first
        yield
    finally:
        await owner.execute("TRUNCATE " + ", ".join(table["name"] for table in found))
        await owner.execute(f"{_sql('rows.sql')}; RESET search_path")


def _sql(name: str) -> str:
    return (HERE / name).read_text("utf-8").replace("grammar", _SCHEMA)
