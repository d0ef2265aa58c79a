"""Makes the SQL that makes, drops and renames what a schema has, and of what takes it back; pure.

Its parts are written by `ddl_parts`; what changes a thing that stays is in `ddl_alter`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from fluxbase.db.sql import Sql, concat, ident, join, sql
from fluxbase.errors import InvalidArgument
from fluxbase.schema.ddl_parts import (
    Change,
    cascade_word,
    expression,
    label,
    plain_name,
    policy_name,
    relation,
    role_list,
    schema_name,
    type_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_REFERENCE: Final = re.compile(
    r"(?:([A-Za-z_]\w{0,62})\.)?([A-Za-z_]\w{0,62})\(([A-Za-z_]\w{0,62})\)", re.ASCII
)
_ACTIONS: Final = {
    "cascade": sql(" ON DELETE CASCADE"),
    "set null": sql(" ON DELETE SET NULL"),
    "restrict": sql(" ON DELETE RESTRICT"),
}
_METHODS: Final = {
    "btree": sql("btree"), "hash": sql("hash"), "gin": sql("gin"), "gist": sql("gist"),
    "brin": sql("brin"), "hnsw": sql("hnsw"), "ivfflat": sql("ivfflat"),
}  # fmt: skip
_COMMANDS: Final = {
    "all": sql("ALL"), "select": sql("SELECT"), "insert": sql("INSERT"), "update": sql("UPDATE"),
    "delete": sql("DELETE"),
}  # fmt: skip

Method = Literal["btree", "hash", "gin", "gist", "brin", "hnsw", "ivfflat"]
Command = Literal["all", "select", "insert", "update", "delete"]


@checked(config=ConfigDict(extra="forbid"), frozen=True, slots=True)
class NewColumn:
    """One column as it is to be."""

    name: Annotated[str, Field(max_length=63)]
    type: Annotated[str, Field(max_length=140)]
    nullable: bool = True
    default_value: Annotated[str, Field(max_length=2000)] | None = None
    primary_key: bool = False
    unique: bool = False
    references: Annotated[str, Field(max_length=200)] | None = None
    on_delete: Literal["cascade", "set null", "restrict"] | None = None
    check: Annotated[str, Field(max_length=2000)] | None = None
    generated: Annotated[str, Field(max_length=2000)] | None = None


def create_schema(name: str) -> Change:
    """Make a schema, which clients may not look into until it is granted and exposed."""
    made = ident(schema_name(name))
    return Change(name, (concat(sql("CREATE SCHEMA "), made),), concat(sql("DROP SCHEMA "), made))


def drop_schema(name: str, *, cascade: bool) -> Change:
    """Remove a schema."""
    gone = concat(sql("DROP SCHEMA "), ident(schema_name(name)), cascade_word(on=cascade))
    return Change(name, (gone,), None)


def create_table(schema: str, name: str, columns: Sequence[NewColumn]) -> Change:
    """Make a table; row-level security is on from its first moment."""
    table = relation(schema, name)
    if not columns:
        raise InvalidArgument("columns: at least one is needed")
    parts = [_column(column) for column in columns]
    key = [ident(plain_name(c.name, "columns")) for c in columns if c.primary_key]
    if key:
        parts.append(concat(sql("PRIMARY KEY ("), join(", ", key), sql(")")))
    made = concat(sql("CREATE TABLE "), table, sql(" ("), join(", ", parts), sql(")"))
    guarded = concat(sql("ALTER TABLE "), table, sql(" ENABLE ROW LEVEL SECURITY"))
    return Change(f"{schema}.{name}", (made, guarded), concat(sql("DROP TABLE "), table))


def drop_table(schema: str, name: str, *, cascade: bool) -> Change:
    """Remove a table."""
    gone = concat(sql("DROP TABLE "), relation(schema, name), cascade_word(on=cascade))
    return Change(f"{schema}.{name}", (gone,), None)


def rename_table(schema: str, name: str, new_name: str) -> Change:
    """Give a table another name."""
    to = ident(plain_name(new_name, "new_name"))
    there = concat(sql("ALTER TABLE "), relation(schema, name), sql(" RENAME TO "), to)
    back = concat(sql("ALTER TABLE "), relation(schema, new_name), sql(" RENAME TO "), ident(name))
    return Change(f"{schema}.{name}", (there,), back)


def add_column(schema: str, name: str, column: NewColumn) -> Change:
    """Add a column."""
    if column.primary_key:
        raise InvalidArgument("primary_key: a table has its primary key from the start")
    table = relation(schema, name)
    added = concat(sql("ALTER TABLE "), table, sql(" ADD COLUMN "), _column(column))
    back = concat(sql("ALTER TABLE "), table, sql(" DROP COLUMN "), ident(column.name))
    return Change(f"{schema}.{name}", (added,), back)


def drop_column(schema: str, name: str, column: str, *, cascade: bool) -> Change:
    """Remove a column."""
    gone = concat(
        sql("ALTER TABLE "), relation(schema, name), sql(" DROP COLUMN "),
        ident(plain_name(column, "column")), cascade_word(on=cascade),
    )  # fmt: skip
    return Change(f"{schema}.{name}", (gone,), None)


def rename_column(schema: str, name: str, column: str, new_name: str) -> Change:
    """Give a column another name."""
    table = relation(schema, name)
    old, new = plain_name(column, "column"), plain_name(new_name, "new_name")

    def renamed(from_: str, to: str) -> Sql:
        words = (sql(" RENAME COLUMN "), ident(from_), sql(" TO "), ident(to))
        return concat(sql("ALTER TABLE "), table, *words)

    return Change(f"{schema}.{name}", (renamed(old, new),), renamed(new, old))


def create_index(
    schema: str, table: str, name: str, columns: Sequence[str], method: Method, *, unique: bool
) -> Change:
    """Make an index; one of vectors is for cosine distance."""
    if not columns:
        raise InvalidArgument("columns: at least one is needed")
    names = [ident(plain_name(column, "columns")) for column in columns]
    if unique and method != "btree":
        raise InvalidArgument("unique: only a btree index can be")
    if method in ("hnsw", "ivfflat"):
        if len(names) > 1:
            raise InvalidArgument("columns: an index of vectors has one")
        names = [concat(names[0], sql(" extensions.vector_cosine_ops"))]
    made = concat(
        sql("CREATE UNIQUE INDEX ") if unique else sql("CREATE INDEX "),
        ident(plain_name(name, "name")), sql(" ON "), relation(schema, table), sql(" USING "),
        _METHODS[method], sql(" ("), join(", ", names), sql(")"),
    )  # fmt: skip
    back = concat(sql("DROP INDEX "), ident(schema, name))
    return Change(f"{schema}.{table}", (made,), back)


def drop_index(schema: str, name: str) -> Change:
    """Remove an index."""
    gone = concat(sql("DROP INDEX "), relation(schema, name))
    return Change(f"{schema}.{name}", (gone,), None)


def create_policy(
    schema: str,
    table: str,
    name: str,
    command: Command,
    roles: Sequence[str],
    using: str | None,
    check: str | None,
) -> Change:
    """Make a permissive policy, and turn row-level security on."""
    named = policy_name(name)
    if using is not None and command == "insert":
        raise InvalidArgument("using: rows that are inserted are not there yet", hint="give check")
    if check is not None and command in ("select", "delete"):
        raise InvalidArgument("check: it is for rows that are written", hint="give using")
    if using is None and check is None:
        raise InvalidArgument("using, check: at least one is needed")
    on = relation(schema, table)
    made = [
        sql("CREATE POLICY "), named, sql(" ON "), on, sql(" FOR "), _COMMANDS[command],
        sql(" TO "), role_list(roles),
    ]  # fmt: skip
    if using is not None:
        made += [sql(" USING "), expression(using, "using")]
    if check is not None:
        made += [sql(" WITH CHECK "), expression(check, "check")]
    guarded = concat(sql("ALTER TABLE "), on, sql(" ENABLE ROW LEVEL SECURITY"))
    back = concat(sql("DROP POLICY "), named, sql(" ON "), on)
    return Change(f"{schema}.{table}", (guarded, concat(*made)), back)


def drop_policy(schema: str, table: str, name: str) -> Change:
    """Remove a policy."""
    gone = concat(sql("DROP POLICY "), policy_name(name), sql(" ON "), relation(schema, table))
    return Change(f"{schema}.{table}", (gone,), None)


def create_enum(schema: str, name: str, values: Sequence[str]) -> Change:
    """Make a type of named values."""
    if not values:
        raise InvalidArgument("values: at least one is needed")
    if len({*values}) < len(values):
        raise InvalidArgument("values: each may be there once")
    kind = relation(schema, name)
    words = join(", ", [label(value, "values") for value in values])
    made = concat(sql("CREATE TYPE "), kind, sql(" AS ENUM ("), words, sql(")"))
    return Change(f"{schema}.{name}", (made,), concat(sql("DROP TYPE "), kind))


def drop_enum(schema: str, name: str) -> Change:
    """Remove a type."""
    gone = concat(sql("DROP TYPE "), relation(schema, name))
    return Change(f"{schema}.{name}", (gone,), None)


def _column(column: NewColumn) -> Sql:
    parts = [ident(plain_name(column.name, "columns")), sql(" "), type_of(column.type)]
    if column.generated is not None:
        written = expression(column.generated, "generated")
        parts += [sql(" GENERATED ALWAYS AS "), written, sql(" STORED")]
    if column.default_value is not None:
        if column.generated is not None:
            raise InvalidArgument("default_value: a generated column has none")
        parts += [sql(" DEFAULT "), expression(column.default_value, "default_value")]
    if not column.nullable:
        parts.append(sql(" NOT NULL"))
    if column.unique:
        parts.append(sql(" UNIQUE"))
    if column.check is not None:
        parts += [sql(" CHECK "), expression(column.check, "check")]
    return concat(*parts, _references(column))


def _references(column: NewColumn) -> Sql:
    if column.references is None:
        if column.on_delete is not None:
            raise InvalidArgument("on_delete: it goes with references")
        return Sql("")
    found = _REFERENCE.fullmatch(column.references)
    if found is None:
        raise InvalidArgument("references: table(column) or schema.table(column) is expected")
    to = relation(found[1] or "public", found[2])
    action = _ACTIONS[column.on_delete] if column.on_delete else Sql("")
    return concat(sql(" REFERENCES "), to, sql(" ("), ident(found[3]), sql(")"), action)
