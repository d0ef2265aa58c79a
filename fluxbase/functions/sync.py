"""Deploys a folder of functions, and deletes those whose file is gone; it must not read files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluxbase.errors import InvalidArgument
from fluxbase.functions import deploy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluxbase.functions.files import Source
    from fluxbase.functions.service import Functions
    from fluxbase.toolkit import Context


@dataclass(frozen=True, slots=True)
class Synced:
    """What was done to a function."""

    namespace: str
    name: str
    action: str
    version: int | None


async def sync(
    ctx: Context,
    functions: Functions,
    sources: Sequence[Source],
    *,
    dry_run: bool,
    on_done: Callable[[int], None],
    deletes: bool = True,
) -> list[Synced]:
    """Deploy functions, and delete those that were deployed from files that are gone.

    All are bundled before the first is put into force, so that code that cannot be changes nothing.

    Args:
        ctx: the administrator's call.
        functions: the room.
        sources: what there is to deploy.
        dry_run: bundle, tell what would be done, and do none of it.
        on_done: is told of each function that is bundled.
        deletes: whether those that are not among the sources are to go.

    Raises:
        InvalidArgument: the code of one cannot be bundled; the message says of which.
        FluxbaseError: the database does not answer; some may have been deployed.
    """
    known = await functions.registry.all()
    modules: list[str] = []
    for source in sources:
        modules.append(await _bundled(functions, source))
        on_done(1)
    done: list[Synced] = []
    for source, module in zip(sources, modules, strict=True):
        name = (source.namespace, source.name)
        if dry_run:
            action = "would be replaced" if name in known else "would be deployed"
            done.append(Synced(*name, action, None))
            continue
        made = await deploy.put(
            ctx, functions, name, source.files, source.rules, module, file=source.path
        )
        done.append(Synced(*name, made.action, made.version))
    if deletes:
        done += await _deleted(ctx, functions, sources, dry_run=dry_run)
    return done


async def _deleted(
    ctx: Context, functions: Functions, sources: Sequence[Source], *, dry_run: bool
) -> list[Synced]:
    done: list[Synced] = []
    kept = {(source.namespace, source.name) for source in sources}
    for row in await ctx.database.admin("filed_functions"):
        name = (row["namespace"], row["name"])
        if name in kept:
            continue
        if not dry_run:
            await deploy.delete(ctx, functions, name)
        done.append(Synced(*name, "would be deleted" if dry_run else "deleted", None))
    return done


async def _bundled(functions: Functions, source: Source) -> str:
    try:
        return await functions.bundle(source.files, source.path)
    except InvalidArgument as error:
        raise InvalidArgument(f"{source.path}: {error.message}", hint=error.hint) from None
