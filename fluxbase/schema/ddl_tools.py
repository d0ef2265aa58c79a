"""The tools that make, drop and rename tables and what they have, for administrators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from fluxbase.schema import ddl
from fluxbase.schema.before import expect
from fluxbase.schema.ddl_run import (
    DDL,
    Cascade,
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

Columns = Annotated[
    list[ddl.NewColumn],
    Field(
        min_length=1,
        max_length=400,
        description='Such as [{"name": "id", "type": "bigint", "primary_key": true}, {"name": '
        '"owner", "type": "uuid", "default_value": "auth.uid()", "nullable": false}]. Types: text, '
        "varchar(80), numeric(10,2), timestamptz, uuid, jsonb, text[], vector(1536), enums as "
        "schema.name. Also unique, references (table(column)), on_delete, check, generated",
    ),
]


@dataclass(frozen=True, slots=True)
class Changes:
    """What was changed through these tools, newest first."""

    changes: list[dict[str, Any]]
    count: int


@tool(scopes=DDL, title="Create schema", service=True)
async def create_schema(ctx: Context, name: Schema, dry_run: DryRun = False) -> Changed:
    """Make a schema; put it into `database.exposed_schemas` for clients to see its tables."""
    return await carry_out(ctx, ddl.create_schema(name), "schema created", dry_run=dry_run)


@tool(scopes=DDL, title="Drop schema", service=True, destructive=True)
async def drop_schema(
    ctx: Context, name: Schema, cascade: Cascade = False, dry_run: DryRun = False
) -> Changed:
    """Remove a schema."""
    change = ddl.drop_schema(name, cascade=cascade)
    return await carry_out(ctx, change, "schema dropped", dry_run=dry_run)


@tool(scopes=DDL, title="Create table", service=True)
async def create_table(
    ctx: Context, name: Table, columns: Columns, schema: Schema = "public", dry_run: DryRun = False
) -> Changed:
    """Make a table with row-level security on: clients see nothing of it until a policy says so."""
    change = ddl.create_table(schema, name, columns)
    return await carry_out(ctx, change, "table created, row-level security is on", dry_run=dry_run)


@tool(scopes=DDL, title="Drop table", service=True, destructive=True)
async def drop_table(
    ctx: Context,
    table: Table,
    schema: Schema = "public",
    cascade: Cascade = False,
    dry_run: DryRun = False,
) -> Changed:
    """Remove a table with its rows."""
    change = ddl.drop_table(schema, table, cascade=cascade)
    return await carry_out(ctx, change, "table dropped", dry_run=dry_run)


@tool(scopes=DDL, title="Rename table", service=True, destructive=True)
async def rename_table(
    ctx: Context,
    table: Table,
    new_name: Table,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Give a table another name; whoever uses the old one fails from then on."""
    change = ddl.rename_table(schema, table, new_name)
    await expect(ctx, "table", schema, table)
    return await carry_out(ctx, change, "table renamed", dry_run=dry_run)


@tool(scopes=DDL, title="Add column", service=True)
async def add_column(
    ctx: Context,
    table: Table,
    column: ddl.NewColumn,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Add a column to a table."""
    change = ddl.add_column(schema, table, column)
    return await carry_out(ctx, change, "column added", dry_run=dry_run)


@tool(scopes=DDL, title="Drop column", service=True, destructive=True)
async def drop_column(
    ctx: Context,
    table: Table,
    column: Column,
    schema: Schema = "public",
    cascade: Cascade = False,
    dry_run: DryRun = False,
) -> Changed:
    """Remove a column with what is in it."""
    change = ddl.drop_column(schema, table, column, cascade=cascade)
    return await carry_out(ctx, change, "column dropped", dry_run=dry_run)


@tool(scopes=DDL, title="Rename column", service=True, destructive=True)
async def rename_column(
    ctx: Context,
    table: Table,
    column: Column,
    new_name: NewName,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Give a column another name; whoever uses the old one fails from then on."""
    change = ddl.rename_column(schema, table, column, new_name)
    return await carry_out(ctx, change, "column renamed", dry_run=dry_run)


@tool(scopes=DDL, title="Create index", service=True)
async def create_index(
    ctx: Context,
    table: Table,
    name: IndexName,
    columns: Annotated[list[str], Field(min_length=1, max_length=32, description="Its columns")],
    method: Annotated[ddl.Method, Field(description="hnsw and ivfflat: of vectors")] = "btree",
    unique: Annotated[bool, Field(description="No two rows may have the same")] = False,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Make an index; writes to the table wait until it is made."""
    change = ddl.create_index(schema, table, name, columns, method, unique=unique)
    return await carry_out(ctx, change, "index created", dry_run=dry_run)


@tool(scopes=DDL, title="Drop index", service=True, destructive=True)
async def drop_index(
    ctx: Context,
    name: IndexName,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Remove an index."""
    return await carry_out(ctx, ddl.drop_index(schema, name), "index dropped", dry_run=dry_run)


@tool(scopes=DDL, title="Create policy", service=True)
async def create_policy(
    ctx: Context,
    table: Table,
    name: PolicyName,
    using: Expression = None,
    check: Expression = None,
    command: Annotated[ddl.Command, Field(description="What it is about")] = "all",
    roles: Annotated[
        list[str] | None, Field(max_length=20, description="For whom; authenticated when left out")
    ] = None,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Make a row-level security policy: `using` says which rows are there, `check` which may be.

    A common one: using and check `user_id = (SELECT auth.uid())`.
    """
    to = ["authenticated"] if roles is None else roles
    change = ddl.create_policy(schema, table, name, command, to, using, check)
    return await carry_out(ctx, change, "policy created", dry_run=dry_run)


@tool(scopes=DDL, title="Drop policy", service=True, destructive=True)
async def drop_policy(
    ctx: Context,
    table: Table,
    name: PolicyName,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Remove a row-level security policy."""
    return await carry_out(
        ctx, ddl.drop_policy(schema, table, name), "policy dropped", dry_run=dry_run
    )


@tool(scopes=DDL, title="Create enum", service=True)
async def create_enum(
    ctx: Context,
    name: TypeName,
    values: Annotated[list[str], Field(min_length=1, max_length=500, description="Its values")],
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Make a type of named values."""
    change = ddl.create_enum(schema, name, values)
    return await carry_out(ctx, change, "enum created", dry_run=dry_run)


@tool(scopes=DDL, title="Drop enum", service=True, destructive=True)
async def drop_enum(
    ctx: Context,
    name: TypeName,
    schema: Schema = "public",
    dry_run: DryRun = False,
) -> Changed:
    """Remove a type of named values."""
    change = ddl.drop_enum(schema, name)
    await expect(ctx, "enum", schema, name)
    return await carry_out(ctx, change, "enum dropped", dry_run=dry_run)


@tool(scopes=DDL, title="List schema changes", read_only=True, service=True)
async def list_schema_changes(
    ctx: Context,
    limit: Annotated[int, Field(ge=1, le=1000, description="Most changes to return")] = 50,
) -> Changes:
    """List what was changed through these tools, with the SQL that takes each back."""
    rows = await ctx.database.admin("list_schema_changes", most=limit)
    return Changes([dict(row) for row in rows], len(rows))
