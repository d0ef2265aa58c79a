"""What every command shares: the configuration file, verbosity, and the way to the database."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fluxbase import config as configuration
from fluxbase.http.server import run
from fluxbase.observe import set_up_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from fluxbase.config import Loaded

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")


@dataclass(slots=True)
class Settings:
    """What was given on the command line for all commands alike."""

    file: Path | None = None
    verbose: bool = False

    def load(self, flags: Mapping[str, object] | None = None) -> Loaded:
        """Read the configuration.

        Raises:
            ConfigError: it is wrong; the message has file, line and key.
        """
        return configuration.load(self.file, flags=flags)

    def quiet(self) -> None:
        """Keep the notes of the program back, unless they are asked for."""
        set_up_logging("debug" if self.verbose else "error", "text")


def current() -> Settings:
    """Return the settings of the command that runs."""
    return click.get_current_context().ensure_object(Settings)


def run_quietly(work: Coroutine[Any, Any, T]) -> T:
    """Run the work of a command that is not the server."""
    current().quiet()
    return run(work)


def _take_file(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.ensure_object(Settings).file = value


def _take_verbose(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Settings).verbose = True


def common_options(command: F) -> F:
    """Add the options that may stand before and after the name of a command."""
    command = click.option(
        "--verbose",
        "-v",
        is_flag=True,
        expose_value=False,
        callback=_take_verbose,
        help="Say on standard error what is being done.",
    )(command)
    return click.option(
        "--config",
        "-c",
        metavar="FILE",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_take_file,
        help="Configuration file.  [default: $FLUXBASE_CONFIG, else ./fluxbase.yaml]",
    )(command)


def at_terminal() -> bool:
    """Return whether somebody is there to answer a question."""
    return sys.stdin.isatty()
