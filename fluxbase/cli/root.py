"""The `fluxbase` command: finds the subcommand, and renders every failure as one kind of line."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import TYPE_CHECKING, Any, Final, cast

import click

from fluxbase import __version__
from fluxbase.cli.settings import common_options
from fluxbase.errors import ConfigError, FluxbaseError, InvalidArgument
from fluxbase.observe import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED: Final = 1
WRONG: Final = 2
INTERRUPTED: Final = 130
# Loaded when asked for: what a command does not need, it does not wait for.
_COMMANDS: Final = {
    "serve": "serve",
    "clientkeys": "keys",
    "servicekeys": "keys",
    "mcp": "mcp",
    "users": "users",
    "oauthclients": "clients",
    "storage": "storage",
    "vectors": "vectors",
    "rpc": "rpc",
    "jobs": "jobs",
    "worker": "worker",
    "functions": "functions",
    "secrets": "secrets",
    "migrate": "migrate",
    "doctor": "doctor",
    "bench": "bench",
    "config": "config",
    "version": "version",
    "completion": "completion",
}


class Root(click.Group):
    """Loads its commands late, and says what went wrong without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order people meet them."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return the command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"fluxbase.cli.{_COMMANDS[cmd_name]}")
        return cast("click.Command", getattr(module, cmd_name))

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and exit with 0, 1 (it failed), 2 (it was asked wrongly) or 130 (interrupted)."""
        del standalone_mode
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except Exception as error:  # noqa: BLE001 - the last one to see it; nobody reads tracebacks
            code = report(error)
        sys.exit(code if isinstance(code, int) else 0)


def report(error: Exception) -> int:
    """Write `error: …` and `hint: …` to standard error and return the exit code."""
    if isinstance(error, click.Abort):
        click.echo("aborted", err=True)
        return INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return WRONG
    if isinstance(error, click.ClickException):
        _say(error.format_message(), _usage(error))
        return WRONG if isinstance(error, click.UsageError) else FAILED
    if isinstance(error, FluxbaseError):
        _say(error.message, error.hint)
        return WRONG if isinstance(error, ConfigError | InvalidArgument) else FAILED
    logging.getLogger(__name__).info("what happened", exc_info=error)
    _say(f"unexpected {type(error).__name__}: {error}", "run it again with -v for the details")
    return FAILED


def _say(message: str, hint: str | None) -> None:
    for line in redact(message).splitlines():
        click.echo(f"error: {line}", err=True)
    if hint:
        click.echo(f"hint: {redact(hint)}", err=True)


def _usage(error: click.ClickException) -> str | None:
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    return f"{ctx.command_path} --help" if ctx else None


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 it failed, 2 arguments or configuration are wrong.",
)
@click.version_option(__version__, prog_name="fluxbase", message="%(prog)s %(version)s")
@common_options
def cli() -> None:
    """Serve Postgres to AI assistants over MCP, with row-level security per key.

    \b
    Example:
      fluxbase serve --demo
    """


def main() -> None:
    """Run the command line."""
    cli.main(prog_name="fluxbase")
