"""What is written comes back as it was: no digit, character or element is lost on the way."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.world import Refused

if TYPE_CHECKING:
    import httpx2

    from tests.world import Caller

EXACT: list[tuple[str, str]] = [
    ("id", "9223372036854775807"),
    ("id", "-9223372036854775808"),
    ("price", "1234567890123456.7890"),
    ("price", "9999999999999999.9999"),
    ("price", "-0.0001"),
    ("rank", "-2147483648"),
    ("body", '"☃ \U0001f600 é e\u0301 \u202e"'),
    ("body", '"\\u0001 \\\\ \\" \' ; -- $1 %s"'),
    ("body", '""'),
    ("body", "null"),
    ("mood", '"wild"'),
    ("mood", "null"),
    ("tags", '["a","b,c","{d}","null","","e\\"f"]'),
    ("tags", "[]"),
    ("tags", '[null,"x"]'),
    ("meta", '{"a":[1,2.50,{"b":null}],"big":123456789012345678901234567890}'),
    ("meta", "[]"),
    ("meta", '"text"'),
    ("meta", "false"),
    ("meta", "1e2"),
    ("done", "true"),
    ("seen_at", '"2026-05-06T07:08:09.123456+00:00"'),
]


def call(tool: str, **arguments: str) -> bytes:
    inner = ",".join(f'"{name}":{value}' for name, value in arguments.items())
    head = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":'
    return (head + f'{{"name":"{tool}","arguments":{{{inner}}}}}}}').encode()


def exactly(answer: httpx2.Response, rows: str) -> list[dict[str, Any]]:
    result = json.loads(answer.text, parse_float=Decimal)["result"]
    assert result["isError"] is False, answer.text
    return result["structuredContent"][rows]


@pytest.mark.parametrize(("column", "value"), EXACT, ids=lambda v: str(v)[:30])
async def test_a_value_comes_back_to_the_last_digit(user1: Caller, column: str, value: str) -> None:
    data = f'{{"title":"exact","{column}":{value}}}'
    written = await user1.post(
        call("insert_record", table='"notes"', data=data, returning=f'"{column}"')
    )
    read = await user1.post(
        call("query_table", table='"notes"', select=f'"{column}"', filter='{"title":"eq.exact"}')
    )
    wanted = [{column: json.loads(value, parse_float=Decimal)}]
    assert exactly(written, "records") == wanted
    assert exactly(read, "rows") == wanted


async def test_numbers_are_exact_in_a_filter_too(user1: Caller) -> None:
    data = (
        '[{"title":"a","price":1234567890123456.7890},{"title":"b","price":1234567890123456.7891}]'
    )
    await user1.post(call("insert_record", table='"notes"', data=data))
    answer = await user1.post(
        call(
            "query_table",
            table='"notes"',
            select='"title"',
            filter='{"price":1234567890123456.7891}',
        )
    )
    assert answer.json()["result"]["structuredContent"]["rows"] == [{"title": "b"}]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("rank", "many"),
        ("rank", 2**31),
        ("rank", 1.5),
        ("rank", [1]),
        ("price", "1,5"),
        ("price", 10**17),
        ("mood", "sad"),
        ("done", "perhaps"),
        ("seen_at", "yesterday-ish"),
        ("seen_at", 5),
        ("tags", "not an array"),
        ("body", "a\x00b"),
        ("meta", {"a": "b\x00"}),
        ("tags", ["\x00"]),
    ],
)
@pytest.mark.parametrize("tool", ["insert_record", "update_record"])
async def test_a_value_of_the_wrong_type_is_refused(
    user1: Caller, owner: Any, tool: str, column: str, value: object
) -> None:
    data = {"title": "wrong", column: value}
    filter_ = {"filter": {"id": 1}} if tool == "update_record" else {}
    with pytest.raises(Refused) as refused:
        await user1.call(tool, table="notes", data=data, **filter_)
    assert refused.value.code == "FLX602"
    assert column in refused.value.message
    said = str(refused.value.answer)
    assert "sad" not in said
    assert "yesterday" not in said
    assert await owner.fetchval("SELECT count(*) FROM public.notes") == 17


async def test_a_uuid_that_is_none_is_refused(user1: Caller) -> None:
    with pytest.raises(Refused, match=r"FLX602: data\.user_id: the value is not a valid uuid"):
        await user1.call("insert_record", table="notes", data={"title": "x", "user_id": "me"})


async def test_the_wrong_one_of_many_rows_is_named(user1: Caller) -> None:
    data = [{"title": f"{n}", "rank": n, "tags": ["a"]} for n in range(20)]
    data[13]["rank"] = "thirteen"
    with pytest.raises(Refused, match=r"data\[13\]\.rank: the value is not a valid integer"):
        await user1.call("insert_record", table="notes", data=data)


async def test_a_nul_in_a_name_is_an_unknown_column(user1: Caller) -> None:
    with pytest.raises(Refused) as refused:
        await user1.call("insert_record", table="notes", data={"ti\x00tle": "x"})
    assert refused.value.code == "FLX202"
