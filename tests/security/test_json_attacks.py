"""Finding F9: what the standard library reads without complaint, and the strict reader refuses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbase import strict_json
from fluxbase.errors import InvalidMessage
from fluxbase.strict_json import loads

REQUEST = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
CANARY = "canary7f3a"

LENIENT = {
    "NaN": b'{"id":NaN}',
    "Infinity": b'{"id":Infinity}',
    "minus Infinity": b'{"id":-Infinity}',
    "a number that overflows": b'{"id":1e999}',
    "a long number that overflows": b'{"id":-1000000000000000000e9999}',
    "a number that underflows": b'{"id":1e-999999999}',
    "half a surrogate pair": b'{"id":"\\ud800"}',
    "the other half": b'{"id":"\\uDFFF"}',
    "halves the wrong way round": b'{"id":"\\ude00\\ud83d"}',
    "half a pair as a name": b'{"\\ud800":1}',
    "half a pair beside a whole one": b'["\\ud83d\\ude00","\\ud83d"]',
    "UTF-16": REQUEST.encode("utf-16"),
    "UTF-16 without mark": REQUEST.encode("utf-16-le"),
    "UTF-32": REQUEST.encode("utf-32"),
    "a byte order mark": REQUEST.encode("utf-8-sig"),
    "a surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a name twice": b'{"method":"tools/list","method":"tools/call"}',
    "a name twice, once escaped": b'{"method":1,"m\\u0065thod":2}',
    "a name twice, deep down": b'{"a":[{"b":{"c":1,"d":2,"c":1}}]}',
    "a name twice, equal values": b'{"a":1,"a":1}',
    "an empty name twice": b'{"":1,"":2}',
    "a name twice, spaced": b'{"a" : 1 , "a" : 1}',
    "65 levels": b"[" * 65 + b"]" * 65,
    "65 levels behind text": b'["]]]]",' + b"[" * 64 + b"]" * 65,
    "65 mixed levels": b'{"a":[' * 33 + b"]}" * 33,
    "65 levels behind an escaped quote": b'["\\"",' + b"[" * 64 + b"]" * 65,
    "65 levels behind an escaped backslash": b'["\\\\",' + b"[" * 64 + b"]" * 65,
    "4,001 digits": b"[" + b"1" * 4001 + b"]",
}


@pytest.mark.parametrize("body", LENIENT.values(), ids=list(LENIENT))
def test_leniency_is_refused(body: bytes):
    json.loads(body)  # the planted control: a plain reader takes it
    with pytest.raises(InvalidMessage):
        loads(body)


BROKEN = {
    "nothing": b"",
    "white space": b" \n",
    "100,000 levels": b"[" * 100_000,
    "100,000 levels of objects": b'{"a":' * 100_000,
    "5,000 digits": b"[" + b"1" * 5000 + b"]",
    "two values": b"{}{}",
    "a trailing comma": b"[1,]",
    "a comment": b"[1] // no",
    "single quotes": b"{'a':1}",
    "a raw control character": b'"\x01"',
    "a raw newline in text": b'"a\nb"',
    "a leading zero": b"01",
    "a bare point": b"1.",
    "a leading plus": b"+1",
    "hexadecimal": b"0x10",
    "an unknown escape": b'"\\x41"',
    "a short escape": b'"\\u12"',
    "overlong UTF-8": b'"\xc0\xaf"',
    "a lone continuation byte": b'"\x80"',
    "beyond Unicode": b'"\xf4\x90\x80\x80"',
    "NUL at the end": b"{}\x00",
    "no-break space": b"\xc2\xa0{}",
    "form feed": b"\x0c{}",
    "an unterminated string of escapes": b'"' + b'\\"' * 100_000,
    "many values": b"[" + b"0," * 1_000_000 + b"0]",
    "full-width digits": b"\xef\xbc\x91",
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=list(BROKEN))
def test_what_is_not_json_is_refused_with_the_one_error(body: bytes):
    with pytest.raises(InvalidMessage):
        loads(body)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"{CANARY}":1,"{CANARY}":2}}',
        f'{{"{CANARY}":}}',
        f'"{CANARY}\\q"',
        f'"{CANARY}',
        f'"{CANARY}\\ud800"',
        f"{CANARY}",
        f'["{CANARY}",1e999]',
        f'["{CANARY}",NaN]',
        f'"{CANARY}\x00"',
    ],
)
def test_no_error_repeats_the_input(body: str):
    with pytest.raises(InvalidMessage) as caught:
        loads(body.encode())
    assert CANARY not in str(caught.value.as_dict())
    assert caught.value.__cause__ is None


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_the_one_error(body: bytes):
    try:
        value = loads(body)
    except InvalidMessage:
        return
    assert value == json.loads(body)


SNIPPETS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "\\u",
    "d800",
    "1",
    "-",
    "e9",
    ".",
    "NaN",
    " ",
    "a",
]


@given(st.lists(st.sampled_from(SNIPPETS), max_size=40).map("".join))
def test_anything_json_like_gives_a_value_or_the_one_error(text: str):
    try:
        value = loads(text.encode(), max_depth=5)
    except InvalidMessage:
        return
    assert value == json.loads(text)


@given(
    st.dictionaries(st.text("ab ,:\u00e9", max_size=3), st.integers() | st.floats(allow_nan=False)),
    st.data(),
)
def test_a_repeated_name_is_never_read(members: dict[str, float], data: st.DataObject):
    pairs = [(json.dumps(name), json.dumps(value)) for name, value in members.items()]
    pairs.append(data.draw(st.sampled_from(pairs)) if pairs else ('""', "1"))
    pairs.append(pairs[-1])
    comma, colon = data.draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]))
    text = "{" + comma.join(name + colon + value for name, value in pairs) + "}"
    with pytest.raises(InvalidMessage):
        loads(text.encode())


def test_the_guard_against_repeated_names_is_what_refuses_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(strict_json, "_DECODER", json.JSONDecoder())
    assert loads(b'{"a":1,"a":2}') == {"a": 2}
