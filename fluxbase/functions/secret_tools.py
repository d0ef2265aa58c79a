"""The tools by which administrators set secrets of functions; none of them tells one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, SecretStr

from fluxbase.errors import UnknownFunction
from fluxbase.functions.secrets import Secrets, check
from fluxbase.functions.service import Functions
from fluxbase.toolkit import Context, tool

_DDL = ("admin:ddl",)

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Z][A-Z0-9_]{0,62}$", description="Name by which functions ask Deno.env for it"
    ),
]
Namespace = Annotated[
    str,
    Field(
        pattern=r"^(\*|[a-z][a-z0-9_-]{0,62})$",
        description="Whose functions have it; *: those of every namespace",
    ),
]


@dataclass(frozen=True, slots=True)
class SecretSet:
    """A secret that is kept from now on."""

    namespace: str
    name: str
    replaced: bool


@dataclass(frozen=True, slots=True)
class SecretEntry:
    """A secret that there is."""

    namespace: str
    name: str
    set_by: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class SecretEntries:
    """The secrets that there are."""

    secrets: list[SecretEntry]
    count: int


@dataclass(frozen=True, slots=True)
class SecretDeleted:
    """A secret that is not there any more."""

    deleted: bool
    namespace: str
    name: str


@tool(scopes=_DDL, title="Set secret", service=True, idempotent=True)
async def set_secret(
    ctx: Context,
    name: Name,
    value: Annotated[SecretStr, Field(description="What it says, at most 64 KiB")],
    namespace: Namespace = "default",
) -> SecretSet:
    """Keep a secret for edge functions, encrypted; nobody is told again what it says."""
    # What is recorded of a call must not depend on what the secret says.
    ctx.arguments = {"name": name, "namespace": namespace}
    plain = value.get_secret_value()
    check(name, plain)
    await ctx.record(f"{namespace}.{name}")
    replaced = await ctx.service(Secrets).put(namespace, {name: plain}, ctx.who.id)
    ctx.service(Functions).hear()
    return SecretSet(namespace, name, bool(replaced))


@tool(scopes=_DDL, title="List secrets", service=True, read_only=True)
async def list_secrets(
    ctx: Context,
    namespace: Annotated[str | None, Field(description="Only those of this namespace")] = None,
) -> SecretEntries:
    """List the names of the secrets of edge functions; never what they say."""
    found = [SecretEntry(**row) for row in await ctx.service(Secrets).list(namespace)]
    ctx.rows = len(found)
    return SecretEntries(found, len(found))


@tool(scopes=_DDL, title="Delete secret", service=True, destructive=True)
async def delete_secret(
    ctx: Context, name: Name, namespace: Namespace = "default"
) -> SecretDeleted:
    """Forget a secret; functions do not find it from their next call on."""
    await ctx.record(f"{namespace}.{name}")
    if not await ctx.service(Secrets).remove(namespace, name):
        raise UnknownFunction("no such secret", hint="list_secrets shows those there are")
    ctx.service(Functions).hear()
    return SecretDeleted(True, namespace, name)
