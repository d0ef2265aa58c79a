"""`fluxbase vectors`: collections and the vectors of their rows, for administrators."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbase.cli.output import output_option, show_one, show_rows
from fluxbase.cli.settings import common_options
from fluxbase.cli.turn import with_backend
from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from fluxbase.app.backend import Backend
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
_PATIENCE: Final = 5  # times in a row that the model may be away
_PAUSE: Final = 1.0


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

    show_rows(_work("vectors ls", {}, work), _COLUMNS, style)


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
        from fluxbase.egress.embed import Embedder  # noqa: PLC0415
        from fluxbase.vectors import collections  # noqa: PLC0415
        from fluxbase.vectors.filling import Filling  # noqa: PLC0415
        from fluxbase.vectors.tending import Tending  # noqa: PLC0415

        total = await collections.reindex(ctx, collection, every=every)
        filling, tending = Filling(ctx.database, ctx.service(Embedder)), Tending(ctx.database)
        await tending.seed(collection)
        with _progress(total, quiet=no_progress) as advance:
            await _fill(ctx, filling, collection, total, advance)
        await tending.adopt()
        await tending.build_index(collection)
        found = await collections.entry(ctx, collection)
        embedded = max(0, total - (found.failed or 0))
        return {"collection": collection, "embedded": embedded, **_state(asdict(found))}

    arguments = {"collection": collection, "every": every}
    show_one(_work("vectors reindex", arguments, work), style)


def _state(found: dict[str, Any]) -> dict[str, Any]:
    told = {key: found[key] for key in ("waiting", "failed", "error")}
    return {**told, "index": found["index_state"]}


async def _fill(
    ctx: Context, filling: Any, collection: str, total: int, advance: Callable[[int], None]
) -> None:
    """Embed until nothing waits; a server that runs may do a part of it."""
    from fluxbase.vectors import collections  # noqa: PLC0415

    done = failures = 0
    while True:
        try:
            took = await filling.turn(collection)
            failures = 0
        except Unavailable:
            failures += 1
            if failures == _PATIENCE:
                raise
            took = 0
        left = (await collections.entry(ctx, collection)).waiting or 0
        advance(max(0, total - left - done))
        done = max(done, total - left)
        if not left:
            return
        if not took:
            await asyncio.sleep(_PAUSE)


@contextmanager
def _progress(total: int, *, quiet: bool) -> Generator[Callable[[int], None]]:
    """Show how far it is, to people who can see it."""
    if quiet or not total or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=total, file=sys.stderr, show_eta=True, show_pos=True) as bar:
        yield bar.update


def _work(action: str, arguments: dict[str, Any], work: Callable[[Context], Awaitable[T]]) -> T:
    def begin(backend: Backend) -> Awaitable[T]:
        # Here, because the commands that need no rooms need not wait for them.
        from fluxbase.app.desk import at_desk  # noqa: PLC0415

        return at_desk(backend, action, arguments, work)

    return with_backend(begin)


common_options(vectors)
