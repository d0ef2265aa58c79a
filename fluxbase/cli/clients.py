"""`fluxbase oauthclients`: assistants that are known to the login beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbase.cli.output import output_option, show_one, show_rows
from fluxbase.cli.settings import at_terminal, common_options
from fluxbase.cli.turn import with_backend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbase.app.backend import Backend
    from fluxbase.oauth.clients import Clients

T = TypeVar("T")

_COLUMNS: Final = {
    "id": "client id",
    "name": "name",
    "registered_by": "registered by",
    "auth_method": "proves itself by",
    "used_at": "last used",
}
_ONCE: Final = "note: the secret is shown this once and kept nowhere; store it now"


@click.group("oauthclients", short_help="Make and end OAuth clients.")
def oauthclients() -> None:
    """Make and end OAuth clients, for assistants that neither publish a document nor register.

    \b
    Example:
      fluxbase oauthclients list
    """


@oauthclients.command("create")
@common_options
@output_option
@click.option("--name", required=True, help="Name that people are shown.")
@click.option(
    "--redirect-uri",
    "redirect_uris",
    multiple=True,
    required=True,
    help="Address that people return to; may be given again.",
)
@click.option("--public", is_flag=True, help="Without a secret: for programs that cannot keep one.")
def create(style: str, name: str, redirect_uris: tuple[str, ...], public: bool) -> None:
    """Make a client and show its secret once.

    \b
    Example:
      fluxbase oauthclients create --name Assistant --redirect-uri https://app.example.com/callback
    """
    metadata: dict[str, Any] = {
        "client_name": name,
        "redirect_uris": list(redirect_uris),
        "token_endpoint_auth_method": "none" if public else "client_secret_post",
    }
    made = _with_clients(lambda clients: clients.register(metadata, by="administrator"))
    shown = ("client_id", "client_secret", "client_name", "redirect_uris")
    show_one({name: made[name] for name in shown if name in made}, style)
    if "client_secret" in made:
        click.echo(_ONCE, err=True)


@oauthclients.command("list")
@common_options
@output_option
def list_(style: str) -> None:
    """List the clients that are kept here, newest first.

    \b
    Example:
      fluxbase oauthclients list -o json
    """
    show_rows(_with_clients(lambda clients: clients.list()), _COLUMNS, style)


@oauthclients.command("delete")
@common_options
@click.argument("client", metavar="CLIENT_ID")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where nobody can answer.")
def delete(client: str, yes: bool) -> None:
    """Remove a client and end what users granted to it.

    \b
    Example:
      fluxbase oauthclients delete fbc_5vJ0 --yes
    """
    if not yes:
        if not at_terminal():
            raise click.UsageError("--yes is needed to delete where nobody can be asked")
        click.confirm(f"Delete the client '{client}'?", abort=True, err=True)
    _with_clients(lambda clients: clients.delete(client))
    click.echo(f"deleted {client}")


def _with_clients(work: Callable[[Clients], Awaitable[T]]) -> T:
    def open_book(backend: Backend) -> Awaitable[T]:
        from fluxbase.egress.fetch import Egress  # noqa: PLC0415
        from fluxbase.oauth.clients import Clients  # noqa: PLC0415

        return work(Clients(backend.database, backend.peppers, Egress()))

    return with_backend(open_book)


common_options(oauthclients)
