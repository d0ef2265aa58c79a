"""Makes one module of the files of a function, when it is deployed; it runs none of them.

Deno does it in the sandbox too: code that imports a file of this machine as a text would carry it
away. Packages of npm are fetched then, so that nothing is when the function runs.
"""

from __future__ import annotations

import asyncio
import base64
import re
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.errors import HandlerFailed, InvalidArgument, TooLarge
from fluxbase.functions.sandbox import spawn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from fluxbase.config.functions import Functions as Config
    from fluxbase.functions.sandbox import Sandbox

_SECONDS: Final = 60.0
_MOST_FILES: Final = 200
_PATH: Final = re.compile(r"[A-Za-z0-9_@.-]+(/[A-Za-z0-9_@.-]+){0,7}")
_MAP: Final = "//# sourceMappingURL=data:application/json;base64,"
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_ENTRIES: Final = ("index.ts", "index.tsx", "index.js", "index.mjs")
_SHOWN: Final = 500
_REACH: Final = frozenset(
    (
        "NPM_CONFIG_REGISTRY", "DENO_CERT", "DENO_TLS_CA_STORE", "NODE_EXTRA_CA_CERTS",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    )
)  # fmt: skip
_READABLE: Final = 0o755


async def bundle(
    config: Config,
    sandbox: Sandbox,
    cache: Path,
    files: Mapping[str, str],
    entry: str | None,
    environment: Mapping[str, str],
) -> str:
    """Return one JavaScript module with all that it imports, and its source map.

    Args:
        config: bounds.
        sandbox: how Deno is started.
        cache: where Deno keeps packages.
        files: their texts by their paths.
        entry: the path of the first one; `index.ts` or `index.js` unless it is said.
        environment: what `network_of` found.

    Raises:
        InvalidArgument: the files cannot be made into a module; the message says where and why.
        TooLarge: the module is larger than one may be.
    """
    _check(config, files)
    first = entry or _entry(files)
    async with _folder() as work:
        await asyncio.to_thread(_lay_out, work, cache, files)
        command = sandbox.bundle(work, cache, environment)
        said = await _run([*command, first])
        made = work / "out" / "module.js"
        if not made.exists():
            raise InvalidArgument(f"code: {_reason(said)}")
        if made.stat().st_size > config.max_code * 4:  # its map holds all sources once more
            raise TooLarge("the function with all that it imports is too large")
        text = await asyncio.to_thread(made.read_text, "utf-8")
    module = _named(text)
    if len(module) > config.max_code * 2:
        raise TooLarge(f"the function with all that it imports has more than {config.max_code} B")
    return module


def _check(config: Config, files: Mapping[str, str]) -> None:
    if len(files) > _MOST_FILES or sum(map(len, files.values())) > config.max_code:
        raise TooLarge(f"files: at most {_MOST_FILES}, and {config.max_code} bytes in all")
    for place, name in enumerate(files):
        if not _PATH.fullmatch(name) or ".." in PurePosixPath(name).parts:
            raise InvalidArgument(f"files: number {place + 1} has a name that is not taken")


def _entry(files: Mapping[str, str]) -> str:
    for name in _ENTRIES:
        if name in files:
            return name
    raise InvalidArgument("files: one of them has to be index.ts or index.js")


@asynccontextmanager
async def _folder() -> AsyncGenerator[Path]:
    work = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="fluxbase-"))
    try:
        yield work
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


def _lay_out(work: Path, cache: Path, files: Mapping[str, str]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = work / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    (work / "out").mkdir()
    # Inside it is nobody who reads, and who writes to these two alone.
    for folder in (work, work / "in"):
        folder.chmod(_READABLE)


async def _run(command: list[str]) -> str:
    child = await spawn(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    try:
        async with asyncio.timeout(_SECONDS):
            said, _ = await child.communicate()
    except TimeoutError:
        raise HandlerFailed(f"the code was not bundled within {_SECONDS:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return said.decode(errors="replace")


def _reason(said: str) -> str:
    """Return what is wrong with the code, without the paths of this machine."""
    text = _COLOUR.sub("", said).strip()
    text = re.sub(r"(file://)?/(\S+/)?in/", "", text)
    text = text.removeprefix("error: ")
    return " ".join(text.split())[:_SHOWN] or "it cannot be bundled"


def _named(module: str) -> str:
    """Give the sources of a module's map names of their own, by which errors call them."""
    code, mark, encoded = module.rpartition(_MAP)
    if not mark:
        return module
    found: dict[str, Any] = orjson.loads(base64.b64decode(encoded.strip()))
    found["sources"] = [f"file:///{_short(name)}" for name in found.get("sources", [])]
    found.pop("sourcesContent", None)
    again = base64.b64encode(orjson.dumps(found)).decode()
    return f"{code}{mark}{again}\n"


def _short(source: str) -> str:
    name = source.rpartition("/in/")[2]
    return re.sub(r"^(\.\./)+", "", name).removeprefix("in/").lstrip("/")


def network_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment says how packages are reached, and nothing else of it."""
    return {name: value for name, value in environment.items() if name.upper() in _REACH}
