"""Makes the SQL of a change of the schema, and of what takes it back; pure.

Names are quoted, types are of a list, expressions are read and written anew, so that no argument is
ever more than what it stands for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from fluxbase.config.model import INTERNAL_SCHEMAS
from fluxbase.db.sql import Sql, concat, ident, join, sql
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


@dataclass(frozen=True, slots=True)
class Change:
    """What is done, on what, and what takes it back (`None`: nothing does)."""

    target: str
    up: tuple[Sql, ...]
    down: Sql | None


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
    made = ident(_schema(name))
    return Change(name, (concat(sql("CREATE SCHEMA "), made),), concat(sql("DROP SCHEMA "), made))


def drop_schema(name: str, *, cascade: bool) -> Change:
    """Remove a schema."""
    gone = concat(sql("DROP SCHEMA "), ident(_schema(name)), _cascade(on=cascade))
    return Change(name, (gone,), None)


def create_table(schema: str, name: str, columns: Sequence[NewColumn]) -> Change:
    """Make a table; row-level security is on from its first moment."""
    table = _table(schema, name)
    if not columns:
        raise InvalidArgument("columns: at least one is needed")
    parts = [_column(column) for column in columns]
    key = [ident(_name(c.name, "columns")) for c in columns if c.primary_key]
    if key:
        parts.append(concat(sql("PRIMARY KEY ("), join(", ", key), sql(")")))
    made = concat(sql("CREATE TABLE "), table, sql(" ("), join(", ", parts), sql(")"))
    guarded = concat(sql("ALTER TABLE "), table, sql(" ENABLE ROW LEVEL SECURITY"))
    return Change(f"{schema}.{name}", (made, guarded), concat(sql("DROP TABLE "), table))


def drop_table(schema: str, name: str, *, cascade: bool) -> Change:
    """Remove a table."""
    gone = concat(sql("DROP TABLE "), _table(schema, name), _cascade(on=cascade))
    return Change(f"{schema}.{name}", (gone,), None)


def rename_table(schema: str, name: str, new_name: str) -> Change:
    """Give a table another name."""
    to = ident(_name(new_name, "new_name"))
    there = concat(sql("ALTER TABLE "), _table(schema, name), sql(" RENAME TO "), to)
    back = concat(sql("ALTER TABLE "), _table(schema, new_name), sql(" RENAME TO "), ident(name))
    return Change(f"{schema}.{name}", (there,), back)


def add_column(schema: str, name: str, column: NewColumn) -> Change:
    """Add a column."""
    if column.primary_key:
        raise InvalidArgument("primary_key: a table has its primary key from the start")
    table = _table(schema, name)
    added = concat(sql("ALTER TABLE "), table, sql(" ADD COLUMN "), _column(column))
    back = concat(sql("ALTER TABLE "), table, sql(" DROP COLUMN "), ident(column.name))
    return Change(f"{schema}.{name}", (added,), back)


def drop_column(schema: str, name: str, column: str, *, cascade: bool) -> Change:
    """Remove a column."""
    gone = concat(
        sql("ALTER TABLE "), _table(schema, name), sql(" DROP COLUMN "),
        ident(_name(column, "column")), _cascade(on=cascade),
    )  # fmt: skip
    return Change(f"{schema}.{name}", (gone,), None)


def rename_column(schema: str, name: str, column: str, new_name: str) -> Change:
    """Give a column another name."""
    table, old, new = _table(schema, name), _name(column, "column"), _name(new_name, "new_name")

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
    names = [ident(_name(column, "columns")) for column in columns]
    if unique and method != "btree":
        raise InvalidArgument("unique: only a btree index can be")
    if method in ("hnsw", "ivfflat"):
        if len(names) > 1:
            raise InvalidArgument("columns: an index of vectors has one")
        names = [concat(names[0], sql(" extensions.vector_cosine_ops"))]
    made = concat(
        sql("CREATE UNIQUE INDEX ") if unique else sql("CREATE INDEX "),
        ident(_name(name, "name")), sql(" ON "), _table(schema, table), sql(" USING "),
        _METHODS[method], sql(" ("), join(", ", names), sql(")"),
    )  # fmt: skip
    back = concat(sql("DROP INDEX "), ident(schema, name))
    return Change(f"{schema}.{table}", (made,), back)


def drop_index(schema: str, name: str) -> Change:
    """Remove an index."""
    gone = concat(sql("DROP INDEX "), ident(_schema(schema), _name(name, "name")))
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
    if not 1 <= len(name) <= 63 or not name.isprintable():
        raise InvalidArgument("name: 1 to 63 printable characters are expected")
    if using is not None and command == "insert":
        raise InvalidArgument("using: rows that are inserted are not there yet", hint="give check")
    if check is not None and command in ("select", "delete"):
        raise InvalidArgument("check: it is for rows that are written", hint="give using")
    if using is None and check is None:
        raise InvalidArgument("using, check: at least one is needed")
    on = _table(schema, table)
    to = join(", ", [ident(_name(role, "roles")) for role in roles]) if roles else sql("PUBLIC")
    made = [
        sql("CREATE POLICY "), ident(name), sql(" ON "), on, sql(" FOR "), _COMMANDS[command],
        sql(" TO "), to,
    ]  # fmt: skip
    if using is not None:
        made += [sql(" USING ("), Sql(parse_expression(using, "using")), sql(")")]
    if check is not None:
        made += [sql(" WITH CHECK ("), Sql(parse_expression(check, "check")), sql(")")]
    guarded = concat(sql("ALTER TABLE "), on, sql(" ENABLE ROW LEVEL SECURITY"))
    back = concat(sql("DROP POLICY "), ident(name), sql(" ON "), on)
    return Change(f"{schema}.{table}", (guarded, concat(*made)), back)


def drop_policy(schema: str, table: str, name: str) -> Change:
    """Remove a policy."""
    gone = concat(sql("DROP POLICY "), ident(name), sql(" ON "), _table(schema, table))
    return Change(f"{schema}.{table}", (gone,), None)


def create_enum(schema: str, name: str, values: Sequence[str]) -> Change:
    """Make a type of named values."""
    if not values or any(not 1 <= len(v) <= 63 or not v.isprintable() for v in values):
        raise InvalidArgument("values: 1 to 63 printable characters each are expected")
    if len({*values}) < len(values):
        raise InvalidArgument("values: each may be there once")
    kind = _table(schema, name)
    words = join(", ", [Sql("'" + value.replace("'", "''") + "'") for value in values])
    made = concat(sql("CREATE TYPE "), kind, sql(" AS ENUM ("), words, sql(")"))
    return Change(f"{schema}.{name}", (made,), concat(sql("DROP TYPE "), kind))


def drop_enum(schema: str, name: str) -> Change:
    """Remove a type."""
    gone = concat(sql("DROP TYPE "), _table(schema, name))
    return Change(f"{schema}.{name}", (gone,), None)


def _column(column: NewColumn) -> Sql:
    parts = [ident(_name(column.name, "columns")), sql(" "), _type(column.type)]
    if column.generated is not None:
        written = Sql(parse_expression(column.generated, "generated"))
        parts += [sql(" GENERATED ALWAYS AS ("), written, sql(") STORED")]
    if column.default_value is not None:
        if column.generated is not None:
            raise InvalidArgument("default_value: a generated column has none")
        parts += [
            sql(" DEFAULT "),
            Sql(f"({parse_expression(column.default_value, 'default_value')})"),
        ]
    if not column.nullable:
        parts.append(sql(" NOT NULL"))
    if column.unique:
        parts.append(sql(" UNIQUE"))
    if column.check is not None:
        parts += [sql(" CHECK ("), Sql(parse_expression(column.check, "check")), sql(")")]
    return concat(*parts, _references(column))


def _references(column: NewColumn) -> Sql:
    if column.references is None:
        if column.on_delete is not None:
            raise InvalidArgument("on_delete: it goes with references")
        return Sql("")
    found = _REFERENCE.fullmatch(column.references)
    if found is None:
        raise InvalidArgument("references: table(column) or schema.table(column) is expected")
    to = _table(found[1] or "public", found[2])
    action = _ACTIONS[column.on_delete] if column.on_delete else Sql("")
    return concat(sql(" REFERENCES "), to, sql(" ("), ident(found[3]), sql(")"), action)


def _type(text: str) -> Sql:
    """Return a type: of a list, with its length and brackets; or an enum as schema.name."""
    enum = _ENUM.fullmatch(text)
    if enum is not None:
        return Sql(f"{ident(_schema(enum[1]), enum[2])}{enum[3]}")
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


def _table(schema: str, name: str) -> Sql:
    return ident(_schema(schema), _name(name, "name"))


def _schema(name: str) -> str:
    if _name(name, "schema") in (*INTERNAL_SCHEMAS, "extensions", "information_schema"):
        raise Forbidden("this schema belongs to the server")
    if name.lower().startswith("pg_"):
        raise Forbidden("this schema belongs to Postgres")
    return name


def _name(name: str, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"{what}: letters, digits and '_' make a name, at most 63 of them")
    return name


def _cascade(*, on: bool) -> Sql:
    return sql(" CASCADE") if on else Sql("")
