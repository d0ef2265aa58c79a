"""`fluxbase version`: what runs here."""

from __future__ import annotations

import platform

import click

from fluxbase import __version__
from fluxbase.cli.output import output_option, show_one
from fluxbase.mcp.wire import LEGACY, MODERN


@click.command()
@output_option
def version(style: str) -> None:
    """Show the versions of the program, of Python, and of the protocol it speaks.

    \b
    Example:
      fluxbase version -o json
    """
    show_one(
        {
            "version": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "protocol": [*MODERN, *LEGACY],
        },
        style,
    )
