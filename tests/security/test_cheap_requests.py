"""What costs a caller little must cost the server little: sizes, patterns, lists and records."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.auth.credential import Credential
from fluxbase.db.audit import shape_of
from tests.world import Refused

if TYPE_CHECKING:
    from asyncpg import Connection, Record

    from fluxbase.app.backend import Backend
    from fluxbase.app.server import Server
    from tests.world import Caller

HUGE: list[dict[str, Any]] = [
    {"order": "id," * 1_000_000 + "id"},
    {"select": "id," * 1_000_000 + "id"},
    {"filter": {"id": "in.(" + "1," * 1_000_000 + "1)"}},
    {"filter": {"id": {"in": [1] * 10_001}}},
    {"filter": {"id": ["eq.1"] * 100_000}},
    {"filter": {"title": "like.%" + "a" * 100_000 + "b%"}},
    {"filter": {"title": {"ilike": "%" + "a" * 100_000}}},
    {"filter": {"tags": {"cs": ["x"] * 2000}}},
    {"filter": {"tags": "ov.{" + "x," * 2000 + "x}"}},
]


@pytest.mark.parametrize("arguments", HUGE, ids=lambda a: str(a)[:30])
async def test_a_huge_argument_is_refused_before_any_work(
    user1: Caller, arguments: dict[str, Any]
) -> None:
    with pytest.raises(Refused) as refused:
        await user1.rows("notes", **arguments)
    assert refused.value.code in ("FLX101", "FLX102")
    assert re.search("more than|at most", refused.value.message)


async def test_values_in_a_list_are_not_taken_for_all_at_once(user1: Caller) -> None:
    with pytest.raises(Refused, match="use 'in'"):
        await user1.rows("notes", filter={"id": [1, 2]})


async def test_a_value_is_never_cut_off_to_make_it_fit(
    backend: Backend, user1: Caller, owner: Connection[Record]
) -> None:
    await owner.execute(
        "CREATE TABLE public.codes"
        " (code varchar(3), fixed char(3), price numeric(6, 2), bits bit(3));"
        "ALTER TABLE public.codes ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY all_of_it ON public.codes USING (true) WITH CHECK (true);"
        "GRANT ALL ON public.codes TO authenticated;"
        "INSERT INTO public.codes VALUES ('abc', 'ab', 1.24, '101')"
    )
    backend.database.catalog.forget()
    try:
        for filter_ in (
            {"code": "eq.abcdef"},
            {"code": "in.(abcZZZ)"},
            {"price": "eq.1.2399"},
            {"fixed": "eq.abcd"},
            {"bits": "eq.10111"},
        ):
            assert await user1.rows("codes", filter=filter_) == [], filter_
            tried = await user1.call("delete_record", table="codes", filter=filter_, dry_run=True)
            assert tried["deleted"] == 0
        for filter_ in (
            {"code": "eq.abc"},
            {"fixed": "eq.ab"},
            {"bits": "eq.101"},
            {"price": 1.24},
        ):
            assert len(await user1.rows("codes", filter=filter_)) == 1, filter_
        with pytest.raises(Refused) as refused:
            await user1.call("insert_record", table="codes", data={"code": "abcdef"})
        assert refused.value.code == "FLX602"
    finally:
        await owner.execute("DROP TABLE public.codes")


async def test_no_name_keeps_a_refusal_out_of_the_audit(
    user1: Caller, owner: Connection[Record]
) -> None:
    count = "SELECT count(*) FROM platform.audit WHERE principal = $1 AND outcome = 'failed'"
    before = await owner.fetchval(count, user1.id)
    with pytest.raises(Refused):
        await user1.rows("nowhere", filter={"\x00": 1, "a\x00b": {"\x00": 2}})
    assert await owner.fetchval(count, user1.id) == before + 1


def test_the_shape_of_a_call_is_small_whatever_the_call() -> None:
    names = [f"{n:064}" for n in range(60)]
    wide = {a: {b: dict.fromkeys(names, 1) for b in names} for a in names}
    assert len(json.dumps(shape_of(wide))) < 20_000
    assert shape_of({"filter": {"id": "eq.1"}}) == {"filter": {"id": "string"}}


async def test_what_is_remembered_of_reads_is_bounded(
    backend: Backend, server: Server, user1: Caller
) -> None:
    credential = Credential(text=user1.key, source="x-client-key")
    who = await server.authenticator.authenticate(credential, None)
    plans = (await backend.database.catalog.sight(who)).plans
    plans.clear()
    await user1.rows("notes", filter={"or": [{"title": f"eq.{n}"} for n in range(200)]})
    assert plans == {}
    for n in range(3000):
        await user1.rows("notes", select=f"a{n}:id", limit=1)
        assert len(plans) <= 2048


async def test_changes_are_seen_while_announcements_cannot_be_heard(
    server: Server, user1: Caller, owner: Connection[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.execute(
        "CREATE TABLE public.watched (id int);"
        "ALTER TABLE public.watched ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY nothing ON public.watched USING (false);"
        "GRANT SELECT ON public.watched TO authenticated; INSERT INTO public.watched VALUES (1)"
    )
    try:
        monkeypatch.setattr(server.listener, "connected", False)
        await server._compare_catalog()  # pyright: ignore[reportPrivateUsage]
        assert await user1.rows("watched") == []
        await owner.execute("ALTER TABLE public.watched DISABLE ROW LEVEL SECURITY")
        await server._compare_catalog()  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(Refused) as refused:
            await user1.rows("watched")
        assert refused.value.code == "FLX201"
    finally:
        await owner.execute("DROP TABLE public.watched")
