"""`fluxbase functions new` and `serve`: for whoever writes a function, before it is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from fluxbase.cli.output import plain
from fluxbase.cli.settings import common_options, current
from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend

_TEMPLATE: Final = """\
// @roles authenticated
// @description Greets whoever invokes it.
/// <reference path="{up}_shared/fluxbase.d.ts" />

export default async (req: Request): Promise<Response> => {{
  const {{ name = "world" }} = req.body ? await req.json() : {{}};
  console.log("greeting", name);
  // Runs with the rights of the caller: its rows, its scopes.
  // const page = await fluxbase.query("notes", {{ limit: 10 }});
  return Response.json({{ message: `Hello, ${{name}}!`, caller: fluxbase.caller?.name }});
}};
"""


@click.command("new")
@common_options
@click.argument("name")
@click.option("--namespace", default="default", show_default=True, help="Its namespace.")
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default="functions", show_default=True,
    help="Folder of the functions.",
)  # fmt: skip
def new(name: str, namespace: str, folder: Path) -> None:
    """Begin a function: its file, and the types of what it may call.

    \b
    Example:
      fluxbase functions new hello
    """
    from fluxbase.functions.files import SHARED, TYPES, check_name  # noqa: PLC0415

    check_name(namespace, name)
    inside = folder if namespace == "default" else folder / namespace
    path = inside / name / "index.ts"
    if path.exists() or (inside / f"{name}.ts").exists():
        raise InvalidArgument("NAME: there is a function of this name already")
    types = folder / SHARED / "fluxbase.d.ts"
    types.parent.mkdir(parents=True, exist_ok=True)
    types.write_text(TYPES.read_text("utf-8"), "utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    up = "../" * (len(path.parent.relative_to(folder).parts))
    path.write_text(_TEMPLATE.format(up=up), "utf-8")
    click.echo(f"wrote {path}\ntry it: fluxbase functions serve --dir {folder}")


@click.command("serve")
@common_options
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path), default="functions", show_default=True,
    help="Folder of the functions.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8081, show_default=True,
    help="Port to listen on; 0 takes a free one.",
)  # fmt: skip
def serve(folder: Path, port: int) -> None:
    """Serve the functions of a folder as they are, anew whenever a file changes.

    Nothing is deployed: this is a server of its own, with the database of the configuration, for
    this machine alone. Keys work as ever, and what functions write is shown here.

    \b
    Example:
      fluxbase functions serve --dir functions
    """
    from fluxbase.cli.serve import Start, run  # noqa: PLC0415
    from fluxbase.functions.local import FolderRegistry  # noqa: PLC0415

    if not folder.is_dir():
        raise InvalidArgument("--dir: there is no such folder", hint="fluxbase functions new hello")

    async def follow(backend: Backend) -> None:
        room = backend.functions
        found = FolderRegistry(room, folder)
        room.registry = found
        room.hears_lines = _show
        await found.follow(lambda text: click.echo(plain(text), err=True))

    settings = current()
    flags: dict[str, object] = {
        "server.host": "127.0.0.1",
        "server.port": port,
        "server.workers": 1,
        "mcp.enabled": True,
        "functions.enabled": True,
    }
    run(Start(settings, settings.load(flags), flags, beside=follow))


def _show(name: str, level: str, text: str) -> None:
    for line in text.splitlines() or [""]:
        click.echo(f"{name}  {level:5}  {plain(line)}", err=True)
