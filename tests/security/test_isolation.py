"""Two tenants, all tools, any order: nothing of one ever shows for the other.

A state machine plays both tenants against a model; after every step the owner's view of the tables
must equal the model. The steps run in a thread and call into the loop of the server.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any, ClassVar

import anyio.from_thread
import anyio.to_thread
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.world import USER1, USER2, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.world import Caller

# The same examples on every run; FLUXBASE_SEED=n tries others, and n tells which they were.
SEED = int(os.environ.get("FLUXBASE_SEED", "20261120"))
SETTINGS = settings(
    max_examples=int(os.environ.get("FLUXBASE_EXAMPLES", "25")),
    stateful_step_count=25,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
USERS = {"a": USER1, "b": USER2}
# Words that only one tenant ever writes, and so must never be read by the other.
MARKS = {"a": "alfalfa", "b": "buckwheat"}
OTHER = {"a": "b", "b": "a"}
TENANT = st.sampled_from("ab")
WORD = st.sampled_from(["one", "two", "three", "four"])
RANK = st.one_of(st.none(), st.integers(0, 4), st.just(666))
ID = st.one_of(st.none(), st.integers(1, 5))
FILTER: st.SearchStrategy[tuple[str, int]] = st.one_of(
    st.tuples(st.just("id"), st.integers(1, 5)), st.tuples(st.just("rank"), st.integers(0, 4))
)
NOT_NOW = ("FLX503", "FLX504")  # it took too long; a part is not up
Rows = dict[int, dict[str, Any]]


class Broken(AssertionError):
    """What an invariant says when it does not hold."""


class Tenants(RuleBasedStateMachine):
    """The model: notes and comments by id, whoever they belong to."""

    callers: ClassVar[dict[str, Caller]]
    owner: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.notes: Rows = {}
        self.comments: Rows = {}
        self._wait(
            self.owner.execute,
            "TRUNCATE public.notes, public.comments, public.inbox RESTART IDENTITY",
        )
        # Far from the ids that the rules ask for by themselves.
        self._wait(self.owner.execute, "SELECT setval('public.notes_id_seq', 1000)")
        for number, (tenant, mark) in enumerate(MARKS.items(), start=1):
            user, title = USERS[tenant], f"{mark} zero"
            note = {"user_id": user, "title": title, "rank": number}
            comment = {"user_id": user, "note_id": number, "body": title}
            self._wait(
                self.owner.execute,
                f"INSERT INTO public.notes (id, user_id, title, rank) "
                f"VALUES ({number}, '{user}', '{title}', {number})",
            )
            self._wait(
                self.owner.execute,
                f"INSERT INTO public.comments (user_id, note_id, body) "
                f"VALUES ('{user}', {number}, '{title}')",
            )
            self.notes[number], self.comments[number] = note, comment

    def _wait(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return anyio.from_thread.run(function, *arguments)

    def _call(self, tenant: str, tool: str, **arguments: Any) -> tuple[str, Any]:
        """Return ('ok', result) or (code, message), after looking for the other tenant in it."""

        async def run() -> tuple[str, Any, str]:
            try:
                result = await self.callers[tenant].call(tool, **arguments)
            except Refused as refused:
                return refused.code, refused.message, json.dumps(refused.answer)
            return "ok", result, json.dumps(result)

        code, result, text = self._wait(run)
        if code in NOT_NOW:
            # A machine that stood still says nothing about tenants; the call was not made.
            print(f"{tool} of {tenant}: {code}: {result}")  # noqa: T201 - shown when it fails
            self._wait(asyncio.sleep, 1)
            code, result, text = self._wait(run)
        other = OTHER[tenant]
        if MARKS[other] in text or USERS[other] in text:
            raise Broken(f"{tool} of {tenant} shows {other}: {text[:300]}")
        return code, result

    def _ok(self, tenant: str, tool: str, **arguments: Any) -> Any:
        """Return the result of a call that nobody refuses."""
        code, result = self._call(tenant, tool, **arguments)
        if code != "ok":
            raise Broken(f"{tool} of {tenant} is refused: {code}: {result}")
        return result

    def _own(self, tenant: str, rows: Rows, name: str = "", value: Any = None) -> Rows:
        return {
            n: r for n, r in rows.items()
            if r["user_id"] == USERS[tenant] and (not name or {"id": n, **r}[name] == value)
        }  # fmt: skip

    def _taken(self, tenant: str, title: str, but: int | None = None) -> bool:
        return any(
            r["title"] == title for n, r in self._own(tenant, self.notes).items() if n != but
        )

    @rule(
        tenant=TENANT,
        word=WORD,
        rank=RANK,
        row=ID,
        action=st.sampled_from(["", "update", "ignore"]),
    )
    def insert_note(
        self, tenant: str, word: str, rank: int | None, row: int | None, action: str
    ) -> None:
        title = f"{MARKS[tenant]} {word}"
        data: dict[str, Any] = {"title": title, "rank": rank}
        conflict = {"on_conflict": "id", "on_conflict_action": action} if action and row else {}
        if row is not None:
            data["id"] = row
        code, result = self._call(tenant, "insert_record", table="notes", data=data, **conflict)
        held = self.notes.get(row) if row is not None else None
        if rank == 666 and not (held and action == "ignore"):
            assert code == "FLX601"
        elif held is not None and action == "ignore":
            assert (code, result["inserted"]) == ("ok", 0) if rank != 666 else True
        elif held is not None and (not action or held["user_id"] != USERS[tenant]):
            assert code == ("FLX302" if action else "FLX601")
        elif self._taken(tenant, title, but=row):
            assert code == "FLX601"
        else:
            assert (code, result["inserted"]) == ("ok", 1)
            written = result["records"][0]
            self.notes[written["id"]] = {"user_id": USERS[tenant], "title": title, "rank": rank}

    @rule(tenant=TENANT, word=WORD)
    def insert_for_somebody_else(self, tenant: str, word: str) -> None:
        data = {"title": f"{MARKS[tenant]} {word}", "user_id": USERS[OTHER[tenant]]}
        code, _ = self._call(tenant, "insert_record", table="notes", data=data, returning="")
        assert code == "FLX302"

    @rule(tenant=TENANT, found=FILTER, rank=RANK, dry=st.booleans())
    def update_rank(self, tenant: str, found: tuple[str, int], rank: int | None, dry: bool) -> None:
        matched = self._own(tenant, self.notes, *found)
        code, result = self._call(
            tenant,
            "update_record",
            table="notes",
            data={"rank": rank},
            filter=dict([found]),
            dry_run=dry,
        )
        if rank == 666 and matched:
            assert code == "FLX601"
            return
        assert (code, result["updated"]) == ("ok", len(matched))
        assert {r["id"] for r in result["records"]} == matched.keys()
        if not dry:
            for row in matched.values():
                row["rank"] = rank

    @rule(tenant=TENANT, row=st.integers(1, 5), word=WORD)
    def update_title(self, tenant: str, row: int, word: str) -> None:
        title = f"{MARKS[tenant]} {word}"
        matched = self._own(tenant, self.notes, "id", row)
        code, result = self._call(
            tenant, "update_record", table="notes", data={"title": title}, filter={"id": row}
        )
        if matched and self._taken(tenant, title, but=row):
            assert code == "FLX601"
            return
        assert (code, result["updated"]) == ("ok", len(matched))
        for note in matched.values():
            note["title"] = title

    @rule(tenant=TENANT, found=FILTER, most=st.integers(1, 3), dry=st.booleans())
    def delete_notes(self, tenant: str, found: tuple[str, int], most: int, dry: bool) -> None:
        matched = self._own(tenant, self.notes, *found)
        code, result = self._call(
            tenant,
            "delete_record",
            table="notes",
            filter=dict([found]),
            max_affected=most,
            dry_run=dry,
        )
        if len(matched) > most:
            assert code == "FLX505"
            return
        assert (code, result["deleted"]) == ("ok", len(matched))
        if dry:
            return
        for number in matched:
            del self.notes[number]
            # ON DELETE CASCADE reaches whoever's comment hangs on the note: the schema says so.
            self.comments = {n: c for n, c in self.comments.items() if c["note_id"] != number}

    @rule(tenant=TENANT, note=st.integers(1, 5))
    def insert_comment(self, tenant: str, note: int) -> None:
        data = {"note_id": note, "body": f"{MARKS[tenant]} says"}
        code, result = self._call(tenant, "insert_record", table="comments", data=data)
        # Accepted: a foreign key without the owner in it tells whether the row is there.
        assert code == ("ok" if note in self.notes else "FLX601")
        if code == "ok":
            self.comments[result["records"][0]["id"]] = {"user_id": USERS[tenant], **data}

    @rule(tenant=TENANT, note=st.integers(1, 5))
    def delete_comments(self, tenant: str, note: int) -> None:
        matched = self._own(tenant, self.comments, "note_id", note)
        code, result = self._call(
            tenant, "delete_record", table="comments", filter={"note_id": note}
        )
        assert (code, result["deleted"]) == ("ok", len(matched))
        self.comments = {n: c for n, c in self.comments.items() if n not in matched}

    @rule(tenant=TENANT, found=st.none() | FILTER, table=st.sampled_from(["notes", "my_notes"]))
    def query(self, tenant: str, found: tuple[str, int] | None, table: str) -> None:
        if table == "my_notes" and found and found[0] == "rank":
            found = None
        matched = self._own(tenant, self.notes, *(found or ("", None)))
        asked = {"filter": dict([found])} if found else {}
        code, page = self._call(
            tenant, "query_table", table=table, order="id", count="exact", limit=1000, **asked
        )
        assert (code, page["total"]) == ("ok", len(matched))
        assert [r["id"] for r in page["rows"]] == sorted(matched)
        assert self._call(tenant, "count_records", table=table, **asked) == (
            "ok",
            {"count": len(matched)},
        )

    @rule(tenant=TENANT, note=st.none() | st.integers(1, 5))
    def query_comments(self, tenant: str, note: int | None) -> None:
        matched = self._own(tenant, self.comments, "note_id" if note else "", note)
        asked = {"filter": {"note_id": note}} if note else {}
        code, page = self._call(tenant, "query_table", table="comments", **asked)
        assert code == "ok"
        assert {r["id"] for r in page["rows"]} == matched.keys()

    @rule(tenant=TENANT)
    def ask_for_the_other_by_name(self, tenant: str) -> None:
        for filter_ in (
            {"user_id": f"eq.{USERS[OTHER[tenant]]}"},
            {"user_id": f"neq.{USERS[tenant]}"},
        ):
            found = self._ok(tenant, "query_table", table="notes", filter=filter_)
            assert found["rows"] == []
            counted = self._ok(tenant, "count_records", table="comments", filter=filter_)
            assert counted["count"] == 0
            gone = self._ok(tenant, "delete_record", table="notes", filter=filter_)
            assert gone["deleted"] == 0

    @rule(tenant=TENANT)
    def write_into_the_inbox(self, tenant: str) -> None:
        data = {"body": MARKS[tenant]}
        assert self._ok(tenant, "insert_record", table="inbox", data=data)["records"] == []

    @rule(tenant=TENANT)
    def look_at_the_schema(self, tenant: str) -> None:
        tables = self._ok(tenant, "list_tables", limit=1000)["tables"]
        assert {"notes", "comments", "my_notes"} <= {t["name"] for t in tables}
        self._ok(tenant, "describe_table", table="notes")

        async def read() -> str:
            uri = "fluxbase://schema/tables/public/notes"
            return json.dumps(await self.callers[tenant].rpc("resources/read", uri=uri))

        text = self._wait(read)
        assert MARKS[OTHER[tenant]] not in text
        assert USERS[OTHER[tenant]] not in text

    @invariant()
    def the_owner_sees_the_model(self) -> None:
        for table, model, columns in (
            ("notes", self.notes, "id, user_id::text, title, rank"),
            ("comments", self.comments, "id, user_id::text, note_id, body"),
        ):
            rows = self._wait(self.owner.fetch, f"SELECT {columns} FROM public.{table}")
            found = {row["id"]: {k: v for k, v in row.items() if k != "id"} for row in rows}
            if found != model:
                raise Broken(f"{table}: the owner sees {found}, the model holds {model}")


async def play(callers: dict[str, Caller], owner: Any, how: settings) -> None:
    """Run the machine in a thread, its steps in this loop."""
    machine = type("Tenants", (Tenants,), {})
    machine.callers = {"a": callers["user1"], "b": callers["user2"]}
    machine.owner = owner

    def run() -> None:
        run_state_machine_as_test(seed(SEED)(machine), settings=how)

    print(f"FLUXBASE_SEED={SEED}")  # noqa: T201 - shown when the test fails
    await anyio.to_thread.run_sync(run)


async def test_two_tenants_never_meet(callers: dict[str, Caller], owner: Any) -> None:
    await play(callers, owner, SETTINGS)


# Planted controls: each opens one hole, and the machine must fall into it.

HOLES = {
    "a policy that lets everybody read": (
        "CREATE POLICY hole ON public.notes FOR SELECT TO authenticated USING (true)",
        "DROP POLICY hole ON public.notes",
    ),
    "a policy that lets everybody count": (
        "CREATE POLICY hole ON public.comments FOR SELECT TO authenticated USING (true)",
        "DROP POLICY hole ON public.comments",
    ),
    "an owner whom everybody may name": (
        "ALTER POLICY own ON public.notes WITH CHECK (true)",
        "ALTER POLICY own ON public.notes WITH CHECK (user_id = (SELECT auth.uid()))",
    ),
}


@pytest.mark.parametrize("hole", HOLES)
async def test_control_the_machine_falls_into_a_hole(
    hole: str, callers: dict[str, Caller], owner: Any
) -> None:
    dig, fill = HOLES[hole]
    once = settings(SETTINGS, phases=[Phase.generate], print_blob=False)
    await owner.execute(dig)
    try:
        with pytest.raises((AssertionError, BaseExceptionGroup)):
            await play(callers, owner, once)
    finally:
        await owner.execute(fill)
