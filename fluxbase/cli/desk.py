"""Has rooms do an administrator's work for a command, and shows how far it is; knows no room."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fluxbase.cli.turn import with_backend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from fluxbase.app.backend import Backend
    from fluxbase.toolkit import Context

T = TypeVar("T")


def at_desk(
    action: str,
    arguments: dict[str, Any],
    work: Callable[[Context], Awaitable[T]],
    *,
    long: bool = False,
) -> T:
    """Return what some work of a room gives, recorded like any other call.

    Args:
        action: what the record says was done.
        arguments: and with what.
        work: what is to be done.
        long: it may take very long, so other commands need not wait for it where a server runs.

    Raises:
        FluxbaseError: the database cannot be opened, or the work fails.
    """

    def begin(backend: Backend) -> Awaitable[T]:
        # Here, because the commands that need no rooms need not wait for them.
        from fluxbase.app.desk import at_desk  # noqa: PLC0415

        return at_desk(backend, action, arguments, work)

    return with_backend(begin, long=long)


@contextmanager
def progress(
    total: int | None, *, quiet: bool, counted: bool = False
) -> Generator[Callable[[int], None]]:
    """Show how far it is, to people who can see it; `counted` also shows the numbers."""
    if quiet or not total or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(
        length=total, file=sys.stderr, show_eta=True, show_percent=True, show_pos=counted
    ) as bar:
        yield bar.update
