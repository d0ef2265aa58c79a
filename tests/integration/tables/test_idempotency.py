"""A write sent again with the same idempotency key answers as before and happens once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.tables.own_tables import open_to_all, refused, tables, until_known

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncpg import Connection, Record

    from tests.world import Caller

MADE = """
CREATE TABLE public.payment (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  amount integer CHECK (amount > 0),
  note text,
  meta jsonb
);
"""
KEY = "order 17: pay"
COUNT = "SELECT count(*) FROM public.payment"
KEPT = "SELECT count(*) FROM platform.idempotency"


@pytest.fixture(scope="module")
async def made(owner: Connection[Record]) -> AsyncGenerator[None]:
    async with tables(owner, MADE + open_to_all("payment"), "payment"):
        yield


@pytest.fixture
async def me(made: None, user1: Caller, owner: Connection[Record]) -> Caller:
    await owner.execute(
        "TRUNCATE public.payment RESTART IDENTITY; DELETE FROM platform.idempotency"
    )
    await until_known(user1, "payment")
    return user1


async def pay(caller: Caller, data: Any = None, key: str = KEY, **more: Any) -> dict[str, Any]:
    given = {"amount": 5} if data is None else data
    return await caller.call(
        "insert_record", table="payment", data=given, idempotency_key=key, **more
    )


async def test_the_same_call_again_answers_the_same_and_writes_once(me: Caller, owner: Any) -> None:
    message = {"table": "payment", "data": [{"amount": 5}, {"amount": 6}], "idempotency_key": KEY}
    answers = [
        await me.rpc("tools/call", name="insert_record", arguments=message) for _ in range(3)
    ]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["result"]["structuredContent"]["inserted"] == 2
    assert await owner.fetchval(COUNT) == 2


@pytest.mark.parametrize(
    ("tool", "call", "said"),
    [
        ("update_record", {"data": {"amount": 9}, "filter": {"id": 1}}, "updated"),
        ("update_record", {"data": {"amount": 9}, "filter": {"amount": 5}}, "updated"),
        ("delete_record", {"filter": {"id": 1}}, "deleted"),
        ("delete_record", {"filter": {"id": 1}, "returning": ""}, "deleted"),
    ],
)
async def test_changes_and_deletes_answer_again_as_the_first_time(
    me: Caller, owner: Any, tool: str, call: dict[str, Any], said: str
) -> None:
    await owner.execute("INSERT INTO public.payment (amount) VALUES (5)")
    first = await me.call(tool, table="payment", idempotency_key=KEY, **call)
    assert first[said] == 1
    await owner.execute("TRUNCATE public.payment; INSERT INTO public.payment (amount) VALUES (1)")
    assert await me.call(tool, table="payment", idempotency_key=KEY, **call) == first
    assert await owner.fetchval("SELECT sum(amount) FROM public.payment") == 1


async def test_the_order_of_names_in_a_call_does_not_make_it_another(
    me: Caller, owner: Any
) -> None:
    first = await pay(me, {"amount": 5, "note": "a", "meta": {"x": 1, "y": 2}})
    assert await pay(me, {"meta": {"y": 2, "x": 1}, "note": "a", "amount": 5}) == first
    assert await owner.fetchval(COUNT) == 1


OTHERS: list[dict[str, Any]] = [
    {"data": {"amount": 6}},
    {"data": [{"amount": 5}]},
    {"data": {"amount": 5, "note": None}},
    {"data": {"amount": "5"}},
    {"returning": "id"},
    {"on_conflict": "id"},
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
async def test_the_key_of_one_call_cannot_serve_another(
    me: Caller, owner: Any, other: dict[str, Any]
) -> None:
    first = await pay(me)
    call: dict[str, Any] = {"data": {"amount": 5}, "idempotency_key": KEY, **other}
    error = await refused(me, "insert_record", table="payment", **call)
    assert (error.code, "idempotency_key" in error.message) == ("FLX506", True)
    assert await owner.fetchval(COUNT) == 1
    assert await pay(me) == first


async def test_the_key_of_an_insert_cannot_serve_a_delete(me: Caller, owner: Any) -> None:
    await pay(me)
    call: dict[str, Any] = {"table": "payment", "filter": {"id": 1}, "idempotency_key": KEY}
    assert (await refused(me, "delete_record", **call)).code == "FLX506"
    assert await owner.fetchval(COUNT) == 1


async def test_other_keys_and_other_callers_are_other_calls(
    me: Caller, user2: Caller, service: Caller, callers: dict[str, Caller], owner: Any
) -> None:
    # The writer has the same user as user1, but is another key.
    who = [(me, KEY), (me, KEY + " "), (me, KEY.upper()), (user2, KEY), (service, KEY)]
    done = [await pay(caller, key=key) for caller, key in [*who, (callers["writer"], KEY)]]
    assert [d["records"][0]["id"] for d in done] == [1, 2, 3, 4, 5, 6]
    again = [await pay(caller, key=key) for caller, key in [*who, (callers["writer"], KEY)]]
    assert again == done
    assert await owner.fetchval(COUNT) == 6


async def test_of_the_same_call_many_times_at_once_one_happens(me: Caller, owner: Any) -> None:
    many = 12
    barrier = asyncio.Barrier(many)

    async def send() -> dict[str, Any]:
        await barrier.wait()
        return await pay(me)

    answers = await asyncio.gather(*(send() for _ in range(many)))
    assert all(answer == answers[0] for answer in answers)
    assert await owner.fetchval(COUNT) == 1


async def test_of_different_calls_with_one_key_at_once_one_happens(me: Caller, owner: Any) -> None:
    many = 8
    barrier = asyncio.Barrier(many)

    async def send(number: int) -> str:
        await barrier.wait()
        call: dict[str, Any] = {"data": {"amount": 1 + number}, "idempotency_key": KEY}
        answer = await me.rpc(
            "tools/call", name="insert_record", arguments={"table": "payment", **call}
        )
        result = answer["result"]
        return result["_meta"]["fluxbase/error"]["code"] if result["isError"] else "done"

    ends = await asyncio.gather(*(send(n) for n in range(many)))
    assert sorted(ends) == ["FLX506"] * (many - 1) + ["done"]
    assert await owner.fetchval(COUNT) == 1


FAILED: list[tuple[str, dict[str, Any]]] = [
    ("insert_record", {"data": {"amount": -1}}),
    ("insert_record", {"data": {"amount": "x"}}),
    ("insert_record", {"data": {"nope": 1}}),
    ("update_record", {"data": {"amount": 2}, "filter": {"id": "gt.0"}, "max_affected": 1}),
    ("delete_record", {"filter": {"id": 1}, "if_match": {"amount": 99}}),
]


@pytest.mark.parametrize(("tool", "call"), FAILED)
async def test_a_call_that_failed_leaves_its_key_free(
    me: Caller, owner: Any, tool: str, call: dict[str, Any]
) -> None:
    await owner.execute("INSERT INTO public.payment (amount) VALUES (5), (6)")
    await refused(me, tool, table="payment", idempotency_key=KEY, **call)
    assert await owner.fetchval(KEPT) == 0
    assert (await pay(me))["inserted"] == 1
    assert await owner.fetchval(COUNT) == 3


async def test_a_dry_run_does_not_use_the_key_up(me: Caller, owner: Any) -> None:
    assert (await pay(me, dry_run=True))["dry_run"] is True
    assert await owner.fetchval(KEPT) == 0
    real = await pay(me)
    assert (real["inserted"], real["dry_run"]) == (1, False)
    assert await pay(me) == real
    assert await owner.fetchval(COUNT) == 1


@pytest.mark.parametrize(("age", "rows"), [("23 hours", 1), ("25 hours", 2)])
async def test_a_key_is_remembered_for_a_day(me: Caller, owner: Any, age: str, rows: int) -> None:
    first = await pay(me)
    await owner.execute(f"UPDATE platform.idempotency SET at = at - interval '{age}'")
    assert (await pay(me) == first) == (rows == 1)
    assert await owner.fetchval(COUNT) == rows


async def test_after_its_day_a_key_serves_any_call(me: Caller, owner: Any) -> None:
    await pay(me)
    await owner.execute("UPDATE platform.idempotency SET at = at - interval '25 hours'")
    assert (await pay(me, {"amount": 99}))["records"][0]["amount"] == 99


async def test_a_large_answer_with_odd_characters_comes_again_whole(me: Caller, owner: Any) -> None:
    odd = "'\"\\$q$\n\t☃😀\u2028é" * 300
    data = [{"amount": n + 1, "note": odd, "meta": {"deep": [odd, None]}} for n in range(100)]
    first = await pay(me, data)
    assert len(json.dumps(first)) > 500_000
    assert [r["note"] for r in first["records"]] == [odd] * 100
    assert await pay(me, data) == first
    assert await owner.fetchval(COUNT) == 100


@pytest.mark.parametrize("key", ["", "x" * 201, 5, "a\x00b"])
async def test_a_key_that_is_none_is_refused(me: Caller, owner: Any, key: Any) -> None:
    error = await refused(
        me, "insert_record", table="payment", data={"amount": 5}, idempotency_key=key
    )
    assert error.code in ("FLX101", "FLX602")
    assert await owner.fetchval(COUNT) == 0


@pytest.mark.parametrize("key", ["x" * 200, "'; DROP TABLE platform.idempotency; --", "😀☃\\"])
async def test_any_word_serves_as_a_key(me: Caller, owner: Any, key: str) -> None:
    assert await pay(me, key=key) == await pay(me, key=key)
    assert await owner.fetchval(COUNT) == 1


async def test_an_answer_sent_again_is_audited_without_rows(me: Caller, owner: Any) -> None:
    await pay(me)
    await pay(me)
    rows = await owner.fetch(
        # What was refused before is recorded within a second, maybe only now.
        "SELECT a.rows, u.audit_id FROM platform.audit a LEFT JOIN platform.undo u "
        "ON u.audit_id = a.id WHERE a.target = 'public.payment' AND a.outcome = 'ok' "
        "ORDER BY a.id DESC LIMIT 2"
    )
    assert [row["rows"] for row in rows] == [None, 1]
    assert rows[0]["audit_id"] is None
    assert rows[1]["audit_id"] is not None


async def test_who_may_no_longer_see_the_table_gets_no_answer_again(me: Caller, owner: Any) -> None:
    await pay(me)
    await owner.execute("REVOKE ALL ON public.payment FROM authenticated")
    call: dict[str, Any] = {"data": {"amount": 5}, "idempotency_key": KEY}
    try:
        async with asyncio.timeout(10):
            while True:
                answer = await me.rpc(
                    "tools/call", name="insert_record", arguments={"table": "payment", **call}
                )
                if answer["result"]["isError"]:
                    break
                await asyncio.sleep(0.02)
    finally:
        await owner.execute("GRANT ALL ON public.payment TO authenticated")
    assert answer["result"]["_meta"]["fluxbase/error"]["code"] in ("FLX201", "FLX302")
