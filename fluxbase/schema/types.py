"""Writes what a caller sees of the catalog as types of TypeScript or Python; pure.

A row has every readable column; what an insert and an update take has those that the caller may
write, and leaves out what fills itself in.
"""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbase.db.relation import Column, Visible

Language = Literal["typescript", "python"]
_TYPESCRIPT: Final = {
    "bool": "boolean", "int2": "number", "int4": "number", "int8": "number", "float4": "number",
    "float8": "number", "numeric": "number", "json": "Json", "jsonb": "Json",
}  # fmt: skip
_PYTHON: Final = {
    "bool": "bool", "int2": "int", "int4": "int", "int8": "int", "float4": "float",
    "float8": "float", "json": "Any", "jsonb": "Any", "numeric": "float",
}  # fmt: skip
# Postgres' own names for what `Column.base` spells as SQL does.
_SHORT: Final = {
    "boolean": "bool", "smallint": "int2", "integer": "int4", "bigint": "int8", "real": "float4",
    "double precision": "float8",
}  # fmt: skip


def write(tables: Iterable[Visible], language: Language) -> str:
    """Return the source text of a module with three types for each table."""
    return _typescript(tables) if language == "typescript" else _python(tables)


def _typescript(tables: Iterable[Visible]) -> str:
    lines = [
        "// Made from the catalog. Numbers have all their digits; JSON.parse keeps 15 of them.",
        "export type Json = string | number | boolean | null | { [key: string]: Json } | Json[];",
        "",
        "export interface Database {",
    ]
    for schema, members in _by_schema(tables).items():
        lines.append(f"  {_key(schema)}: {{")
        for table in members:
            lines.append(f"    {_key(table.relation.name)}: {{")
            for name, columns in _shapes(table):
                lines.append(f"      {name}: {{")
                lines += [
                    f"        {_key(c.name)}{'?' if optional else ''}: {_ts_type(c)};"
                    for c, optional in columns
                ]
                lines.append("      };")
            lines.append("    };")
        lines.append("  };")
    return "\n".join([*lines, "}", ""])


def _python(tables: Iterable[Visible]) -> str:
    lines = [
        '"""Made from the catalog."""',
        "",
        "from typing import Any, Literal, NotRequired, TypedDict",
        "",
    ]
    taken: set[str] = set()
    for schema, members in _by_schema(tables).items():
        for table in members:
            for name, columns in _shapes(table):
                title = _title(schema, table.relation.name, name, taken)
                fields = [
                    f"    {c.name!r}: {_wrapped(_py_type(c), optional=optional)},"
                    for c, optional in columns
                ]
                inside = "\n".join(["", *fields, ""]) if fields else ""
                lines += [f"{title} = TypedDict({title!r}, {{{inside}}})", ""]
    return "\n".join(lines)


def _by_schema(tables: Iterable[Visible]) -> dict[str, list[Visible]]:
    found: dict[str, list[Visible]] = {}
    for table in tables:
        found.setdefault(table.relation.schema, []).append(table)
    return found


def _shapes(table: Visible) -> list[tuple[str, list[tuple[Column, bool]]]]:
    columns, grant = table.relation.columns, table.grant
    rows = [(columns[name], False) for name in table.readable if name in columns]
    inserts = [(c, not _is_required(c)) for c in columns.values() if _writes(c, grant.insert)]
    updates = [(c, True) for c in columns.values() if _writes(c, grant.update)]
    return [("Row", rows), ("Insert", inserts), ("Update", updates)]


def _writes(column: Column, granted: frozenset[str]) -> bool:
    return column.name in granted and not column.generated


def _is_required(column: Column) -> bool:
    return not (column.nullable or column.default or column.identity)


def _ts_type(column: Column) -> str:
    kind = " | ".join(_quoted(v) for v in column.values) or _TYPESCRIPT.get(_base(column), "string")
    if column.is_array:
        kind = f"({kind})[]" if " " in kind else f"{kind}[]"
    return f"{kind} | null" if column.nullable else kind


def _py_type(column: Column) -> str:
    kind = _PYTHON.get(_base(column), "str")
    if column.values:
        kind = f"Literal[{', '.join(repr(v) for v in column.values)}]"
    if column.is_array:
        kind = f"list[{kind}]"
    return f"{kind} | None" if column.nullable else kind


def _wrapped(kind: str, *, optional: bool) -> str:
    return f"NotRequired[{kind}]" if optional else kind


def _base(column: Column) -> str:
    return _SHORT.get(column.base, column.base)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$]*", name) else _quoted(name)


def _quoted(text: str) -> str:
    escaped = "".join(
        c if c.isprintable() and c not in '"\\' else f"\\u{{{ord(c):x}}}" for c in text
    )
    return f'"{escaped}"'


def _title(schema: str, table: str, shape: str, taken: set[str]) -> str:
    """Return a name of Python for a type that no other one has."""
    words = re.findall(r"[A-Za-z0-9]+", table if schema == "public" else f"{schema} {table}")
    title = "".join(word.capitalize() for word in words) + shape
    title = f"_{title}" if title[:1].isdigit() or keyword.iskeyword(title) else title
    unique, number = title, 1
    while unique in taken:
        number += 1
        unique = f"{title}{number}"
    taken.add(unique)
    return unique
