"""Which operating-system account runs Postgres, and what it can reach; it starts no server."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PROBE_SECONDS = 60
_KEPT_VARIABLES = ("PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Account:
    """The account Postgres runs as; `dropped` when root hands the work to somebody else."""

    uid: int
    gid: int
    dropped: bool

    def give(self, path: Path) -> None:
        """Hand a file or directory which we made to the account."""
        if self.dropped:
            os.chown(path, self.uid, self.gid)

    def can_enter(self, directory: Path) -> bool:
        """Whether the account can walk to a directory: asked of the kernel, so ACLs count."""
        return run(self, ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(directory)]).returncode == 0


OURSELVES = Account(os.geteuid(), os.getegid(), dropped=False)


def choose(data: Path) -> Account:
    """Return ourselves or, for root (as which Postgres refuses to run), another account."""
    if os.geteuid() != 0:
        return OURSELVES
    # A cluster can only be served by its owner, whoever that was when it was made.
    if (data / "PG_VERSION").exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid, dropped=True)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, dropped=True)
    raise ConfigError(
        "Postgres does not run as root, and there is no user `postgres` or `nobody` to run it as.",
        hint="Create a user called postgres, start the server as an ordinary user, or set "
        "`database.url`.",
    )


def environment() -> dict[str, str]:
    """Return the few variables Postgres needs: ours may hold secrets and it runs users' SQL."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {"LC_ALL": "C"}


def run(account: Account, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a short command as the account; a command which cannot be run gives code 126."""
    user, group, groups = (
        (account.uid, account.gid, list[int]()) if account.dropped else (None, None, None)
    )
    try:
        return subprocess.run(  # noqa: S603 - our own words and paths, no shell
            command,
            user=user,
            group=group,
            extra_groups=groups,
            cwd="/",
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PROBE_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return subprocess.CompletedProcess(list(command), 126, "", type(error).__name__)
