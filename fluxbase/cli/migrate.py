"""`fluxbase migrate`: applies, undoes, lists and begins migrations; it must not read their SQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbase.app import migrations
from fluxbase.app.backend import open_owner
from fluxbase.cli.output import output_option, show_rows
from fluxbase.cli.settings import common_options, current, run_quietly
from fluxbase.cli.turn import turn
from fluxbase.errors import InvalidArgument, MigrationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fluxbase.db.migrate import Status

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_COLUMNS: Final = {
    "version": "version",
    "name": "name",
    "status": "status",
    "applied_at": "applied",
}
_TEMPLATE: Final = """-- migrate:up


-- migrate:down

"""


@click.group()
@common_options
def migrate() -> None:
    """Apply your own SQL migrations, kept in the folder migrations.dir (dbmate's format).

    \b
    Example:
      fluxbase migrate new add_notes
    """


@migrate.command()
@common_options
def up() -> None:
    """Apply what is pending: the program's own migrations, then those of your folder.

    \b
    Example:
      fluxbase migrate up
    """
    folder = _folder()
    applied = _as_owner(lambda owner: migrations.up(owner, folder, system=True))
    for migration in applied:
        click.echo(f"applied {migration.version}_{migration.name}")
    if not applied:
        click.echo("nothing to apply")


@migrate.command()
@common_options
@output_option
@click.option("--system", is_flag=True, help="Show the program's own migrations.")
def status(style: str, system: bool) -> None:
    """List migrations and when they were applied.

    \b
    Example:
      fluxbase migrate status -o json
    """
    folder = None if system else _folder()
    rows = _as_owner(lambda owner: migrations.status(owner, folder))
    show_rows([_row(row) for row in rows], _COLUMNS, style)


@migrate.command()
@common_options
def down() -> None:
    """Undo the migration of your folder that was applied last.

    \b
    Example:
      fluxbase migrate down
    """
    folder = _folder()
    undone = _as_owner(lambda owner: migrations.down(owner, folder))
    click.echo(f"undone {undone.version}_{undone.name}")


@migrate.command()
@common_options
@click.argument("name")
def new(name: str) -> None:
    """Begin a migration: write a file with both markers, and print its path.

    \b
    Example:
      fluxbase migrate new add_notes
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            "name: letters, digits, '_' and '-' are expected, at most 100", hint="add_notes"
        )
    folder = _folder()
    taken = [file.name for file in folder.glob(f"*_{name}.sql")] if folder.is_dir() else []
    if taken:
        raise InvalidArgument(f"name: {taken[0]} exists already in {folder}")
    click.echo(_write(folder, f"{datetime.now(UTC):%Y%m%d%H%M%S}_{name}.sql"))


def _write(folder: Path, name: str) -> Path:
    file = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if list(folder.glob(name.partition("_")[0] + "_*.sql")):
            raise InvalidArgument(f"another migration began in this second in {folder}")
        with file.open("x", encoding="utf-8") as out:
            out.write(_TEMPLATE)
    except OSError as error:
        raise MigrationError(f"{file} cannot be written: {error.strerror}") from None
    return file


def _folder() -> Path:
    return current().load().config.migrations.dir


def _as_owner(work: Callable[[str], Awaitable[T]]) -> T:
    config = current().load().config

    async def opened() -> T:
        async with turn(config), open_owner(config) as owner:
            return await work(owner)

    return run_quietly(opened())


def _row(row: Status) -> dict[str, Any]:
    state = "applied" if row.applied_at else "pending"
    if row.missing:
        state += ", file missing"
    return {
        "version": row.version,
        "name": row.name,
        "status": state,
        "applied_at": row.applied_at,
    }
