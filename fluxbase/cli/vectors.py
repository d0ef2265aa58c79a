"""`fluxbase vectors`: collections and the vectors of their rows, for administrators."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbase.cli.desk import at_desk, progress
from fluxbase.cli.output import output_option, show_one, show_rows
from fluxbase.cli.settings import common_options

if TYPE_CHECKING:
    from fluxbase.toolkit import Context

T = TypeVar("T")

_COLUMNS: Final = {
    "name": "collection",
    "table": "table",
    "text_column": "text",
    "model": "model",
    "dimensions": "dimensions",
    "index_state": "index",
    "waiting": "waiting",
    "failed": "failed",
    "error": "error",
}


@click.group("vectors", short_help="List collections and embed their rows.")
def vectors() -> None:
    """List collections and embed their rows, whether a server runs or not.

    \b
    Example:
      fluxbase vectors reindex articles
    """


@vectors.command("ls")
@common_options
@output_option
def ls(style: str) -> None:
    """List collections, and how many of their rows wait for a vector.

    \b
    Example:
      fluxbase vectors ls -o json
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from fluxbase.vectors.collections import entries  # noqa: PLC0415

        return [asdict(found) for found in await entries(ctx)]

    show_rows(at_desk("vectors ls", {}, work), _COLUMNS, style)


@vectors.command("reindex")
@common_options
@output_option
@click.argument("collection")
@click.option("--every", is_flag=True, help="Embed all rows again, as after a change of the model.")
@click.option("--no-progress", is_flag=True, help="Show no progress bar.")
def reindex(style: str, collection: str, every: bool, no_progress: bool) -> None:
    """Embed the rows that have no vector, then build the index for their number.

    It may be stopped at any time and goes on where it was, here or in a server.

    \b
    Example:
      fluxbase vectors reindex articles --every
    """

    async def work(ctx: Context) -> dict[str, Any]:
        from fluxbase.vectors import at_once  # noqa: PLC0415

        show = partial(progress, quiet=no_progress, counted=True)
        return asdict(await at_once.reindex(ctx, collection, every=every, show=show))

    arguments = {"collection": collection, "every": every}
    show_one(at_desk("vectors reindex", arguments, work), style)


common_options(vectors)
