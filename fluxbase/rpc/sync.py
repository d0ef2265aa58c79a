"""Publishes the procedures of a folder, and withdraws those whose file is gone; all or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fluxbase.errors import FluxbaseError, InvalidArgument
from fluxbase.rpc.procedures import publishable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.db.defining import Definer
    from fluxbase.rpc.files import File
    from fluxbase.toolkit import Context


@dataclass(frozen=True, slots=True)
class Synced:
    """What was done with one procedure."""

    namespace: str
    name: str
    function: str | None
    action: Literal["published", "replaced", "withdrawn"]


async def sync(ctx: Context, files: Sequence[File], *, dry_run: bool) -> list[Synced]:
    """Run every file, publish its function, and withdraw what no file publishes any more.

    Procedures that were not published from files stay as they are.

    Raises:
        FluxbaseError: a file is wrong; nothing was changed.
    """
    ctx.dry_run = dry_run
    async with ctx.database.works.define(dry_run=dry_run) as definer:
        done = [await _publish(definer, file) for file in files]
        kept = {(file.namespace, file.name) for file in files}
        for row in await definer.run("filed_procedures"):
            if (row["namespace"], row["name"]) not in kept:
                names = {"namespace": row["namespace"], "name": row["name"]}
                await definer.run("withdraw_procedure", **names)
                done.append(Synced(row["namespace"], row["name"], None, "withdrawn"))
    return done


async def _publish(definer: Definer, file: File) -> Synced:
    made = await definer.define(file.text, file.path)
    if len(made) != 1:
        raise InvalidArgument(
            f"{file.path}: one function is expected in a file, and there are {len(made)}",
            hint="CREATE OR REPLACE FUNCTION",
        )
    try:
        function = publishable(await definer.run("find_function", function=made[0]))
    except FluxbaseError as error:
        raise InvalidArgument(f"{file.path}: {error.message}") from None
    rules = file.rules
    [row] = await definer.run(
        "publish_procedure",
        namespace=file.namespace,
        name=file.name,
        function=function,
        public=rules.get("public", False),
        roles=rules.get("roles", []),
        scopes=rules.get("scopes", []),
        timeout=rules.get("timeout", 30.0),
        max_rows=rules.get("max_rows", 1000),
        read_only=rules.get("read_only", False),
        cache=rules.get("cache", 0.0),
        file=file.path,
    )
    action = "replaced" if row["known"] else "published"
    return Synced(file.namespace, file.name, function, action)
