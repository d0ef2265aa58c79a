"""`fluxbase rpc`: procedures and the files they come from, for administrators."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbase.cli.desk import at_desk
from fluxbase.cli.output import output_option, show_data, show_rows
from fluxbase.cli.settings import common_options
from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from fluxbase.toolkit import Context

T = TypeVar("T")

_COLUMNS: Final = {
    "namespace": "namespace",
    "name": "name",
    "description": "description",
    "read_only": "read only",
}
_SYNCED: Final = {
    "action": "action",
    "namespace": "namespace",
    "name": "name",
    "function": "function",
}


@click.group("rpc", short_help="Publish, list and call procedures.")
def rpc() -> None:
    """Publish, list and call procedures, whether a server runs or not.

    \b
    Example:
      fluxbase rpc sync --dir rpc --dry-run
    """


@rpc.command("ls")
@common_options
@output_option
@click.option("--namespace", help="Only those of this namespace.")
def ls(style: str, namespace: str | None) -> None:
    """List the procedures that are published.

    \b
    Example:
      fluxbase rpc ls -o json
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from fluxbase.rpc.procedures import visible  # noqa: PLC0415
        from fluxbase.rpc.tools import entry  # noqa: PLC0415

        return [asdict(entry(found)) for found in await visible(ctx, namespace)]

    show_rows(at_desk("rpc ls", {}, work), _COLUMNS, style)


@rpc.command("sync")
@common_options
@output_option
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default="rpc", show_default=True,
    help="Folder of the files, NAME.sql or NAMESPACE/NAME.sql.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Try it, tell what would be done, and undo it.")
def sync(style: str, folder: Path, dry_run: bool) -> None:
    """Publish the functions of a folder, and withdraw those whose file is gone, all or nothing.

    Comments before the SQL say for whom: @public, @roles, @scopes, @timeout, @max-rows, @read-only.

    \b
    Example:
      fluxbase rpc sync --dir rpc
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from fluxbase.rpc.files import read  # noqa: PLC0415
        from fluxbase.rpc.sync import sync as publish  # noqa: PLC0415

        return [asdict(done) for done in await publish(ctx, read(folder), dry_run=dry_run)]

    show_rows(at_desk("rpc sync", {"dry_run": dry_run}, work), _SYNCED, style)


@rpc.command("invoke")
@common_options
@click.argument("name")
@click.option("--namespace", default="default", show_default=True, help="Its namespace.")
@click.option("--params", default="{}", help="Its parameters as a JSON object.")
def invoke(name: str, namespace: str, params: str) -> None:
    """Call a procedure as an administrator, past row-level security, and print what it gives.

    \b
    Example:
      fluxbase rpc invoke close_order --params '{"order_id": 17}'
    """
    given = _params(params)

    async def work(ctx: Context) -> str:
        from fluxbase.rpc import call, procedures  # noqa: PLC0415

        found = await procedures.find(ctx, namespace, name)
        return (await call.call(ctx, found, given)).given.data

    arguments = {"name": name, "namespace": namespace, "params": given}
    show_data(json.loads(at_desk("invoke_rpc", arguments, work)), "json")


def _params(text: str) -> dict[str, Any]:
    from fluxbase.strict_json import loads  # noqa: PLC0415

    given: Any = loads(text.encode())
    if not isinstance(given, dict):
        raise InvalidArgument("--params: a JSON object is expected")
    return given  # pyright: ignore[reportUnknownVariableType]


common_options(rpc)
