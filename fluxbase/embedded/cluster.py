"""Makes a data directory with initdb, whole or not at all, and refuses one which does not fit."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fluxbase.embedded import child
from fluxbase.embedded.endpoint import SUPERUSER
from fluxbase.embedded.log import Log
from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from fluxbase.embedded.account import Account
    from fluxbase.embedded.binaries import Binaries

_BUILTIN_LOCALE_SINCE = 17


def is_made(data: Path, binaries: Binaries) -> bool:
    """Whether there is a cluster these programs can serve; anything else there is an error."""
    try:
        version = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        if data.is_dir() and any(data.iterdir()):
            raise ConfigError(
                f"The directory {data} is not empty, and is not a Postgres data directory.",
                hint="Set `database.embedded.data_dir` to an empty or a new directory.",
            ) from None
        return False
    if version != str(binaries.major):
        raise ConfigError(
            f"The data in {data} was made by Postgres {version}; the programs in "
            f"{binaries.bin_dir} are Postgres {binaries.major} and cannot read it.",
            hint=f"Set `database.embedded.bin_dir` to a Postgres {version}, or dump the data with "
            f"that version and restore it into a new `database.embedded.data_dir`.",
        )
    return True


async def make(
    data: Path, account: Account, binaries: Binaries, password: str, log_path: Path
) -> None:
    """Run initdb beside `data` and rename the result: a killed initdb leaves no half cluster."""
    await asyncio.to_thread(_sweep, data)
    stage = await asyncio.to_thread(_stage, data, account, password)
    log = Log.open(log_path)
    try:
        process = child.spawn(account, _command(stage, binaries), log.fd)
        try:
            code = await child.wait(process)
        except asyncio.CancelledError:
            process.kill()
            process.wait()
            raise
        if code != 0:
            raise ConfigError("initdb could not make the database.", hint=log.complaint(password))
        await asyncio.to_thread(_publish, stage / "data", data)
    finally:
        log.close()
        await asyncio.to_thread(shutil.rmtree, stage, ignore_errors=True)


def _command(stage: Path, binaries: Binaries) -> list[str]:
    provider = ["--locale-provider=builtin"] if binaries.major >= _BUILTIN_LOCALE_SINCE else []
    return [
        binaries.program("initdb"),
        *("-D", str(stage / "data"), "-U", SUPERUSER, "-E", "UTF8", "--auth=scram-sha-256"),
        f"--pwfile={stage / 'pwfile'}",
        *provider,
        "--locale=C.UTF-8",
    ]


def _prefix(data: Path) -> str:
    return f".{data.name}.initdb-"


def _sweep(data: Path) -> None:
    """Remove what a killed process left; the lock says that nobody is at work there."""
    if data.parent.is_dir():
        for left in data.parent.iterdir():
            if left.name.startswith(_prefix(data)):
                shutil.rmtree(left, ignore_errors=True)


def _stage(data: Path, account: Account, password: str) -> Path:
    try:
        data.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=_prefix(data), dir=data.parent))
    except OSError as error:
        raise ConfigError(
            f"The directory {data.parent} cannot be written to ({error.strerror}).",
            hint="Choose another `database.embedded.data_dir`.",
        ) from None
    pwfile = stage / "pwfile"
    pwfile.touch(mode=0o600)
    pwfile.write_text(password + "\n")
    (stage / "data").mkdir(mode=0o700)
    for path in (pwfile, stage / "data", stage):
        account.give(path)
    return stage


def _publish(made: Path, data: Path) -> None:
    try:
        made.rename(data)
    except OSError as error:
        raise ConfigError(
            f"The new database cannot be put in {data} ({error.strerror}).",
            hint="If that is a mount point, set `database.embedded.data_dir` to a directory "
            "inside of it.",
        ) from None
    fd = os.open(data.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
