"""`fluxbase users`: the people who may log in and let assistants act for them."""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbase.cli.output import output_option, show_one, show_rows
from fluxbase.cli.settings import at_terminal, common_options
from fluxbase.cli.turn import with_backend
from fluxbase.errors import InvalidArgument
from fluxbase.principal import ALL_SCOPES, SCOPES, parse_scopes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbase.app.backend import Backend
    from fluxbase.oauth.users import Users

T = TypeVar("T")

_COLUMNS: Final = {
    "id": "id",
    "email": "e-mail",
    "status": "status",
    "is_admin": "administrator",
    "scopes": "may grant",
    "last_login_at": "last login",
}
_ONCE: Final = "note: the password is shown this once and kept nowhere; hand it over safely"


@click.group("users", short_help="Make, change and end users.")
def users() -> None:
    """Make, change and end users: people who log in and let assistants act for them.

    \b
    Example:
      fluxbase users create --email you@example.com --admin
    """


def _password_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--generate", is_flag=True, help="Make up a password and show it once."),
        click.option(
            "--password-stdin", is_flag=True, help="Read the password from standard input."
        ),
    ):
        command = option(command)
    return command


@users.command("create")
@common_options
@output_option
@click.option("--email", required=True, help="Address to log in with.")
@click.option("--admin", is_flag=True, help="An administrator.")
@click.option(
    "--scopes",
    default=ALL_SCOPES,
    show_default=True,
    help=f"What the user may grant, comma-separated: {', '.join(SCOPES)}, or *.",
)
@click.option("--role", default="authenticated", show_default=True, help="Postgres role.")
@_password_options
def create(
    style: str,
    email: str,
    admin: bool,
    scopes: str,
    role: str,
    password_stdin: bool,
    generate: bool,
) -> None:
    """Make a user. The password is asked for, unless it is read or made up.

    \b
    Example:
      fluxbase users create --email you@example.com --admin
    """
    wanted = parse_scopes(scopes)
    password = _password(password_stdin=password_stdin, generate=generate)

    async def work(book: Users) -> dict[str, Any]:
        made = await book.create(email, password, scopes=wanted, role=role, is_admin=admin)
        return await book.get(made)

    made = _with_users(work)
    show_one({**made, "password": password} if generate else made, style)
    if generate:
        click.echo(_ONCE, err=True)


@users.command("list")
@common_options
@output_option
def list_(style: str) -> None:
    """List every user, newest first.

    \b
    Example:
      fluxbase users list -o json
    """
    show_rows(_with_users(lambda book: book.list()), _COLUMNS, style)


@users.command("get")
@common_options
@output_option
@click.argument("user", metavar="ID|EMAIL")
def get(style: str, user: str) -> None:
    """Show all there is about a user.

    \b
    Example:
      fluxbase users get you@example.com
    """
    show_one(_with_users(lambda book: book.get(user)), style)


@users.command("update")
@common_options
@output_option
@click.argument("user", metavar="ID|EMAIL")
@click.option("--email", help="Another address to log in with.")
@click.option("--admin/--no-admin", default=None, help="Whether an administrator.")
@click.option("--scopes", help="What the user may grant.")
@click.option("--role", help="Postgres role.")
def update(
    style: str,
    user: str,
    email: str | None,
    admin: bool | None,
    scopes: str | None,
    role: str | None,
) -> None:
    """Change a user; what is not given stays. Assistants feel it within 5 s.

    \b
    Example:
      fluxbase users update you@example.com --scopes read:tables
    """
    given = {
        "email": email,
        "is_admin": admin,
        "scopes": parse_scopes(scopes) if scopes is not None else None,
        "role": role,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise InvalidArgument("nothing to change was given", hint="fluxbase users update --help")
    _change(user, changes, style)


@users.command("set-password")
@common_options
@output_option
@click.argument("user", metavar="ID|EMAIL")
@_password_options
def set_password(style: str, user: str, password_stdin: bool, generate: bool) -> None:
    """Give a user another password, and log every browser of the user's out.

    \b
    Example:
      fluxbase users set-password you@example.com --generate
    """
    password = _password(password_stdin=password_stdin, generate=generate)
    _change(user, {"password": password}, style, shown=password if generate else None)


@users.command("disable")
@common_options
@output_option
@click.argument("user", metavar="ID|EMAIL")
def disable(style: str, user: str) -> None:
    """Let a user in no more; within 5 s no assistant acts for the user.

    \b
    Example:
      fluxbase users disable you@example.com
    """
    _change(user, {"disabled": True}, style)


@users.command("enable")
@common_options
@output_option
@click.argument("user", metavar="ID|EMAIL")
def enable(style: str, user: str) -> None:
    """Let a user in again; what the user granted holds again.

    \b
    Example:
      fluxbase users enable you@example.com
    """
    _change(user, {"disabled": False}, style)


@users.command("delete")
@common_options
@click.argument("user", metavar="ID|EMAIL")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where nobody can answer.")
def delete(user: str, yes: bool) -> None:
    """Remove a user and all that the user granted; rows in your tables stay.

    \b
    Example:
      fluxbase users delete you@example.com --yes
    """
    if not yes:
        if not at_terminal():
            raise click.UsageError("--yes is needed to delete where nobody can be asked")
        click.confirm(f"Delete the user '{user}'?", abort=True, err=True)
    click.echo(f"deleted {_with_users(lambda book: book.delete(user))}")


def _change(user: str, changes: dict[str, Any], style: str, shown: str | None = None) -> None:
    async def work(book: Users) -> dict[str, Any]:
        return await book.get(await book.update(user, changes))

    changed = _with_users(work)
    show_one(changed if shown is None else {**changed, "password": shown}, style)
    if shown is not None:
        click.echo(_ONCE, err=True)


def _password(*, password_stdin: bool, generate: bool) -> str:
    """Return the password, which is never an argument: other users could see those."""
    if password_stdin and generate:
        raise click.UsageError("--password-stdin and --generate exclude each other")
    if generate:
        return secrets.token_urlsafe(15)
    if password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not at_terminal():
        raise click.UsageError("--password-stdin or --generate is needed where nobody can be asked")
    return click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)


def _with_users(work: Callable[[Users], Awaitable[T]]) -> T:
    def open_book(backend: Backend) -> Awaitable[T]:
        # Here, because the commands that need no users need not wait for this either.
        from fluxbase.oauth.users import Users  # noqa: PLC0415

        return work(Users(backend.database, backend.peppers.derive("audit")))

    return with_backend(open_book)


common_options(users)
