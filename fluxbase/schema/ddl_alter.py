"""Makes the SQL that changes a thing of the schema that stays, and what takes it back; pure.

What there was before comes from Postgres and goes into nothing but what takes a change back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fluxbase.db.sql import Sql, concat, ident, join, sql
from fluxbase.errors import InvalidArgument
from fluxbase.schema.ddl_parts import (
    Change,
    expression,
    label,
    plain_name,
    policy_name,
    relation,
    role_list,
    schema_name,
    type_of,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.schema.before import ColumnBefore, PolicyBefore, TableBefore


@dataclass(frozen=True, slots=True)
class NewState:
    """What of a column is to be another; None leaves it as it is."""

    type: str | None = None
    using: str | None = None
    nullable: bool | None = None
    default_value: str | None = None
    drop_default: bool = False

    @property
    def new_default(self) -> bool:
        """Whether there is to be another default, or none."""
        return self.drop_default or self.default_value is not None


def alter_table(
    schema: str, table: str, before: TableBefore, *, protected: bool | None, comment: str | None
) -> Change:
    """Switch the row-level security of a table, or give it another comment."""
    on = relation(schema, table)
    up: list[Sql] = []
    down: list[Sql] = []
    if protected is not None:
        up.append(_protected(on, on_=protected))
        down.append(_protected(on, on_=before.protected))
    if comment is not None:
        up.append(_commented(on, comment or None))
        down.append(_commented(on, before.comment))
    if not up:
        raise InvalidArgument("row_level_security, comment: at least one is needed")
    return Change(f"{schema}.{table}", tuple(up), join("; ", down))


def _protected(on: Sql, *, on_: bool) -> Sql:
    word = sql(" ENABLE") if on_ else sql(" DISABLE")
    return concat(sql("ALTER TABLE "), on, word, sql(" ROW LEVEL SECURITY"))


def _commented(on: Sql, comment: str | None) -> Sql:
    text = sql("NULL") if comment is None else words(comment, "comment")
    return concat(sql("COMMENT ON TABLE "), on, sql(" IS "), text)


def alter_column(
    schema: str, table: str, column: str, to: NewState, before: ColumnBefore | None
) -> Change:
    """Give a column another type, default or nullability, in one pass over its table."""
    if to.drop_default and to.default_value is not None:
        raise InvalidArgument("default_value, drop_default: only one of them can be")
    if to.using is not None and to.type is None:
        raise InvalidArgument("using: it goes with type")
    kind = None if to.type is None else type_of(to.type)
    if kind is not None and to.using is not None:
        kind = concat(kind, sql(" USING "), expression(to.using, "using"))
    default = None
    if to.default_value is not None:
        default = expression(to.default_value, "default_value")
    parts = _parts(kind, default, to.nullable, new_default=to.new_default)
    if not parts:
        raise InvalidArgument("type, nullable, default_value, drop_default: one is needed at least")
    on, name = relation(schema, table), ident(plain_name(column, "column"))
    down = None if before is None else _altered(on, name, _undone(name, to, before))
    return Change(f"{schema}.{table}", (_altered(on, name, parts),), down)


def _undone(name: Sql, to: NewState, before: ColumnBefore) -> list[Sql]:
    kind = None
    if to.type is not None:
        # Postgres takes no USING for a generated column: it computes the column anew.
        cast = Sql("") if before.generated else concat(sql(" USING "), name, sql("::"), before.type)
        kind = concat(before.type, cast)
    nullable = None if to.nullable is None else before.nullable
    # With the type Postgres casts the default as well, which a cast back does not always undo.
    again = to.new_default or (to.type is not None and before.default is not None)
    return _parts(kind, before.default, nullable, new_default=again)


def _parts(
    kind: Sql | None, default: Sql | None, nullable: bool | None, *, new_default: bool
) -> list[Sql]:
    parts: list[Sql] = []
    # An old default may not be cast to the new type: it goes first, and the new one comes last.
    if new_default and (kind is not None or default is None):
        parts.append(sql("DROP DEFAULT"))
    if kind is not None:
        parts.append(concat(sql("TYPE "), kind))
    if new_default and default is not None:
        parts.append(concat(sql("SET DEFAULT "), default))
    if nullable is not None:
        parts.append(sql("DROP NOT NULL") if nullable else sql("SET NOT NULL"))
    return parts


def _altered(on: Sql, name: Sql, parts: Sequence[Sql]) -> Sql:
    each = [concat(sql("ALTER COLUMN "), name, sql(" "), part) for part in parts]
    return concat(sql("ALTER TABLE "), on, sql(" "), join(", ", each))


def alter_policy(
    schema: str,
    table: str,
    name: str,
    using: str | None,
    check: str | None,
    roles: Sequence[str] | None,
    before: PolicyBefore | None,
) -> Change:
    """Give a policy other expressions or roles."""
    if before is not None:
        _fit(before.command, using, check)
    to = None if roles is None else role_list(roles)
    which = None if using is None else expression(using, "using")
    may = None if check is None else expression(check, "check")
    if to is None and which is None and may is None:
        raise InvalidArgument("using, check, roles: at least one is needed")
    place = concat(policy_name(name), sql(" ON "), relation(schema, table))
    altered = concat(sql("ALTER POLICY "), place, _clauses(to, which, may))
    down = None
    if before is not None:
        old = _before(before)
        down = concat(
            sql("ALTER POLICY "), place,
            _clauses(to and old.roles, which and old.using, may and old.check),
        )  # fmt: skip
    return Change(f"{schema}.{table}", (altered,), down)


def _fit(command: str, using: str | None, check: str | None) -> None:
    if using is not None and command == "INSERT":
        raise InvalidArgument("using: this policy is for rows that are inserted", hint="give check")
    if check is not None and command in ("SELECT", "DELETE"):
        raise InvalidArgument("check: this policy is for rows that are there", hint="give using")


def _before(policy: PolicyBefore) -> PolicyBefore:
    """Return a policy with every expression that Postgres takes it to have.

    No ALTER POLICY takes an expression away. One that is not there is `using` for `check`, and for
    `using` that the policy lets nothing through when it is permissive, everything when it is not.
    """
    using = policy.using or (sql("(false)") if policy.permissive else sql("(true)"))
    return replace(policy, using=using, check=policy.check or using)


def _clauses(roles: Sql | None, using: Sql | None, check: Sql | None) -> Sql:
    parts: list[Sql] = []
    if roles is not None:
        parts += [sql(" TO "), roles]
    if using is not None:
        parts += [sql(" USING "), using]
    if check is not None:
        parts += [sql(" WITH CHECK "), check]
    return concat(*parts)


def rename_policy(schema: str, table: str, name: str, new_name: str) -> Change:
    """Give a policy another name."""
    old, new = policy_name(name), policy_name(new_name, "new_name")
    on = relation(schema, table)

    def renamed(from_: Sql, to: Sql) -> Sql:
        return concat(sql("ALTER POLICY "), from_, sql(" ON "), on, sql(" RENAME TO "), to)

    return Change(f"{schema}.{table}", (renamed(old, new),), renamed(new, old))


def add_enum_value(
    schema: str, name: str, value: str, before: str | None, after: str | None
) -> Change:
    """Add a value to an enum; Postgres takes none away again."""
    if before is not None and after is not None:
        raise InvalidArgument("before, after: only one of them can be")
    parts = [relation(schema, name), sql(" ADD VALUE "), label(value, "add_value")]
    if before is not None:
        parts += [sql(" BEFORE "), label(before, "before")]
    if after is not None:
        parts += [sql(" AFTER "), label(after, "after")]
    return Change(f"{schema}.{name}", (concat(sql("ALTER TYPE "), *parts),), None)


def rename_enum_value(schema: str, name: str, value: str, new_value: str) -> Change:
    """Give a value of an enum another name; rows that have it keep it."""
    old, new = label(value, "rename_value"), label(new_value, "new_value")
    kind = relation(schema, name)

    def renamed(from_: Sql, to: Sql) -> Sql:
        return concat(sql("ALTER TYPE "), kind, sql(" RENAME VALUE "), from_, sql(" TO "), to)

    return Change(f"{schema}.{name}", (renamed(old, new),), renamed(new, old))


def rename_schema(name: str, new_name: str) -> Change:
    """Give a schema another name."""
    old, new = ident(schema_name(name)), ident(schema_name(new_name, "new_name"))

    def renamed(from_: Sql, to: Sql) -> Sql:
        return concat(sql("ALTER SCHEMA "), from_, sql(" RENAME TO "), to)

    return Change(name, (renamed(old, new),), renamed(new, old))


def rename_index(schema: str, name: str, new_name: str) -> Change:
    """Give an index another name, and the constraint that it is of."""
    return _renamed(sql("ALTER INDEX "), schema, name, new_name)


def rename_enum(schema: str, name: str, new_name: str) -> Change:
    """Give a type another name; columns of it keep it."""
    return _renamed(sql("ALTER TYPE "), schema, name, new_name)


def _renamed(verb: Sql, schema: str, name: str, new_name: str) -> Change:
    to = ident(plain_name(new_name, "new_name"))
    there = concat(verb, relation(schema, name), sql(" RENAME TO "), to)
    back = concat(verb, relation(schema, new_name), sql(" RENAME TO "), ident(name))
    return Change(f"{schema}.{name}", (there,), back)
