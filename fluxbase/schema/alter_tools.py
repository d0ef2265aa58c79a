"""The tools that change what stays: columns, policies, enums, names; for administrators."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fluxbase.errors import InvalidArgument
from fluxbase.schema import ddl_alter
from fluxbase.schema.before import column_before, expect, policy_before, table_before
from fluxbase.schema.ddl_run import (
    DDL,
    Changed,
    Column,
    DryRun,
    Expression,
    IndexName,
    NewName,
    PolicyName,
    Schema,
    Table,
    TypeName,
    carry_out,
)
from fluxbase.toolkit import Context, tool

Value = Annotated[str | None, Field(max_length=63, description="A value of the enum")]


@tool(scopes=DDL, title="Alter table", service=True, destructive=True)
async def alter_table(
    ctx: Context,
    table: Table,
    row_level_security: Annotated[
        bool | None, Field(description="On: clients see nothing but what policies show")
    ] = None,
    comment: Annotated[
        str | None, Field(max_length=10_000, description="What it is for; '' for none")
    ] = None,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Switch the row-level security of a table on or off, or say what it is for."""
    before = await table_before(ctx, schema, table)
    change = ddl_alter.alter_table(
        schema, table, before, protected=row_level_security, comment=comment
    )
    return await carry_out(ctx, change, "table altered", dry_run=dry_run)


@tool(scopes=DDL, title="Alter column", service=True, destructive=True)
async def alter_column(
    ctx: Context,
    table: Table,
    column: Column,
    type: Annotated[  # noqa: A002 - the name of the argument
        str | None, Field(max_length=140, description="Its new type, as in create_table")
    ] = None,
    using: Annotated[
        str | None,
        Field(
            max_length=10_000,
            description="With type: an SQL expression of the new value, such as `price::integer`",
        ),
    ] = None,
    nullable: Annotated[bool | None, Field(description="Whether it may be null")] = None,
    default_value: Annotated[
        str | None, Field(max_length=2000, description="An SQL expression; for rows to come")
    ] = None,
    drop_default: Annotated[bool, Field(description="It has no default any more")] = False,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Give a column another type, default or nullability; what is left out stays as it is.

    Another type writes the whole table anew while others wait, and is refused where a view, a
    policy or a generated column needs it. What takes it back casts to the old type, which may cut
    values.
    """
    to = ddl_alter.NewState(type, using, nullable, default_value, drop_default)
    before = await column_before(ctx, schema, table, column)
    change = ddl_alter.alter_column(schema, table, column, to, before)
    return await carry_out(ctx, change, "column altered", dry_run=dry_run)


@tool(scopes=DDL, title="Alter policy", service=True, destructive=True)
async def alter_policy(
    ctx: Context,
    table: Table,
    name: PolicyName,
    using: Expression = None,
    check: Expression = None,
    roles: Annotated[
        list[str] | None, Field(max_length=20, description="For whom; [] is everybody")
    ] = None,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Give a row-level security policy other expressions or roles; what is left out stays.

    A policy without `check` takes `using` for it, also the new one.
    """
    before = await policy_before(ctx, schema, table, name)
    change = ddl_alter.alter_policy(schema, table, name, using, check, roles, before)
    return await carry_out(ctx, change, "policy altered", dry_run=dry_run)


@tool(scopes=DDL, title="Rename policy", service=True, destructive=True)
async def rename_policy(
    ctx: Context,
    table: Table,
    name: PolicyName,
    new_name: NewName,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Give a row-level security policy another name."""
    change = ddl_alter.rename_policy(schema, table, name, new_name)
    return await carry_out(ctx, change, "policy renamed", dry_run=dry_run)


@tool(scopes=DDL, title="Alter enum", service=True, destructive=True)
async def alter_enum(
    ctx: Context,
    name: TypeName,
    add_value: Value = None,
    before: Annotated[
        str | None, Field(max_length=63, description="With add_value: the value that follows it")
    ] = None,
    after: Annotated[
        str | None, Field(max_length=63, description="With add_value: the value that it follows")
    ] = None,
    rename_value: Value = None,
    new_value: Annotated[
        str | None, Field(max_length=63, description="With rename_value: its new name")
    ] = None,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Add a value to an enum, at its end unless told where; or rename a value, also in all rows.

    Postgres cannot take a value away again.
    """
    change = _enum_change(schema, name, (add_value, before, after), (rename_value, new_value))
    await expect(ctx, "enum", schema, name)
    return await carry_out(ctx, change, "enum altered", dry_run=dry_run)


@tool(scopes=DDL, title="Rename schema", service=True, destructive=True)
async def rename_schema(
    ctx: Context, name: Schema, new_name: NewName, dry_run: DryRun = False
) -> Changed:
    """Give a schema another name; clients see its tables again once that name is exposed."""
    change = ddl_alter.rename_schema(name, new_name)
    return await carry_out(ctx, change, "schema renamed", dry_run=dry_run)


@tool(scopes=DDL, title="Rename index", service=True, destructive=True)
async def rename_index(
    ctx: Context,
    name: IndexName,
    new_name: NewName,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Give an index another name; a constraint that it is of is renamed with it."""
    change = ddl_alter.rename_index(schema, name, new_name)
    await expect(ctx, "index", schema, name)
    return await carry_out(ctx, change, "index renamed", dry_run=dry_run)


@tool(scopes=DDL, title="Rename enum", service=True, destructive=True)
async def rename_enum(
    ctx: Context,
    name: TypeName,
    new_name: NewName,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Give an enum another name; columns of it keep it under that name."""
    change = ddl_alter.rename_enum(schema, name, new_name)
    await expect(ctx, "enum", schema, name)
    return await carry_out(ctx, change, "enum renamed", dry_run=dry_run)


def _enum_change(
    schema: str,
    name: str,
    adding: tuple[str | None, str | None, str | None],
    renaming: tuple[str | None, str | None],
) -> ddl_alter.Change:
    added, before, after = adding
    renamed, to = renaming
    if added is not None:
        if renaming != (None, None):
            raise InvalidArgument("add_value, rename_value: only one of them can be")
        return ddl_alter.add_enum_value(schema, name, added, before, after)
    if before is not None or after is not None:
        raise InvalidArgument("before, after: they go with add_value")
    if renamed is None or to is None:
        raise InvalidArgument("add_value, or rename_value with new_value, is needed")
    return ddl_alter.rename_enum_value(schema, name, renamed, to)
