"""`fluxbase rpc`: procedures and the files they come from, for administrators."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbase.cli.desk import at_desk
from fluxbase.cli.output import output_option, show_data, show_one, show_rows
from fluxbase.cli.settings import common_options
from fluxbase.errors import HandlerFailed, InvalidArgument

if TYPE_CHECKING:
    from fluxbase.rpc.procedures import Procedure
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
_EXECUTIONS: Final = {
    "execution_id": "execution",
    "namespace": "namespace",
    "name": "name",
    "holder": "of",
    "status": "status",
    "rows": "rows",
    "started_at": "started",
    "duration_ms": "ms",
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

    Comments before the SQL say for whom: @public, @roles, @scopes, @timeout, @max-rows, @read-only,
    @cache.

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
@click.option("--key", help="Idempotency key: a write with it is done once.")
@click.option(
    "--async", "background", is_flag=True,
    help="Print its id at once on standard error, so that others can follow and end it, and keep "
    "its data for a day. It runs in this command, and with it it ends.",
)  # fmt: skip
def invoke(name: str, namespace: str, params: str, key: str | None, background: bool) -> None:
    """Call a procedure as an administrator, past row-level security, and print what it gives.

    \b
    Examples:
      fluxbase rpc invoke close_order --params '{"order_id": 17}'
      fluxbase rpc invoke yearly_report --async
    """
    given = _params(params)

    async def work(ctx: Context) -> str:
        from fluxbase.rpc import call, procedures  # noqa: PLC0415

        found = await procedures.find(ctx, namespace, name)
        if background:
            return await _in_background(ctx, found, given, key)
        return (await call.call(ctx, found, given, key=key)).given.data

    arguments: dict[str, Any] = {"name": name, "namespace": namespace, "params": given}
    if key is not None:
        arguments["idempotency_key"] = key
    show_data(json.loads(at_desk("invoke_rpc", arguments, work)), "json")


async def _in_background(
    ctx: Context, procedure: Procedure, params: dict[str, Any], key: str | None
) -> str:
    from fluxbase.rpc.execution_tools import get_rpc_execution  # noqa: PLC0415
    from fluxbase.rpc.running import Executions  # noqa: PLC0415

    executions = ctx.service(Executions)
    begun = await executions.start(ctx, procedure, params, key)
    ctx.recorded = True  # it is recorded by itself
    click.echo(f"execution {begun.id}", err=True)
    await executions.join(begun.id)
    told = await get_rpc_execution(ctx, begun.id)
    if told.status != "completed":
        raise HandlerFailed(told.error or f"the execution is {told.status}")
    return told.data


@rpc.command("executions")
@common_options
@output_option
@click.option("--running", is_flag=True, help="Only those that run.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Most of them."
)
def executions(style: str, running: bool, limit: int) -> None:
    """List the latest calls of procedures, whoever made them.

    \b
    Example:
      fluxbase rpc executions --running
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        await ctx.database.admin("settle_executions")
        rows = await ctx.database.admin("list_executions", running=running, most=limit)
        return [dict(row) for row in rows]

    show_rows(at_desk("rpc executions", {"running": running}, work), _EXECUTIONS, style)


@rpc.command("cancel")
@common_options
@output_option
@click.argument("execution")
def cancel(execution: str, style: str) -> None:
    """Stop a call that runs in the background, on whichever server, and tell how it ended.

    \b
    Example:
      fluxbase rpc cancel 1b0c3c1e-8b0e-4f0e-9d56-0f5f3f2d7c11
    """

    async def work(ctx: Context) -> dict[str, Any]:
        from fluxbase.rpc.execution_tools import cancel_rpc_execution  # noqa: PLC0415

        told = asdict(await cancel_rpc_execution(ctx, execution))
        return {name: told[name] for name in ("execution_id", "status", "error", "duration_ms")}

    arguments = {"execution_id": execution}
    show_one(at_desk("cancel_rpc_execution", arguments, work), style)


def _params(text: str) -> dict[str, Any]:
    from fluxbase.strict_json import loads  # noqa: PLC0415

    given: Any = loads(text.encode())
    if not isinstance(given, dict):
        raise InvalidArgument("--params: a JSON object is expected")
    return given  # pyright: ignore[reportUnknownVariableType]


common_options(rpc)
