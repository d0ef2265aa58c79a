from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import cast
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxbase import strict_json
from fluxbase.errors import InvalidMessage
from fluxbase.strict_json import dumps, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = (
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(-(10**30), 10**30, allow_nan=False, places=25)
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":[1,2.5,"x",true,false,null,{"b":{}}]}',
        ' {\n"a" :\t1 }\r\n',
        '"\\u00e9\\ud83d\\ude00"',
        "[]",
        "-0.0",
        "0e-99999999999999999999",
        "1E3",
        '{"a, b":1,"a,b":2}',
        '"\u00e9 \U0001f600"',
    ],
)
def test_what_is_valid_is_read_as_the_standard_library_reads_it(text: str):
    assert loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "digits",
    [
        "9007199254740993.0",
        "0.1234567890123456789",
        "1.00000000000000000001",
        "123456789012345678901234567890.5",
        "-3.14159265358979323846",
        "4.9e-324",
    ],
)
def test_a_number_a_float_would_change_comes_back_exact(digits: str):
    value = loads(digits.encode())
    assert isinstance(value, Decimal)
    assert value == Decimal(digits)


@pytest.mark.parametrize("digits", ["0.1", "1e+300", "2.5e-300", "0.30000000000000004"])
def test_a_number_a_float_holds_comes_back_as_a_float(digits: str):
    value = loads(digits.encode())
    assert isinstance(value, float)
    assert value == float(digits)


@pytest.mark.parametrize("digits", ["1.10", "1e300", "0.00", "-2.50", "100.0e1"])
def test_the_digits_of_a_number_are_kept_as_they_were_written(digits: str):
    value = loads(digits.encode())
    assert isinstance(value, Decimal)
    assert value.as_tuple() == Decimal(digits).as_tuple()


@pytest.mark.parametrize("digits", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 40])
def test_an_integer_beyond_64_bits_keeps_every_digit(digits: str):
    assert loads(digits.encode()) == int(digits)
    assert dumps([{"n": int(digits)}]) == f'[{{"n":{digits}}}]'.encode()


def test_integers_have_at_most_4000_digits():
    longest = b"9" * 4000
    assert loads(b"[" + longest + b"]") == [int(longest)]
    assert loads(b"[-" + longest + b"]") == [-int(longest)]
    for body in (b"[9%s]", b"[-9%s]", b"[1.%s5]"):
        with pytest.raises(InvalidMessage, match="4000 digits"):
            loads(body % longest)


def test_digits_in_text_are_not_counted():
    body = b'["' + b"7" * 5000 + b'",1,1e2]'
    assert loads(body) == ["7" * 5000, 1, 100.0]


def test_the_place_of_a_fault_is_told():
    with pytest.raises(InvalidMessage, match="byte 2"):
        loads(b'"a\xff"')
    with pytest.raises(InvalidMessage, match="character 5"):
        loads(b'{"a":}')


def test_nesting_is_allowed_to_the_limit_and_no_further():
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        inner = "1" if closing == "}" else ""
        at, over = (opening * n + inner + closing * n for n in (64, 65))
        assert loads(at.encode()) == json.loads(at)
        with pytest.raises(InvalidMessage, match="64 levels"):
            loads(over.encode())
        with pytest.raises(InvalidMessage, match="64 levels"):
            loads(b"[[]," * 65 + b"0" + b"]" * 65)


def test_wide_is_not_deep():
    assert loads(b"[" + b",".join([b"[[],{}]"] * 500) + b"]") == [[[], {}]] * 500


def test_brackets_in_text_are_not_nesting():
    text = json.dumps({"a": "[{" * 500, 'b"[': '\\"[[' * 100, "c": "\\\\"})
    assert loads(text.encode()) == json.loads(text)


def test_values_are_counted_in_the_whole_document():
    assert loads(b"[1,2,3]", max_values=4) == [1, 2, 3]
    assert loads(b'["a,b,c,d,e,f"]', max_values=4) == ["a,b,c,d,e,f"]
    with pytest.raises(InvalidMessage, match="4 values"):
        loads(b"[1,2,[3]]", max_values=4)


def test_a_caller_that_lifts_the_depth_limit_still_gets_an_error():
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(InvalidMessage, match="too deeply"):
        loads(deep, max_depth=200_000)


def test_unbalanced_brackets_are_a_fault_of_form_not_of_depth():
    with pytest.raises(InvalidMessage, match="character 2"):
        loads(b"[]" + b"]" * 80 + b"[[]" * 40)
    with pytest.raises(InvalidMessage, match="character 244"):
        loads(b"[" + b"[]," * 80 + b"[]]]" + b"]" * 80)


def exact(value: object) -> object:
    """Return `value` with a float as what it stands for: its shortest digits."""
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, list):
        return [exact(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {name: exact(item) for name, item in cast("dict[str, object]", value).items()}
    return value


@given(VALUES)
def test_what_is_written_is_read_back_with_every_digit(value: object):
    assert exact(loads(dumps(value))) == exact(value)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_the_fast_and_the_careful_way_agree(value: object, indent: int | None, ascii_only: bool):
    text = json.dumps(value, default=float, indent=indent, ensure_ascii=ascii_only)
    careful = strict_json._read_carefully(text.encode())  # pyright: ignore[reportPrivateUsage]
    assert repr(loads(text.encode())) == repr(careful)


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
)
@settings(max_examples=500)
def test_a_number_is_exact_or_refused(digits: str):
    try:
        value = loads(digits.encode())
    except InvalidMessage:
        assert Decimal(digits).copy_abs() > Decimal("1.7e308") or abs(float(digits)) < 1e-307
    else:
        assert exact(value) == Decimal(digits)


def test_decimals_are_written_as_numbers():
    assert dumps([Decimal("1.10"), Decimal("1E+2"), Decimal("-0.00")]) == b"[1.10,1E+2,-0.00]"


def test_decimals_that_are_no_numbers_are_written_as_text():
    assert dumps([Decimal("NaN"), Decimal("-Infinity")]) == b'["NaN","-Infinity"]'


def test_long_integers_are_written_beside_everything_else():
    value = {"a": [2**70, (-(2**70), Decimal("0.5"))], "b": True, "c": 1}
    assert dumps(value) == b'{"a":[%d,[%d,0.5]],"b":true,"c":1}' % (2**70, -(2**70))


def test_dates_and_uuids_are_written_as_text():
    value = [datetime.date(2026, 1, 2), UUID(int=1)]
    assert dumps(value) == b'["2026-01-02","00000000-0000-0000-0000-000000000001"]'


@pytest.mark.parametrize("value", [object(), {1: 2}, "\ud800", {2**70: 1}, [object(), 2**70]])
def test_what_has_no_json_form_is_refused(value: object):
    with pytest.raises(TypeError):
        dumps(value)
