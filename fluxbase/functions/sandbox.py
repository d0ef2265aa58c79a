"""Knows how Deno is started where it can reach nothing; it must not know what it runs.

Two walls. Bubblewrap: namespaces of its own for files, processes and the network, in which there
are only Deno, the libraries it is linked with and `runner.js`. Deno: no permission at all; alone it
still reads files by `import ... with {type: "text"}`, which is why it is only the second wall.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.config.functions import Functions as Config

RUNNER: Final = Path(__file__).with_name("runner.js")
_LIBRARY: Final = re.compile(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)")
_PROBE: Final = 10.0  # seconds
_FILES: Final = 256
_FILE_SIZE: Final = 16 << 20
_ADDRESSES: Final = 64 << 30  # V8 reserves much of which it touches little
_BUNDLING: Final = 2 << 30  # of memory
_TMP: Final = "/tmp"  # noqa: S108 - the sandbox's own
_NOWHERE: Final = "/dev/null/deno"  # keeps nothing there
_QUIET: Final = {"NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1", "DENO_DIR": _NOWHERE}
_NETWORK: Final = ("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl/certs")
_CLOSED: Final = (
    "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534", "--as-pid-1",
    "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "deno",
    "--size", str(_FILE_SIZE), "--tmpfs", _TMP,
)  # fmt: skip
# Node's modules, which packages of npm use, end Deno where there is no /proc.
_SYSTEM: Final = ("--dev", "/dev", "--proc", "/proc")
# Whoever bundles reads what the code imports: of /proc that would be the environment with all that
# it says of proxies, and some devices never end.
_NO_SYSTEM: Final = ("--dev-bind", "/dev/null", "/dev/null")
_RUN: Final = (
    "run", "--quiet", "--no-prompt", "--no-remote", "--no-npm", "--cached-only", "--no-config",
    "--no-lock", "--no-code-cache",
)  # fmt: skip


class NoSandbox(Unavailable):
    """Functions cannot run on this machine as it is; the hint says what is missing."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The command lines of this machine."""

    deno: str
    bubblewrap: str | None  # none: Deno's own permissions alone
    libraries: tuple[str, ...]

    def run(self, memory: int) -> list[str]:
        """Return the command line of a process that runs functions."""
        heap = f"--v8-flags=--max-old-space-size={memory * 6 // 10 // 1_048_576}"
        limits = _limits(core=0, nofile=_FILES, fsize=_FILE_SIZE, **{"as": _ADDRESSES})
        if self.bubblewrap is None:
            # Nothing else would end it with the server.
            dies = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--"]
            clean = ["/usr/bin/env", "-i", "-C", "/", *_pairs(_QUIET)]
            return [*limits, *dies, *clean, self.deno, *_RUN, heap, str(RUNNER)]
        inside = [
            *self.walls(),
            *_SYSTEM,
            "--ro-bind",
            str(RUNNER),
            "/runner.js",
            "--chdir",
            _TMP,
            "--",
        ]
        return [*limits, *inside, "/deno", *_RUN, heap, "/runner.js"]

    def bundle(self, work: Path, cache: Path, environment: Mapping[str, str]) -> list[str]:
        """Return the command line that makes one module of the files in `work/in`.

        It has the network, for packages; `environment` says how that is reached.
        """
        what = ["bundle", "--quiet", "--no-config", "--no-lock", "--platform", "deno"]
        what += ["--sourcemap=inline", "--packages", "bundle"]
        limits = _limits(core=0, nofile=4096, data=_BUNDLING)
        if self.bubblewrap is None:
            known = {**_QUIET, **environment, "DENO_DIR": str(cache), "HOME": str(work)}
            clean = ["/usr/bin/env", "-i", "-C", str(work / "in"), *_pairs(known)]
            return [*limits, *clean, self.deno, *what, "-o", str(work / "out" / "module.js")]
        walls = self.walls(**environment, DENO_DIR="/cache")
        walls.insert(walls.index("--unshare-all") + 1, "--share-net")
        paths = [value for value in environment.values() if value.startswith("/")]
        for path in {*_NETWORK, *paths}:
            walls += ["--ro-bind-try", path, path]
        walls += [*_NO_SYSTEM, "--bind", str(cache), "/cache", "--ro-bind", str(work / "in"), "/in"]
        walls += ["--bind", str(work / "out"), "/out", "--chdir", "/in", "--"]
        return [*limits, *walls, "/deno", *what, "-o", "/out/module.js"]

    def walls(self, **environment: str) -> list[str]:
        """Return the command that closes Deno in; what Deno is to do comes after it."""
        walls = [self.bubblewrap or "", *_CLOSED, "--ro-bind", self.deno, "/deno"]
        for library in self.libraries:
            walls += ["--ro-bind", library, library]
        for name, value in {**_QUIET, "HOME": _TMP, **environment}.items():
            walls += ["--setenv", name, value]
        return walls


async def find_sandbox(config: Config) -> Sandbox:
    """Return how functions are started here, tried once.

    Raises:
        NoSandbox: they cannot be.
    """
    deno = _deno(config.deno)
    bubblewrap = shutil.which("bwrap") if config.sandbox == "bubblewrap" else None
    if config.sandbox == "bubblewrap" and bubblewrap is None:
        raise NoSandbox(
            "functions cannot run: bubblewrap is not installed",
            hint="apt-get install bubblewrap, or read what `functions.sandbox: deno` means",
        )
    libraries = tuple(_LIBRARY.findall(await _said("ldd", deno))) if bubblewrap else ()
    found = Sandbox(deno, bubblewrap, libraries)
    if bubblewrap is not None:
        said = await _said(*found.walls(), *_SYSTEM, "--", "/deno", "--version")
    else:
        said = await _said(deno, "--version")
    if not said.startswith("deno "):
        raise NoSandbox(
            "functions cannot run: this machine lets no process have namespaces of its own",
            hint="allow user namespaces, or read what `functions.sandbox: deno` means",
        )
    return found


async def spawn(*command: str, **how: Any) -> asyncio.subprocess.Process:
    """Start a child; one that is half started when nobody waits for it any more is killed.

    Cancelled while it starts a child, asyncio may wait for it for ever, or lose it.
    """
    starting = asyncio.ensure_future(asyncio.create_subprocess_exec(*command, **how))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(_give_up)
        raise


def _give_up(starting: asyncio.Task[asyncio.subprocess.Process]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        close(starting.result())


def close(child: asyncio.subprocess.Process) -> None:
    """Kill a child if it still runs, and close the lines to it."""
    transport: Any = getattr(child, "_transport", None)
    if transport is not None:
        transport.close()


def _pairs(environment: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in environment.items()]


def _deno(named: Path | None) -> str:
    beside = Path(sysconfig.get_path("scripts")) / "deno"
    found = named or (beside if beside.exists() else shutil.which("deno"))
    if found is None or not Path(found).exists():
        raise NoSandbox(
            "functions cannot run: Deno is not installed",
            hint="pip install 'fluxbase[functions]', or set functions.deno",
        )
    return str(Path(found).resolve())


async def _said(*command: str) -> str:
    """Return what a program says; nothing when it fails."""
    try:
        child = await spawn(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_PROBE):
            said, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        return ""
    return said.decode(errors="replace") if child.returncode == 0 else ""


def _limits(**most: int) -> list[str]:
    """Return the program that sets limits for what it becomes; a part of every Linux."""
    program = shutil.which("prlimit")
    return [program, *(f"--{k}={v}" for k, v in most.items()), "--"] if program else []
