"""One value of every Postgres type: as it is sent, as it is stored, and as it comes back.

Everything is written as text, so that no reader in between can round or reorder what is compared:
JSON for what is sent and shown, a literal of Postgres for what is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SETUP: Final = """
CREATE EXTENSION IF NOT EXISTS hstore SCHEMA extensions;
CREATE EXTENSION IF NOT EXISTS citext SCHEMA extensions;
CREATE EXTENSION IF NOT EXISTS ltree SCHEMA extensions;
CREATE TYPE public.weather AS ENUM ('calm', 'stormy', 'it''s "odd", {really}');
CREATE DOMAIN public.airport AS text CHECK (VALUE ~ '^[A-Z]{3}$');
CREATE DOMAIN public.hub AS public.airport CHECK (VALUE <> 'AAA');
CREATE DOMAIN public.percent AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN public.few AS integer[] CHECK (cardinality(VALUE) <= 3);
CREATE TYPE public.pair AS (n integer, label text);
CREATE TYPE public.nest AS (id bigint, inside public.pair, tags text[]);
"""
TEARDOWN: Final = """
DROP TYPE public.nest;
DROP TYPE public.pair;
DROP DOMAIN public.few;
DROP DOMAIN public.percent;
DROP DOMAIN public.hub;
DROP DOMAIN public.airport;
DROP TYPE public.weather;
"""


@dataclass(frozen=True)
class Value:
    """One value: the JSON that is sent, the literal that is stored, the JSON that is shown.

    `stored` and `shown` are what the JSON says when they are left out; `operand` is the JSON that
    a filter compares with, that which was sent when left out.
    """

    sent: str
    stored: str
    shown: str | None = None
    operand: str | None = None

    @property
    def out(self) -> str:
        return self.sent if self.shown is None else self.shown

    @property
    def asked(self) -> str:
        return self.sent if self.operand is None else self.operand


@dataclass(frozen=True)
class Case:
    """A type by the name the guide has for it, two of its values, and one that is none.

    `eq` and `neq` tell whether the type has these operators; `listed` whether `in` can be asked.
    """

    name: str
    one: Value
    other: Value
    wrong: str | None
    eq: bool = True
    neq: bool = True
    listed: bool = True
    column: str | None = None

    @property
    def type(self) -> str:
        return self.column or self.name


def _same(json_text: str, stored: str | None = None) -> Value:
    """Return a value whose JSON is a text without escapes, or a number, and also its literal."""
    return Value(json_text, json_text.strip('"') if stored is None else stored)


_UUID: Final = "6f1c3b2a-0d4e-4f5a-8b6c-7d8e9f0a1b2c"
_OTHER_UUID: Final = "00000000-0000-0000-0000-000000000000"
_LONG: Final = "1234567890123456789012345678.901234567890"
_FORTY: Final = "1234567890" * 4
_DAY: Final = "2026-05-05"
_TEXTS: Final = r'["a,b","\"q\"","{x}","NULL","",null,"\\ ☃"]'

CASES: Final = (
    # Numbers.
    Case("smallint", _same("32767"), _same("-32768"), "32768"),
    Case("integer", _same("2147483647"), _same("-2147483648"), '"many"'),
    Case(
        "bigint", _same("9223372036854775807"), _same("-9223372036854775808"), "9223372036854775808"
    ),
    Case("numeric", _same(_LONG), _same("-0.10"), '"1,5"'),
    Case("numeric(10,4)", Value("1.1", "1.1000", "1.1000"), _same("-999999.9999"), "1000000"),
    Case("real", _same("0.1"), Value("10000000000", "1e10", "1e+10"), '"0,5"'),
    Case("double precision", _same("0.30000000000000004"), _same("1e+300"), '"0,5"'),
    Case(
        "money",
        Value('"1234.50"', "1234.50", '"$1,234.50"'),
        Value("-0.01", "-0.01", '"-$0.01"'),
        '"a lot"',
    ),
    # Text and bytes.
    Case(
        "text",
        Value('"☃ \U0001f600 é e\u0301"', "☃ \U0001f600 é e\u0301"),
        _same('""'),
        r'"a\u0000b"',
    ),
    Case("character varying(5)", _same('"ab"'), _same('"☃☃☃☃☃"'), '"abcdef"'),
    Case("character(5)", Value('"ab"', "ab", '"ab   "'), _same('"abcde"'), '"abcdef"'),
    Case("citext", Value('"Ab"', "Ab", operand='"aB"'), _same('"cD"'), r'"a\u0000b"'),
    Case("name", _same('"ab"'), _same('"cd"'), r'"a\u0000b"'),
    Case("bytea", Value(r'"\\xdeadbeef00"', r"\xdeadbeef00"), Value(r'"\\x"', r"\x"), r'"\\xabc"'),
    Case("bit(3)", _same('"101"'), _same('"010"'), '"10"'),
    Case("bit varying", _same('"10110"'), _same('""'), '"102"'),
    Case("uuid", _same(f'"{_UUID}"'), _same(f'"{_OTHER_UUID}"'), '"me"'),
    Case("boolean", _same("true"), _same("false"), '"perhaps"'),
    # Times.
    Case("date", _same('"2026-02-28"'), _same('"0044-03-15 BC"'), '"2026-02-30"'),
    Case("time", _same('"07:08:09.123456"'), _same('"24:00:00"'), '"25:00"'),
    Case("time with time zone", _same('"07:08:09.5+02"'), _same('"00:00:00-05:30"'), '"noon"'),
    Case(
        "timestamp",
        _same('"2026-05-06T07:08:09.123456"'),
        _same('"infinity"'),
        '"2026-13-01T00:00:00"',
    ),
    Case(
        "timestamp with time zone",
        Value(
            '"2026-05-06T09:08:09.123456+02:00"',
            "2026-05-06 07:08:09.123456+00",
            '"2026-05-06T07:08:09.123456+00:00"',
        ),
        Value('"2026-01-01T00:00:00Z"', "2026-01-01 00:00:00+00", '"2026-01-01T00:00:00+00:00"'),
        '"yesterday-ish"',
    ),
    Case("interval", _same('"P1Y2M3DT4H5M6.789S"'), _same('"P-1DT-0.5S"'), '"P1X"'),
    # Networks.
    Case("inet", _same('"192.0.2.1/24"'), _same('"2001:db8::1"'), '"192.0.2.256"'),
    Case("cidr", _same('"192.0.2.0/24"'), _same('"2001:db8::/32"'), '"192.0.2.1/24"'),
    Case(
        "macaddr",
        Value('"08-00-2B-01-02-03"', "08:00:2b:01:02:03", '"08:00:2b:01:02:03"'),
        _same('"08:00:2b:01:02:04"'),
        '"08:00"',
    ),
    Case("macaddr8", _same('"08:00:2b:01:02:03:04:05"'), _same('"ff:00:2b:01:02:03:04:05"'), '"x"'),
    # Arrays.
    Case(
        "integer[]", Value("[1,null,3]", "{1,NULL,3}"), Value("[]", "{}"), '[1,"x"]', listed=False
    ),
    Case(
        "integer[][]",
        Value("[[1,2],[3,4]]", "{{1,2},{3,4}}"),
        Value("[[5]]", "{{5}}"),
        "[[1,2],[3]]",
        listed=False,
    ),
    Case(
        "text[]",
        Value(_TEXTS, r'{"a,b","\"q\"","{x}","NULL","",NULL,"\\ ☃"}'),
        Value('["b"]', "{b}"),
        '"not an array"',
        listed=False,
    ),
    Case(
        "timestamp with time zone[]",
        Value(
            '["2026-01-01T02:00:00+02:00",null]',
            '{"2026-01-01 00:00:00+00",NULL}',
            '["2026-01-01T00:00:00+00:00",null]',
        ),
        Value('["infinity"]', "{infinity}"),
        '["yesterday-ish"]',
        listed=False,
    ),
    Case(
        "jsonb[]",
        Value('[{"a":[1,2.50]},null]', r'{"{\"a\": [1, 2.50]}",NULL}'),
        Value('["text"]', r'{"\"text\""}', operand=r'"{\"\\\"text\\\"\"}"'),
        '"not an array"',
        listed=False,
    ),
    # Ranges.
    Case("int4range", Value('"[1,9]"', "[1,10)", '"[1,10)"'), _same('"empty"'), '"[10,1)"'),
    Case("int8range", _same('"[1,9223372036854775807)"'), _same('"(,1)"'), '"[1"'),
    Case("numrange", _same('"(,5.50]"'), _same('"[1.1,)"'), '"[2,1]"'),
    Case(
        "daterange",
        Value('"[2026-01-01,2026-01-31]"', "[2026-01-01,2026-02-01)", '"[2026-01-01,2026-02-01)"'),
        _same('"(,)"'),
        '"[2026-02-30,)"',
    ),
    Case(
        "tsrange",
        Value(r'"[\"2026-01-01 00:00:00\",)"', "[2026-01-01,)"),
        _same('"empty"'),
        '"[now-ish,)"',
    ),
    Case(
        "tstzrange",
        Value(
            '"[2026-01-01T00:00:00+02:00,)"',
            "[2025-12-31 22:00:00+00,)",
            r'"[\"2025-12-31 22:00:00+00\",)"',
        ),
        _same('"empty"'),
        '"[now-ish,)"',
    ),
    Case("int4multirange", _same('"{[1,3),[5,7)}"'), _same('"{}"'), '"{[3,1)}"'),
    Case("nummultirange", _same('"{(,1.5),[2.5,)}"'), _same('"{}"'), '"{x}"'),
    # Types of your own.
    Case(
        "enum",
        _same('"calm"'),
        Value(
            r'"it\u0027s \"odd\", {really}"',
            'it\'s "odd", {really}',
            r'"it\u0027s \"odd\", {really}"',
        ),
        '"sad"',
        column="weather",
    ),
    Case("domain over text", _same('"ABC"'), _same('"XYZ"'), '"abc"', column="airport"),
    Case("domain over a domain", _same('"ABC"'), _same('"XYZ"'), '"AAA"', column="hub"),
    Case("domain over integer", _same("42"), _same("7"), "101", column="percent"),
    Case(
        "domain over integer[]",
        Value("[1,2]", "{1,2}"),
        Value("[3]", "{3}"),
        "[1,2,3,4]",
        listed=False,
        column="few",
    ),
    Case(
        "composite",
        Value('{"n":1,"label":"a,b"}', '(1,"a,b")', operand=r'"(1,\"a,b\")"'),
        Value(r'{"n":null,"label":"\"q\""}', r'(,"""q""")', operand=r'"(,\"\"\"q\"\"\")"'),
        '{"n":"x","label":"a"}',
        column="pair",
    ),
    Case(
        "composite within a composite",
        Value(
            '{"id":9223372036854775807,"inside":{"n":1,"label":"x"},"tags":["a","b"]}',
            '(9223372036854775807,"(1,x)","{a,b}")',
            operand=r'"(9223372036854775807,\"(1,x)\",\"{a,b}\")"',
        ),
        Value('{"id":2,"inside":null,"tags":null}', "(2,,)", operand='"(2,,)"'),
        '{"id":1,"inside":{"n":"x"},"tags":null}',
        column="nest",
    ),
    Case(
        "composite[]",
        Value(
            '[{"n":1,"label":"x"},null]',
            '{"(1,x)",NULL}',
            operand=r'"{\"(1,x)\",NULL}"',
        ),
        Value("[]", "{}"),
        '[{"n":"x","label":"y"}]',
        listed=False,
        column="pair[]",
    ),
    # Documents.
    Case(
        "json",
        Value(
            '{"b":1.50,"a":[null,123456789012345678901234567890]}',
            '{"b":1.50,"a":[null,123456789012345678901234567890]}',
        ),
        _same("[]"),
        None,
        eq=False,
    ),
    Case(
        "jsonb",
        Value(
            '{"bb":1.50,"a":[null,123456789012345678901234567890]}',
            '{"a": [null, 123456789012345678901234567890], "bb": 1.50}',
            '{"a":[null,123456789012345678901234567890],"bb":1.50}',
        ),
        Value('"text"', '"text"'),
        r'{"a":"\u0000"}',
    ),
    Case(
        "hstore",
        Value(r'"\"a\"=>\"1\", \"b\"=>NULL"', '"a"=>"1", "b"=>NULL', '{"a":"1","b":null}'),
        Value('""', "", "{}"),
        '"a=>"',
    ),
    Case("ltree", _same('"a.b.c"'), _same('"a"'), '"a..b"'),
    Case(
        "tsvector",
        Value('"fat:2 cat:3"', "'cat':3 'fat':2", "\"'cat':3 'fat':2\""),
        Value('"rat"', "'rat'", "\"'rat'\""),
        '"\'open"',
    ),
    Case(
        "tsquery",
        Value('"fat & !cat"', "'fat' & !'cat'", "\"'fat' & !'cat'\""),
        Value('"rat"', "'rat'", "\"'rat'\""),
        '"fat &"',
    ),
    # Geometry: only lines and segments have an equality that compares more than a size.
    Case("point", _same('"(1.5,-2)"'), _same('"(0,0)"'), '"(1)"', eq=False),
    Case("line", _same('"{1,2,3}"'), _same('"{1,0,0}"'), '"{0,0,1}"', neq=False),
    Case("lseg", _same('"[(0,0),(1,1)]"'), _same('"[(0,0),(2,2)]"'), '"[(0,0)]"'),
    Case(
        "box",
        Value('"(0,0),(2,2)"', "(2,2),(0,0)", '"(2,2),(0,0)"'),
        _same('"(1,1),(0,0)"'),
        '"x"',
        neq=False,
    ),
    Case("path", _same('"[(0,0),(1,1)]"'), _same('"((0,0),(1,1),(2,0))"'), '"()"', neq=False),
    Case("polygon", _same('"((0,0),(1,1),(2,0))"'), _same('"((0,0))"'), '"x"', eq=False),
    Case("circle", _same('"<(0,0),5>"'), _same('"<(1,1),1>"'), '"<(0,0),-1>"'),
    # Vectors.
    Case("vector(3)", _same('"[1,2.5,3]"'), _same('"[0.1,0,0]"'), '"[1,2]"'),
    Case("halfvec(3)", _same('"[1,2.5,3]"'), _same('"[0.5,0,0]"'), '"[1,2]"'),
    Case("sparsevec(5)", _same('"{1:1,3:2}/5"'), _same('"{}/5"'), '"{6:1}/5"'),
    # What names things of Postgres.
    Case("oid", Value("4294967295", "4294967295", '"4294967295"'), _same('"0"'), '"x"'),
    Case("regclass", _same('"pg_class"'), _same('"pg_type"'), '"no_such_table"'),
    Case("pg_lsn", _same('"16/B374D848"'), _same('"0/0"'), '"x"'),
)

# Further values that are easily lost: the type, and the value.
EDGES: Final = (
    ("numeric", _same('"NaN"')),
    ("numeric", _same('"Infinity"')),
    ("numeric", _same('"-Infinity"')),
    ("numeric", _same("1.10")),
    ("numeric", Value("1e2", "100", "100")),
    ("numeric", Value(f'"{_FORTY}"', _FORTY, _FORTY)),
    ("real", _same('"NaN"')),
    ("real", _same('"-Infinity"')),
    ("double precision", _same('"NaN"')),
    ("double precision", _same('"Infinity"')),
    ("double precision", _same('"-Infinity"')),
    ("double precision", _same("0.1")),
    ("double precision", _same("5e-324")),
    ("bigint", Value('"9223372036854775807"', "9223372036854775807", "9223372036854775807")),
    ("text", Value(r'"\\ \" \u0001 \u2028 {} $1 %s"', "\\ \" \x01 \u2028 {} $1 %s")),
    ("bytea", Value('"abc"', r"\x616263", r'"\\x616263"')),
    ("date", _same('"infinity"')),
    ("date", _same('"-infinity"')),
    ("date", _same('"9999-12-31"')),
    ("timestamp", _same('"0044-03-15T01:02:03 BC"')),
    ("timestamp with time zone", _same('"-infinity"')),
    ("timestamp with time zone", _same('"0044-03-15T01:02:03.000001+00:00 BC"')),
    ("timestamp with time zone", Value(f'"{_DAY} 23:30+14"', f"{_DAY} 09:30Z", f'"{_DAY}T09:30:00+00:00"')),  # noqa: E501
    ("interval", _same('"PT0S"')),
    ("interval", Value('"1 year -3 days 04:05:06"', "1 year -3 days 04:05:06", '"P1Y-3DT4H5M6S"')),
    ("integer[]", Value('"{1,2}"', "{1,2}", "[1,2]")),
    ("integer[]", Value("[null]", "{NULL}")),
    ("tstzrange", Value('"(,)"', "(,)")),
    ("int4range", Value('"(,5]"', "(,6)", '"(,6)"')),
    ("jsonb", _same("[]")),
    ("jsonb", _same("false")),
    ("jsonb", Value("1e2", "100", "100")),
    ("jsonb", Value('{"a":null}', '{"a": null}')),
    ("json", Value("9007199254740993", "9007199254740993")),
    ("vector(3)", Value("[1,2.5,3]", "[1,2.5,3]", '"[1,2.5,3]"')),
    ("composite", Value('{"label":"x"}', "(,x)", '{"n":null,"label":"x"}')),
)  # fmt: skip
