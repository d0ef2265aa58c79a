"""Where the files of one cluster live, and how they are made; it starts nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxbase.embedded.account import Account

SYSTEM_HOME = Path("/var/lib/fluxbase")
_SOCKET_PATH_LIMIT = 100  # The kernel's is 107; the socket's own name takes the rest.


@dataclass(frozen=True, slots=True)
class Places:
    """The configured data directory and what lies beside it."""

    home: Path

    @property
    def data(self) -> Path:
        """The directory which really holds the data; it may move until the lock is held."""
        return Path(os.path.realpath(self.home))

    @property
    def password(self) -> Path:
        """The superuser's password, for the launching user only."""
        return self._beside("password")

    @property
    def log(self) -> Path:
        """What Postgres says."""
        return self._beside("log")

    @property
    def lock(self) -> Path:
        """Who owns the cluster."""
        return self._beside("lock")

    def _beside(self, ending: str) -> Path:
        return self.home.with_name(f"{self.home.name}.{ending}")


def prepare(places: Places) -> None:
    """Make the directory everything lies in, and refuse data which we may not look at."""
    try:
        places.home.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The directory {places.home.parent} cannot be made ({error.strerror}).",
            hint="Choose another `database.embedded.data_dir`.",
        ) from None
    data = places.data
    if places.home.is_symlink() and not data.parent.is_dir():
        raise ConfigError(
            f"The data directory {places.home} is a link to {data}, which is gone.",
            hint="Bring it back, or remove the link to begin with an empty database.",
        )
    if data.is_dir() and not os.access(data, os.R_OK | os.X_OK):
        raise ConfigError(
            f"The data directory {data} belongs to another user.",
            hint="Start the server as that user, or choose another `database.embedded.data_dir`.",
        )


def settle(places: Places, account: Account, notify: Callable[[str], None]) -> Path:
    """Return the real data directory, moved where the account can walk to if it must be."""
    data = places.data
    filled = data.is_dir() and any(data.iterdir())
    if not account.dropped or account.can_enter(data if filled else data.parent):
        return data
    if filled or places.home.is_symlink():
        raise ConfigError(
            f"The user who runs Postgres cannot reach the data in {data}.",
            hint="Move it to a directory that user can reach, or start the server as the user "
            "who made it.",
        )
    return _move(places, data, notify)


def _move(places: Places, data: Path, notify: Callable[[str], None]) -> Path:
    mark = hashlib.sha256(os.fsencode(places.home)).hexdigest()[:12]
    target = SYSTEM_HOME / "data" / f"{places.home.name}-{mark}"
    try:
        public_dir(target.parent)
        if data.is_dir():
            data.rmdir()
        places.home.symlink_to(target)
    except OSError as error:
        raise ConfigError(
            f"The data directory could not be placed in {target} ({error.strerror}).",
            hint="Choose a `database.embedded.data_dir` outside of private directories.",
        ) from None
    notify(
        f"The user who runs Postgres cannot reach {places.home.parent}, so the data is kept in "
        f"{target}, with a link at {places.home}."
    )
    return target


def public_dir(path: Path) -> None:
    """Make a directory below our system home which every account can walk to."""
    for step in (SYSTEM_HOME, path):
        if not step.is_dir():
            step.mkdir(parents=True, exist_ok=True)
            step.chmod(0o755)


def read_password(places: Places) -> str:
    """Return the password which the cluster was made with."""
    return places.password.read_text().strip()


def make_password(places: Places) -> str:
    """Make a password, or return the one which a start cut short had made."""
    with contextlib.suppress(FileNotFoundError):
        return read_password(places)
    password = secrets.token_urlsafe(24)
    fd, name = tempfile.mkstemp(prefix=f".{places.password.name}.", dir=places.home.parent)
    with os.fdopen(fd, "w") as file:
        file.write(password + "\n")
        file.flush()
        os.fsync(fd)
    Path(name).rename(places.password)
    return password


def socket_dir(last: str, account: Account) -> str:
    """Make a private directory for the socket, the last one's path if that is ours to take."""
    if last and _reclaimed(Path(last), account):
        return last
    for parent in (Path("/run"), Path("/tmp"), Path(tempfile.gettempdir())):  # noqa: S108 - mkdtemp
        if parent.name == "run" and not account.dropped:
            continue
        with contextlib.suppress(OSError):
            made = Path(tempfile.mkdtemp(prefix="fluxbase-", dir=parent))
            account.give(made)
            if len(str(made)) < _SOCKET_PATH_LIMIT:
                return str(made)
            made.rmdir()
    raise ConfigError("No directory for Postgres' socket could be made in /run or /tmp.")


def _reclaimed(path: Path, account: Account) -> bool:
    if not path.name.startswith("fluxbase-"):
        return False
    try:
        path.mkdir(mode=0o700)
        account.give(path)
    except FileExistsError:
        # Anybody could have made it in /tmp.
        found = path.lstat()
        if found.st_uid != account.uid or found.st_mode & 0o170777 != 0o040700:
            return False
        # Left by a Postgres which was killed; the next would believe a pid which was reused.
        _empty(path)
    except OSError:
        return False
    return True


def remove_socket_dir(path: str) -> None:
    """Remove the socket's directory; a Postgres which died leaves the socket in it."""
    with contextlib.suppress(OSError):
        _empty(Path(path))
        Path(path).rmdir()


def _empty(directory: Path) -> None:
    for left in directory.glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)
