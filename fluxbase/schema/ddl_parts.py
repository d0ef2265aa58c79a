"""Writes the parts of a change of the schema: names, types, expressions, values; pure.

Names are quoted, types are of a list, expressions are read and written anew, so that no argument is
ever more than what it stands for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbase.config.model import INTERNAL_SCHEMAS
from fluxbase.db.sql import Sql, ident, join, sql
from fluxbase.errors import Forbidden, InvalidArgument
from fluxbase.grammar.sql_tree import parse_expression

if TYPE_CHECKING:
    from collections.abc import Sequence

_PLAIN: Final = frozenset(
    {
        *("bigint", "integer", "smallint", "real", "double_precision", "boolean"),
        *("int", "int2", "int4", "int8", "float4", "float8", "bool"),
        *("text", "uuid", "bytea", "json", "jsonb", "inet", "cidr", "macaddr", "date", "money"),
        *("tsvector", "tsquery", "point", "int4range", "int8range", "numrange"),
        *("daterange", "tsrange", "tstzrange"),
    }
)
_VECTORS: Final = frozenset({"vector", "halfvec", "sparsevec"})
_NUMBERS: Final = frozenset({"numeric", "decimal"})  # of digits, and of those behind the point
_SIZED: Final = frozenset(
    {
        *("varchar", "char", "bit", "varbit", "time", "timetz", "timestamp", "timestamptz"),
        *("interval", *_NUMBERS, *_VECTORS),
    }
)
_TYPE: Final = re.compile(
    r"([a-z][a-z0-9_ ]{0,30}?)(\((\d{1,5})(?:, ?(\d{1,3}))?\))?((?:\[\]){0,3})"
)
_ENUM: Final = re.compile(r"([A-Za-z_]\w{0,62})\.([A-Za-z_]\w{0,62})((?:\[\]){0,3})", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Change:
    """What is done, on what, and what takes it back (`None`: nothing does)."""

    target: str
    up: tuple[Sql, ...]
    down: Sql | None


def type_of(text: str) -> Sql:
    """Return a type: of a list, with its length and brackets; or an enum as schema.name."""
    enum = _ENUM.fullmatch(text)
    if enum is not None:
        return Sql(f"{ident(schema_name(enum[1]), enum[2])}{enum[3]}")
    found = _TYPE.fullmatch(text.strip().lower())
    name = found[1].strip().replace(" ", "_") if found else ""
    if found is None or name not in _PLAIN | _SIZED:
        raise InvalidArgument(
            "type: no such type here",
            hint="such as text, varchar(80), numeric(10,2), timestamptz, uuid, jsonb, text[], "
            "vector(1536), or an enum as schema.name",
        )
    if (found[3] and name not in _SIZED) or (found[4] and name not in _NUMBERS):
        raise InvalidArgument("type: this one has no such length")
    base = f"extensions.{name}" if name in _VECTORS else name.replace("_", " ")
    return Sql(f"{base}{found[2] or ''}{found[5]}")


def relation(schema: str, name: str) -> Sql:
    """Return the quoted name of a table, an index or a type."""
    return ident(schema_name(schema), plain_name(name, "name"))


def schema_name(name: str, what: str = "schema") -> str:
    """Return the name of a schema that is neither the server's nor Postgres' own."""
    if plain_name(name, what) in (*INTERNAL_SCHEMAS, "extensions", "information_schema"):
        raise Forbidden("this schema belongs to the server")
    if name.lower().startswith("pg_"):
        raise Forbidden("this schema belongs to Postgres")
    return name


def plain_name(name: str, what: str) -> str:
    """Return a name of letters, digits and underscores; `what` names its argument."""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"{what}: letters, digits and '_' make a name, at most 63 of them")
    return name


def policy_name(name: str, what: str = "name") -> Sql:
    """Return the quoted name of a policy, which may be any printable text."""
    return ident(_printable(name, what))


def label(value: str, what: str) -> Sql:
    """Return a value of an enum as a literal."""
    return _literal(_printable(value, what))


def words(text: str, what: str) -> Sql:
    """Return a text of any length as a literal."""
    if "\x00" in text:
        raise InvalidArgument(f"{what}: a text has no NUL")
    return _literal(text)


def expression(text: str, what: str) -> Sql:
    """Return an expression in brackets, judged and written anew."""
    return Sql(f"({parse_expression(text, what)})")


def role_list(roles: Sequence[str]) -> Sql:
    """Return the roles of a policy; none are everybody."""
    return join(", ", [ident(plain_name(r, "roles")) for r in roles]) if roles else sql("PUBLIC")


def cascade_word(*, on: bool) -> Sql:
    """Return the word that drops what depends on something as well."""
    return sql(" CASCADE") if on else Sql("")


def _literal(text: str) -> Sql:
    quoted = text.replace("'", "''")
    # Means the same whatever `standard_conforming_strings` is.
    return Sql("E'" + quoted.replace("\\", "\\\\") + "'" if "\\" in text else f"'{quoted}'")


def _printable(text: str, what: str) -> str:
    # Postgres counts bytes, and would cut a longer name without a word.
    if not text.isprintable() or not 1 <= len(text.encode()) <= 63:
        raise InvalidArgument(f"{what}: 1 to 63 bytes of printable characters are expected")
    return text
