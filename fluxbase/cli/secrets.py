"""`fluxbase secrets`: secrets of edge functions, for administrators; none is ever shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fluxbase.cli.desk import at_desk
from fluxbase.cli.env_file import read
from fluxbase.cli.output import output_option, show_rows
from fluxbase.cli.settings import at_terminal, common_options
from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from fluxbase.toolkit import Context

_COLUMNS: Final = {
    "namespace": "namespace",
    "name": "name",
    "set_by": "set by",
    "updated_at": "updated",
}
_namespace = click.option(
    "--namespace",
    default="default",
    show_default=True,
    help="Whose functions have it; *: those of every namespace.",
)


@click.group("secrets", short_help="Set and forget secrets of edge functions.")
def secrets() -> None:
    """Set and forget secrets of edge functions, whether a server runs or not.

    \b
    Example:
      fluxbase secrets set STRIPE_KEY
    """


@secrets.command("set")
@common_options
@click.argument("name", required=False)
@_namespace
@click.option(
    "--env-file", type=click.Path(path_type=Path), help="Set all of a file of NAME=value lines."
)
def set_(name: str | None, namespace: str, env_file: Path | None) -> None:
    """Set a secret. It is asked for, or read from standard input; it is never an argument.

    \b
    Examples:
      fluxbase secrets set STRIPE_KEY
      fluxbase secrets set SIGNING_KEY --namespace billing < key.pem
      fluxbase secrets set --env-file .env
    """
    if (name is None) == (env_file is None):
        raise click.UsageError("give either a name or --env-file")
    values = {name: _asked()} if name is not None else read(env_file or Path())
    if not values:
        raise InvalidArgument("--env-file: it has no line")

    async def work(ctx: Context) -> int:
        from fluxbase.functions.secrets import Secrets, check  # noqa: PLC0415

        for each, value in values.items():
            check(each, value)
        await ctx.record(f"{namespace}.{name}" if name else namespace)
        return await ctx.service(Secrets).put(namespace, values, ctx.who.id)

    # Not what they say: the arguments of a call are recorded.
    at_desk("set_secret", {"names": list(values), "namespace": namespace}, work)
    click.echo(f"set {', '.join(values)}")


@secrets.command("list")
@common_options
@output_option
@click.option("--namespace", help="Only those of this namespace.")
def list_(style: str, namespace: str | None) -> None:
    """List the names of secrets; what they say is told to functions alone.

    \b
    Example:
      fluxbase secrets list -o json
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from fluxbase.functions.secrets import Secrets  # noqa: PLC0415

        return await ctx.service(Secrets).list(namespace)

    show_rows(at_desk("list_secrets", {"namespace": namespace}, work), _COLUMNS, style)


@secrets.command("rm")
@common_options
@click.argument("name")
@_namespace
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where nobody can answer.")
def remove(name: str, namespace: str, yes: bool) -> None:
    """Forget a secret.

    \b
    Example:
      fluxbase secrets rm STRIPE_KEY --yes
    """
    if not yes:
        if not at_terminal():
            raise click.UsageError("--yes is needed to forget where nobody can be asked")
        click.confirm("Forget the secret?", abort=True, err=True)

    async def work(ctx: Context) -> None:
        from fluxbase.functions.secret_tools import delete_secret  # noqa: PLC0415

        await delete_secret(ctx, name, namespace)

    at_desk("delete_secret", {"name": name, "namespace": namespace}, work)
    click.echo("forgotten")


@secrets.command("rotate")
@common_options
def rotate() -> None:
    """Encrypt every secret with the current pepper (the first of auth.peppers), all or none.

    \b
    Example:
      fluxbase secrets rotate
    """

    async def work(ctx: Context) -> int:
        from fluxbase.functions.secrets import Secrets  # noqa: PLC0415

        await ctx.record("functions.secrets")
        return await ctx.service(Secrets).rotate()

    click.echo(f"{at_desk('secrets rotate', {}, work)} encrypted anew")


def _asked() -> str:
    """Return what is typed unseen, or what standard input has, less the end of its last line."""
    if at_terminal():
        return click.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidArgument("standard input: UTF-8 is expected") from None


common_options(secrets)
