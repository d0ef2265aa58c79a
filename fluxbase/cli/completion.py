"""`fluxbase completion`: the script that lets a shell complete commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

_VARIABLE: Final = "_FLUXBASE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      eval "$(fluxbase completion bash)"
      fluxbase completion zsh > "${fpath[1]}/_fluxbase"
      fluxbase completion fish > ~/.config/fish/completions/fluxbase.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known to click")
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "fluxbase", _VARIABLE).source())
