"""`fluxbase functions`: edge functions and the files they come from, for administrators."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from fluxbase.cli.desk import at_desk, progress
from fluxbase.cli.function_folder import new, serve
from fluxbase.cli.output import output_option, plain, show_data, show_one, show_rows
from fluxbase.cli.settings import at_terminal, common_options
from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbase.toolkit import Context

_COLUMNS: Final = {
    "namespace": "namespace", "name": "name", "version": "version", "runs_as": "runs as",
    "description": "description",
}  # fmt: skip
_SYNCED: Final = {
    "action": "action", "namespace": "namespace", "name": "name", "version": "version",
}  # fmt: skip
_FOLLOWS: Final = 1.0


@click.group("functions", short_help="Write, deploy, invoke and watch edge functions.")
def functions() -> None:
    """Write, deploy, invoke and watch edge functions, whether a server runs or not.

    \b
    Example:
      fluxbase functions new hello
      fluxbase functions serve
      fluxbase functions deploy hello
    """


def _folder_option(command: Any) -> Any:
    return click.option(
        "--dir", "folder", type=click.Path(path_type=Path), default="functions",
        show_default=True, help="Folder of the functions.",
    )(command)  # fmt: skip


def _namespace_option(command: Any) -> Any:
    return click.option("--namespace", default="default", show_default=True, help="Its namespace.")(
        command
    )


@functions.command("list")
@common_options
@output_option
@click.option("--namespace", help="Only those of this namespace.")
def list_(style: str, namespace: str | None) -> None:
    """List the functions that are deployed.

    \b
    Example:
      fluxbase functions list -o json
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from fluxbase.functions.registry import visible  # noqa: PLC0415
        from fluxbase.functions.service import Functions  # noqa: PLC0415
        from fluxbase.functions.tools import entry  # noqa: PLC0415

        known = ctx.service(Functions).registry
        return [asdict(entry(f)) for f in await visible(ctx, known, namespace)]

    show_rows(at_desk("functions list", {}, work), _COLUMNS, style)


@functions.command("sync")
@common_options
@output_option
@_folder_option
@click.option(
    "--dry-run", is_flag=True, help="Bundle them, tell what would be done, change nothing."
)
def sync(style: str, folder: Path, dry_run: bool) -> None:
    """Deploy the functions of a folder, and delete those whose file is gone.

    Comments before the code say for whom: @public, @roles, @scopes, @timeout, @runs-as, @isolation,
    @description.

    \b
    Example:
      fluxbase functions sync --dir functions --dry-run
    """
    _deploy("functions sync", folder, None, style, dry_run=dry_run)


@functions.command("deploy")
@common_options
@output_option
@_folder_option
@_namespace_option
@click.argument("name")
def deploy(style: str, folder: Path, namespace: str, name: str) -> None:
    """Deploy one function of a folder as a new version.

    \b
    Example:
      fluxbase functions deploy hello
    """
    _deploy("functions deploy", folder, (namespace, name), style, dry_run=False)


def _deploy(
    action: str, folder: Path, only: tuple[str, str] | None, style: str, *, dry_run: bool
) -> None:
    async def work(ctx: Context) -> list[dict[str, Any]]:
        from fluxbase.functions.files import read  # noqa: PLC0415
        from fluxbase.functions.service import Functions  # noqa: PLC0415
        from fluxbase.functions.sync import sync as put  # noqa: PLC0415

        room = ctx.service(Functions)
        sources = await asyncio.to_thread(read, folder, room.config.timeout)
        if only is not None:
            sources = [s for s in sources if (s.namespace, s.name) == only]
            if not sources:
                raise InvalidArgument("--dir: the folder has no function of this name")
        with progress(len(sources), quiet=style != "table") as step:
            done = await put(
                ctx, room, sources, dry_run=dry_run, on_done=step, deletes=only is None
            )
        return [asdict(one) for one in done]

    show_rows(at_desk(action, {"dry_run": dry_run}, work), _SYNCED, style)


@functions.command("invoke")
@common_options
@click.argument("name")
@_namespace_option
@click.option("--body", help="Body of the request; `-` reads it from standard input.")
@click.option("--method", default="POST", show_default=True, help="Method of the request.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of it.")
def invoke(
    name: str, namespace: str, body: str | None, method: str, headers: tuple[str, ...]
) -> None:
    """Invoke a function as an administrator, past row-level security, and print what it answers.

    What it writes meanwhile goes to standard error. Exits with 1 when it answers 400 or more.

    \b
    Example:
      fluxbase functions invoke hello --body '{"name": "world"}'
    """
    sent = sys.stdin.read() if body == "-" else body
    pairs = tuple(_header(text) for text in headers)

    async def work(ctx: Context) -> tuple[int, bytes]:
        from fluxbase.functions import invoke as call  # noqa: PLC0415
        from fluxbase.functions.registry import find  # noqa: PLC0415
        from fluxbase.functions.service import Functions  # noqa: PLC0415

        room = ctx.service(Functions)
        room.hears_lines = lambda _, level, text: click.echo(f"{level}: {text}", err=True)
        found = await find(ctx, room.registry, namespace, name)
        url = f"http://localhost/{name}"
        asked = call.Asked(method.upper(), url, pairs, (sent or "").encode())
        done = await call.invoke(ctx, room, found, asked)
        return done.status, done.body

    arguments = {"name": name, "namespace": namespace}
    status, answer = at_desk("invoke_function", arguments, work)
    click.echo(answer, nl=bool(answer) and at_terminal())
    if status >= 400:
        click.echo(f"status {status}", err=True)
        raise click.exceptions.Exit(1)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InvalidArgument("--header: NAME:VALUE is expected")
    return name.strip().lower(), value.strip()


