"""`fluxbase clientkeys` and `servicekeys`: what people say about keys, and what they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbase.auth.keys import NOUNS, NewKey
from fluxbase.cli import fields
from fluxbase.cli.output import output_option, show_one, show_rows
from fluxbase.cli.settings import at_terminal, common_options
from fluxbase.cli.turn import with_backend
from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbase.auth.keys import Issued, Keys
    from fluxbase.auth.token import KeyKind

T = TypeVar("T")

_GROUPS: Final[dict[KeyKind, str]] = {"client_key": "clientkeys", "service_key": "servicekeys"}
_LIST_COLUMNS: Final = {
    "id": "id",
    "name": "name",
    "status": "status",
    "scopes": "scopes",
    "base_role": "role",
    "expires_at": "expires",
    "last_used_at": "last used",
}
_ONCE: Final = "note: the key is shown this once and kept nowhere; store it now"


def _group(kind: KeyKind) -> click.Group:
    noun, name = NOUNS[kind], _GROUPS[kind]
    rights = (
        "A client key acts as one user under row-level security."
        if kind == "client_key"
        else "A service key is for your own back end: it bypasses row-level security."
    )
    group = click.Group(
        name,
        help=f"Make, change and end {noun}s. {rights}\n\n\b\nExample:\n  fluxbase {name} list",
        short_help=f"Make, change and end {noun}s.",
    )
    for make in (_create, _list, _get, _update, _rotate, _revoke, _delete):
        group.add_command(make(kind, noun, f"fluxbase {name}"))
    return common_options(group)


def _create(kind: KeyKind, noun: str, path: str) -> click.Command:
    example = (
        '--name "AI Assistant" \\\n    --scopes "read:tables,write:tables,execute:functions"'
        if kind == "client_key"
        else '--name "Nightly job" --expires 30d'
    )

    @click.command(
        "create", help=_help(f"Make a {noun} and show it once.", f"{path} create {example}")
    )
    @common_options
    @output_option
    @fields.options(kind, new=True)
    def create(style: str, **given: Any) -> None:
        new = NewKey(**fields.read(given, new=True))

        async def work(keys: Keys) -> tuple[Issued, dict[str, Any]]:
            issued = await keys.create(kind, new)
            return issued, await keys.get(kind, issued.id)

        _show_issued(*_with_keys(work), style)

    return create


def _list(kind: KeyKind, noun: str, path: str) -> click.Command:
    @click.command("list", help=_help(f"List every {noun}, newest first.", f"{path} list -o json"))
    @common_options
    @output_option
    def list_(style: str) -> None:
        show_rows(_with_keys(lambda keys: keys.list(kind)), _LIST_COLUMNS, style)

    return list_


def _get(kind: KeyKind, noun: str, path: str) -> click.Command:
    @click.command("get", help=_help(f"Show all there is about a {noun}.", f"{path} get q7m2x9ab"))
    @common_options
    @output_option
    @click.argument("key", metavar="ID|NAME")
    def get(style: str, key: str) -> None:
        show_one(_with_keys(lambda keys: keys.get(kind, key)), style)

    return get


def _update(kind: KeyKind, noun: str, path: str) -> click.Command:
    @click.command(
        "update",
        help=_help(
            f"Change a {noun}; what is not given stays. An empty value clears an option.",
            f"{path} update q7m2x9ab --rate-limit 600 --expires never",
        ),
    )
    @common_options
    @output_option
    @click.argument("key", metavar="ID|NAME")
    @fields.options(kind, new=False)
    def update(style: str, key: str, **given: Any) -> None:
        changes = fields.read(given, new=False)
        if not changes:
            raise InvalidArgument("nothing to change was given", hint=f"{path} update --help")

        async def work(keys: Keys) -> dict[str, Any]:
            return await keys.get(kind, await keys.update(kind, key, changes))

        show_one(_with_keys(work), style)

    return update


def _rotate(kind: KeyKind, noun: str, path: str) -> click.Command:
    @click.command(
        "rotate",
        help=_help(
            f"Give a {noun} a new secret and show it once; its id, rights and expiry stay.",
            f"{path} rotate q7m2x9ab --grace 1h",
        ),
    )
    @common_options
    @output_option
    @click.argument("key", metavar="ID|NAME")
    @click.option(
        "--grace",
        type=fields.DURATION,
        default="0s",
        show_default=True,
        help="How long the old secret stays valid.",
    )
    def rotate(style: str, key: str, grace: float) -> None:
        async def work(keys: Keys) -> tuple[Issued, dict[str, Any]]:
            issued = await keys.rotate(kind, key, grace)
            return issued, await keys.get(kind, issued.id)

        _show_issued(*_with_keys(work), style)

    return rotate


def _revoke(kind: KeyKind, noun: str, path: str) -> click.Command:
    @click.command(
        "revoke",
        help=_help(
            f"End a {noun} for good; within 5 s no server takes it. Its record stays.",
            f"{path} revoke q7m2x9ab --yes",
        ),
    )
    @common_options
    @click.argument("key", metavar="ID|NAME")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask.")
    def revoke(key: str, yes: bool) -> None:
        if not yes and at_terminal():
            click.confirm(f"Revoke the {noun} '{key}'?", abort=True, err=True)
        click.echo(f"revoked {_with_keys(lambda keys: keys.revoke(kind, key))}")

    return revoke


def _delete(kind: KeyKind, noun: str, path: str) -> click.Command:
    @click.command(
        "delete",
        help=_help(
            f"End a {noun} and remove its record; what it did stays in the audit log.",
            f"{path} delete q7m2x9ab --yes",
        ),
    )
    @common_options
    @click.argument("key", metavar="ID|NAME")
    @click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where nobody can answer.")
    def delete(key: str, yes: bool) -> None:
        if not yes:
            if not at_terminal():
                raise click.UsageError("--yes is needed to delete where nobody can be asked")
            click.confirm(f"Delete the {noun} '{key}' and its record?", abort=True, err=True)
        click.echo(f"deleted {_with_keys(lambda keys: keys.delete(kind, key))}")

    return delete


def _help(text: str, example: str) -> str:
    return f"{text}\n\n\b\nExample:\n  {example}"


def _with_keys(work: Callable[[Keys], Awaitable[T]]) -> T:
    return with_backend(lambda backend: work(backend.keys))


def _show_issued(issued: Issued, key: dict[str, Any], style: str) -> None:
    shown = {"key": issued.key, **key}
    if style == "table":
        columns = ("key", "id", "name", "scopes", "base_role", "user_id", "expires_at")
        shown = {name: shown[name] for name in columns if name in shown}
    show_one(shown, style)
    click.echo(_ONCE, err=True)


clientkeys = _group("client_key")
servicekeys = _group("service_key")
