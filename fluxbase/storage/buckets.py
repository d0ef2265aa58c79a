"""Buckets: rows with the rules of what they hold; it must not know HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.db.queries import statement
from fluxbase.errors import Conflict, ConstraintViolation, InvalidArgument, UnknownBucket
from fluxbase.storage.names import check_bucket, check_type

if TYPE_CHECKING:
    from fluxbase.toolkit import Context

_BATCH: Final = 500


async def list_buckets(ctx: Context) -> list[dict[str, Any]]:
    """Return the buckets that the caller may know of, by their names."""
    return orjson.loads((await ctx.read(statement("list_buckets")))["found"])


async def get_bucket(ctx: Context, name: str) -> dict[str, Any]:
    """Return one bucket.

    Raises:
        UnknownBucket: there is none, for this caller.
    """
    row = await ctx.read(statement("get_bucket", id=check_bucket(name)))
    if row["found"] is None:
        raise UnknownBucket
    return orjson.loads(row["found"])


async def create_bucket(ctx: Context, name: str, rules: dict[str, Any]) -> dict[str, Any]:
    """Make a bucket.

    Raises:
        Conflict: there is one of this name.
    """
    _check(rules)
    asked: dict[str, Any] = {
        "id": check_bucket(name),
        "public": bool(rules.get("public")),
        "max_file_size": rules.get("max_file_size"),
        "allowed_mime_types": rules.get("allowed_mime_types") or [],
        "versioning": bool(rules.get("versioning")),
    }
    async with ctx.change(f"storage/{name}") as session:
        if not (await session.fetchrow(statement("add_bucket", **asked)))["found"]:
            raise Conflict("there is a bucket of this name already")
    return await get_bucket(ctx, name)


async def update_bucket(ctx: Context, name: str, rules: dict[str, Any]) -> dict[str, Any]:
    """Change the rules that are given; those of files that are there already are not judged anew.

    Raises:
        UnknownBucket: there is none, for this caller.
    """
    _check(rules)
    asked = {
        "id": check_bucket(name),
        "public": rules.get("public"),
        "size_given": "max_file_size" in rules,
        "max_file_size": rules.get("max_file_size") or None,
        "allowed_mime_types": rules.get("allowed_mime_types"),
        "versioning": rules.get("versioning"),
    }
    async with ctx.change(f"storage/{name}") as session:
        if not (await session.fetchrow(statement("change_bucket", **asked)))["found"]:
            raise UnknownBucket
    return await get_bucket(ctx, name)


async def delete_bucket(ctx: Context, name: str, *, force: bool) -> int:
    """Remove a bucket, with `force` all that is in it too; return how many objects that were.

    Raises:
        UnknownBucket: there is none, for this caller.
        Conflict: it is not empty.
    """
    await get_bucket(ctx, name)
    deleted = 0
    if force:
        deleted = await _empty(ctx, name, "delete_objects_of_bucket")
        await _empty(ctx, name, "delete_versions_of_bucket")
    try:
        async with ctx.change(f"storage/{name}") as session:
            if not (await session.fetchrow(statement("delete_bucket", id=name)))["found"]:
                raise UnknownBucket
    except ConstraintViolation:
        raise Conflict(
            "the bucket is not empty", hint="force: true deletes what is in it"
        ) from None
    return deleted


async def _empty(ctx: Context, name: str, query: str) -> int:
    deleted = 0
    while True:
        async with ctx.change(f"storage/{name}") as session:
            row = await session.fetchrow(statement(query, id=name, most=_BATCH))
        deleted += row["found"]
        if row["found"] < _BATCH:
            return deleted


def _check(rules: dict[str, Any]) -> None:
    size = rules.get("max_file_size")
    if size is not None and size < 0:
        raise InvalidArgument("max_file_size: a number of bytes is expected")
    for kind in rules.get("allowed_mime_types") or ():
        if kind.endswith("/*"):
            check_type(kind[:-1] + "x")
        else:
            check_type(kind)