@functions.command("logs")
@common_options
@output_option
@click.argument("name")
@_namespace_option
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True,
              help="Most calls to show.")  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Go on showing what is new, until Ctrl-C.")
def logs(style: str, name: str, namespace: str, limit: int, follow: bool) -> None:
    """Show the newest calls of a function and what they wrote, the oldest first.

    \b
    Example:
      fluxbase functions logs hello --follow
    """

    async def ask(ctx: Context, most: int) -> list[dict[str, Any]]:
        rows = await ctx.database.admin(
            "find_executions", namespace=namespace, name=name, id=None, holder=None, most=most
        )
        return [{**dict(row), "lines": json.loads(row["lines"])} for row in reversed(rows)]

    async def work(ctx: Context) -> list[dict[str, Any]]:
        found = await ask(ctx, limit)
        if follow:
            await _follow(lambda: ask(ctx, 100), found, style)
        return found

    found = at_desk("get_function_logs", {"name": name, "namespace": namespace}, work)
    if style == "table":
        for execution in found:
            _show_execution(execution, style)
    else:
        show_data(found, style)


async def _follow(
    ask: Callable[[], Awaitable[list[dict[str, Any]]]], found: list[dict[str, Any]], style: str
) -> None:
    """Show calls as they end, until interrupted."""
    seen: set[str] = set()
    while True:
        for execution in found:
            if execution["id"] not in seen:
                seen.add(execution["id"])
                _show_execution(execution, style)
        await asyncio.sleep(_FOLLOWS)
        found = await ask()


def _show_execution(execution: dict[str, Any], style: str) -> None:
    if style != "table":
        click.echo(json.dumps(execution))
        return
    status = execution["http_status"] or execution["status"]
    head = f"{execution['started_at'][:23]}  v{execution['version']}  {status}"
    click.echo(f"{head}  {execution['duration_ms']:.1f} ms  {execution['error'] or ''}".rstrip())
    for line in execution["lines"]:
        for part in str(line["message"]).splitlines() or [""]:
            click.echo(f"    {line['level']:5}  {plain(part)}")
    if execution["lines_lost"]:
        click.echo(f"    ({execution['lines_lost']} lines were too many to keep)")


@functions.command("versions")
@common_options
@output_option
@click.argument("name")
@_namespace_option
def versions(style: str, name: str, namespace: str) -> None:
    """List the versions of a function, the newest first.

    \b
    Example:
      fluxbase functions versions hello
    """

    async def work(ctx: Context) -> list[dict[str, Any]]:
        from fluxbase.functions import deploy as deploying  # noqa: PLC0415

        return await deploying.versions(ctx, (namespace, name))

    found = at_desk("functions versions", {"name": name}, work)
    columns = {key: key.replace("_", " ") for key in found[0]}
    show_rows(found, columns, style)


@functions.command("rollback")
@common_options
@output_option
@click.argument("name")
@_namespace_option
@click.option("--version", type=click.IntRange(1), help="Which one; else the one before.")
def rollback(style: str, name: str, namespace: str, version: int | None) -> None:
    """Put an earlier version of a function into force again.

    \b
    Example:
      fluxbase functions rollback hello --version 3
    """

    async def work(ctx: Context) -> dict[str, Any]:
        from fluxbase.functions import deploy as deploying  # noqa: PLC0415
        from fluxbase.functions.service import Functions  # noqa: PLC0415

        room = ctx.service(Functions)
        now, before = await deploying.roll_back(ctx, room, (namespace, name), version)
        return {"namespace": namespace, "name": name, "version": now, "before": before}

    show_one(at_desk("rollback_function", {"name": name, "version": version}, work), style)


@functions.command("rm")
@common_options
@click.argument("name")
@_namespace_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(name: str, namespace: str, yes: bool) -> None:
    """Delete a function and all its versions.

    \b
    Example:
      fluxbase functions rm hello --yes
    """
    if not yes:
        click.confirm(f"Delete {namespace}.{name} and all its versions?", abort=True, err=True)

    async def work(ctx: Context) -> None:
        from fluxbase.functions import deploy as deploying  # noqa: PLC0415
        from fluxbase.functions.service import Functions  # noqa: PLC0415

        await deploying.delete(ctx, ctx.service(Functions), (namespace, name))

    at_desk("delete_function", {"name": name, "namespace": namespace}, work)
    click.echo(f"deleted {namespace}.{name}", err=True)


functions.add_command(new)
functions.add_command(serve)
common_options(functions)
