"""Puts functions into force, back and away; it must not run them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from fluxbase.errors import InvalidArgument, UnknownFunction
from fluxbase.principal import parse_scopes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.functions.service import Functions
    from fluxbase.toolkit import Context


@dataclass(frozen=True, slots=True)
class Rules:
    """Who may invoke a function, and how it runs."""

    description: str | None = None
    public: bool = False
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    timeout: float = 30.0
    runs_as: str = "caller"
    isolation: str = "caller"

    def check(self) -> None:
        """See that somebody may invoke it.

        Raises:
            InvalidArgument: nobody may.
        """
        if not self.public and not self.roles:
            raise InvalidArgument(
                "public, required_roles: one of them says who may invoke it",
                hint="required_roles: ['authenticated']",
            )


@dataclass(frozen=True, slots=True)
class Deployed:
    """A version of a function that is in force now."""

    namespace: str
    name: str
    version: int
    action: str
    size: int


async def deploy(
    ctx: Context,
    functions: Functions,
    name: tuple[str, str],
    files: Mapping[str, str],
    rules: Rules,
    *,
    file: str | None = None,
) -> Deployed:
    """Bundle the files of a function and put them into force as a new version.

    Args:
        ctx: the administrator's call.
        functions: the room.
        name: its namespace and name.
        files: texts by their paths.
        rules: who may invoke it, and how it runs.
        file: where it came from, when it is synced from a folder.

    Raises:
        InvalidArgument: the code cannot be bundled, or the rules let nobody invoke it.
        FluxbaseError: it cannot be kept; nothing was changed.
    """
    rules.check()
    module = await functions.bundle(files)
    return await put(ctx, functions, name, files, rules, module, file=file)


async def put(
    ctx: Context,
    functions: Functions,
    name: tuple[str, str],
    files: Mapping[str, str],
    rules: Rules,
    module: str,
    *,
    file: str | None = None,
) -> Deployed:
    """Put a function that is bundled into force as a new version; see `deploy`."""
    scopes = list(parse_scopes(list(rules.scopes)))
    namespace, own = name
    await ctx.record(f"{namespace}.{own}")
    [row] = await ctx.database.admin(
        "deploy_function",
        namespace=namespace,
        name=own,
        description=rules.description,
        public=rules.public,
        roles=list(rules.roles),
        scopes=scopes,
        timeout=rules.timeout,
        runs_as=rules.runs_as,
        isolation=rules.isolation,
        file=file,
        code=module,
        sources=orjson.dumps(dict(sorted(files.items()))).decode(),
        by=ctx.who.name,
    )
    functions.hear()
    action = ("unchanged" if row["same"] else "replaced") if row["known"] else "deployed"
    return Deployed(namespace, own, row["version"], action, len(module.encode()))


async def roll_back(
    ctx: Context, functions: Functions, name: tuple[str, str], version: int | None
) -> tuple[int, int]:
    """Put an earlier version into force; return its number and the one before.

    Raises:
        UnknownFunction: there is no such function or version.
    """
    namespace, own = name
    await ctx.record(f"{namespace}.{own}")
    rows = await ctx.database.admin(
        "rollback_function", namespace=namespace, name=own, version=version
    )
    if not rows:
        raise UnknownFunction(
            "no such function, or no such version of it", hint="list_function_versions"
        )
    functions.hear()
    return rows[0]["version"], rows[0]["before"]


async def delete(ctx: Context, functions: Functions, name: tuple[str, str]) -> None:
    """Take a function away.

    Raises:
        UnknownFunction: there is none.
    """
    namespace, own = name
    await ctx.record(f"{namespace}.{own}")
    if not await ctx.database.admin("delete_function", namespace=namespace, name=own):
        raise UnknownFunction(hint="list_functions shows those there are")
    functions.hear()


async def versions(ctx: Context, name: tuple[str, str]) -> list[dict[str, Any]]:
    """Return the versions of a function, the newest first.

    Raises:
        UnknownFunction: there is none.
    """
    namespace, own = name
    rows = await ctx.database.admin("list_function_versions", namespace=namespace, name=own)
    if not rows:
        raise UnknownFunction(hint="list_functions shows those there are")
    return [dict(row) for row in rows]
