"""`fluxbase storage`: files of buckets, for administrators at this machine."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeVar

import click

from fluxbase.cli.desk import at_desk, progress
from fluxbase.cli.output import output_option, show_one, show_rows
from fluxbase.cli.settings import at_terminal, common_options
from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from fluxbase.storage.objects import Objects
    from fluxbase.toolkit import Context

T = TypeVar("T")

_SCHEME: Final = "storage://"
_PIECE: Final = 1024 * 1024
_PAGE: Final = 1000
_OBJECTS: Final = {
    "key": "key",
    "size": "size",
    "content_type": "type",
    "last_modified": "last modified",
}
_BUCKETS: Final = {
    "id": "bucket",
    "public": "public",
    "max_file_size": "max file size",
    "allowed_mime_types": "types",
    "versioning": "versioning",
}


@click.group("storage", short_help="List, copy and remove files of buckets.")
def storage() -> None:
    """List, copy and remove files of buckets, whether a server runs or not.

    What is kept here has no owner, so clients see it by policies alone, such as those of public
    buckets.

    \b
    Example:
      fluxbase storage cp report.pdf storage://files/reports/
    """


@storage.command("ls")
@common_options
@output_option
@click.argument("place", default="", metavar="[storage://BUCKET[/PREFIX]]")
def ls(style: str, place: str) -> None:
    """List buckets, or the objects of one.

    \b
    Example:
      fluxbase storage ls storage://files/reports/ -o json
    """
    if not place or place == _SCHEME:
        show_rows(at_desk("storage ls", {}, _buckets), _BUCKETS, style)
        return
    bucket, prefix = _parts(place)

    async def work(ctx: Context) -> list[dict[str, Any]]:
        return await _listed(_objects(ctx), ctx, bucket, prefix)

    show_rows(at_desk("storage ls", {"bucket": bucket, "prefix": prefix}, work), _OBJECTS, style)


@storage.command("mb")
@common_options
@output_option
@click.argument("bucket")
@click.option("--public", is_flag=True, help="Let anybody read its objects by their address.")
@click.option("--max-file-size", type=click.IntRange(min=1), help="Largest object in bytes.")
@click.option("--allow-type", "types", multiple=True, help="Type it takes, such as image/*.")
@click.option("--versioning", is_flag=True, help="Keep what is overwritten or deleted.")
def mb(
    style: str,
    bucket: str,
    public: bool,
    max_file_size: int | None,
    types: tuple[str, ...],
    versioning: bool,
) -> None:
    """Make a bucket.

    \b
    Example:
      fluxbase storage mb avatars --public --allow-type "image/*" --max-file-size 1000000
    """
    rules: dict[str, Any] = {
        "public": public,
        "max_file_size": max_file_size,
        "allowed_mime_types": list(types),
        "versioning": versioning,
    }

    async def work(ctx: Context) -> dict[str, Any]:
        from fluxbase.storage.buckets import create_bucket  # noqa: PLC0415

        return await create_bucket(ctx, bucket, rules)

    show_one(at_desk("storage mb", {"bucket": bucket}, work), style)


@storage.command("cp")
@common_options
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--type", "content_type", help="Media type of what is uploaded.")
@click.option("--no-progress", is_flag=True, help="Show no progress bar.")
def cp(source: str, target: str, content_type: str | None, no_progress: bool) -> None:
    """Copy a file to a bucket, or an object to a file or another object.

    Objects are written storage://BUCKET/KEY. A target that ends in / takes the name of the source;
    - is standard input or output.

    \b
    Example:
      fluxbase storage cp storage://files/reports/2026.pdf .
    """
    far = (source.startswith(_SCHEME), target.startswith(_SCHEME))
    if far == (False, False):
        raise InvalidArgument("one of SOURCE and TARGET is an object, storage://BUCKET/KEY")
    if far == (True, True):
        _copy(source, target)
    elif far == (False, True):
        _upload(source, target, content_type, quiet=no_progress)
    else:
        _download(source, target, quiet=no_progress)


@storage.command("rm")
@common_options
@click.argument("place", metavar="storage://BUCKET/KEY")
@click.option("--recursive", "-r", is_flag=True, help="Remove all that begins with KEY.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; needed where nobody can answer.")
def rm(place: str, recursive: bool, yes: bool) -> None:
    """Remove an object, or all objects whose keys begin alike.

    \b
    Example:
      fluxbase storage rm --recursive storage://files/reports/
    """
    bucket, key = _parts(place)
    if not key and not recursive:
        raise InvalidArgument("an object is expected, storage://BUCKET/KEY", hint="or --recursive")

    async def find(ctx: Context) -> list[str]:
        if not recursive:
            return [(await _objects(ctx).find(ctx, bucket, key)).key]
        return [o["key"] for o in await _listed(_objects(ctx), ctx, bucket, key)]

    keys = at_desk("storage ls", {"bucket": bucket}, find)
    if recursive and keys and not yes:
        if not at_terminal():
            raise click.UsageError("--yes is needed where nobody can be asked")
        click.confirm(f"Remove {len(keys)} objects?", abort=True, err=True)

    async def work(ctx: Context) -> int:
        for found in keys:
            await _objects(ctx).delete(ctx, bucket, found)
        return len(keys)

    click.echo(f"removed {at_desk('storage rm', {'bucket': bucket}, work)}")


def _upload(source: str, target: str, content_type: str | None, *, quiet: bool) -> None:
    bucket, key = _parts(target)
    name = "" if source == "-" else Path(source).name
    key = f"{key}{name}" if not key or key.endswith("/") else key
    with _reading(source) as (file, size), progress(size, quiet=quiet) as advance:

        async def work(ctx: Context) -> dict[str, Any]:
            told, _ = await _objects(ctx).put(
                ctx,
                bucket,
                key,
                _pieces(file, advance),
                content_type=_type(content_type, name),
                size=size,
            )
            return told

        told = at_desk("storage cp", {"bucket": bucket, "key": key}, work)
    click.echo(f"{_SCHEME}{bucket}/{told['key']}  {told['size']} bytes")


def _download(source: str, target: str, *, quiet: bool) -> None:
    bucket, key = _parts(source)
    name = key.rpartition("/")[2]
    path = Path(target) / name if target != "-" and Path(target).is_dir() else Path(target)

    async def work(ctx: Context) -> int:
        objects = _objects(ctx)
        info = await objects.find(ctx, bucket, key)
        with _writing(target, path) as file, progress(info.size, quiet=quiet) as advance:
            async with aclosing(objects.bytes_of(info)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)
                    advance(len(piece))
        return info.size

    size = at_desk("storage cp", {"bucket": bucket, "key": key}, work)
    if target != "-":
        click.echo(f"{path}  {size} bytes")


def _copy(source: str, target: str) -> None:
    bucket, key = _parts(source)
    to_bucket, to_key = _parts(target)
    name = key.rpartition("/")[2]
    to_key = f"{to_key}{name}" if not to_key or to_key.endswith("/") else to_key

    async def work(ctx: Context) -> dict[str, Any]:
        found = await _objects(ctx).find(ctx, bucket, key)
        return await _objects(ctx).copy(ctx, found, to_bucket, to_key)

    told = at_desk("storage cp", {"bucket": to_bucket, "key": to_key}, work)
    click.echo(f"{_SCHEME}{to_bucket}/{told['key']}  {told['size']} bytes")


def _objects(ctx: Context) -> Objects:
    from fluxbase.storage.service import Storage  # noqa: PLC0415

    return ctx.service(Storage).objects


async def _buckets(ctx: Context) -> list[dict[str, Any]]:
    from fluxbase.storage.buckets import list_buckets  # noqa: PLC0415

    return await list_buckets(ctx)


async def _listed(objects: Objects, ctx: Context, bucket: str, prefix: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["key"] if found else ""
        page = await objects.list(ctx, bucket, prefix, after, _PAGE)
        found += page
        if len(page) < _PAGE:
            return found


def _parts(place: str) -> tuple[str, str]:
    if not place.startswith(_SCHEME):
        raise InvalidArgument(f"{_SCHEME}BUCKET/KEY is expected")
    bucket, _, key = place.removeprefix(_SCHEME).partition("/")
    return bucket, key


def _type(given: str | None, name: str) -> str | None:
    from mimetypes import guess_type  # noqa: PLC0415

    return given or guess_type(name)[0]


@contextmanager
def _reading(source: str) -> Generator[tuple[BinaryIO, int | None]]:
    if source == "-":
        yield sys.stdin.buffer, None
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise InvalidArgument(f"SOURCE: {error.strerror}") from None
        yield file, Path(source).stat().st_size


@contextmanager
def _writing(target: str, path: Path) -> Generator[BinaryIO]:
    """Write a file that is there whole or not at all."""
    if target == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    passing = path.with_name(f".{path.name}.part")
    try:
        with passing.open("wb") as file:
            yield file
        passing.replace(path)
    except OSError as error:
        raise InvalidArgument(f"TARGET: {error.strerror}") from None
    finally:
        passing.unlink(missing_ok=True)


async def _pieces(file: BinaryIO, advance: Callable[[int], None]) -> AsyncGenerator[bytes]:
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece
        advance(len(piece))


common_options(storage)
