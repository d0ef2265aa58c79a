"""What the tools that change the schema share: their arguments, and how a change is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fluxbase.db.alter import Note

if TYPE_CHECKING:
    from fluxbase.schema.ddl_parts import Change
    from fluxbase.toolkit import Context

DDL = ("admin:ddl",)

Schema = Annotated[str, Field(max_length=63, description="Schema")]
Table = Annotated[str, Field(min_length=1, max_length=63, description="Table, without its schema")]
Column = Annotated[str, Field(max_length=63, description="Column")]
IndexName = Annotated[str, Field(max_length=63, description="Name of the index")]
PolicyName = Annotated[str, Field(max_length=63, description="Name of the policy")]
TypeName = Annotated[str, Field(max_length=63, description="Name of the type")]
NewName = Annotated[str, Field(max_length=63, description="Its new name")]
DryRun = Annotated[bool, Field(description="Try it, tell which locks it takes, and undo it")]
Cascade = Annotated[bool, Field(description="Drop what depends on it as well")]
Expression = Annotated[str | None, Field(max_length=10_000, description="An SQL expression")]


@dataclass(frozen=True, slots=True)
class Changed:
    """What was done: its SQL, the SQL that takes it back (null: nothing does), and its locks."""

    success: bool
    target: str
    message: str
    dry_run: bool
    up: str
    down: str | None
    locks: list[str]


async def carry_out(ctx: Context, change: Change, message: str, *, dry_run: bool) -> Changed:
    """Record a change, make it or try it, and tell what it was."""
    ctx.target, ctx.dry_run = change.target, dry_run
    if not dry_run:
        await ctx.record(change.target)
    down = None if change.down is None else f"{change.down};"
    note = Note(ctx.who.id, ctx.action, change.target, down)
    locks = await ctx.database.alter(change.up, note, dry_run=dry_run)
    words = f"{message} (tried, and undone)" if dry_run else message
    up = ";\n".join(change.up) + ";"
    return Changed(True, change.target, words, dry_run, up, down, locks)
