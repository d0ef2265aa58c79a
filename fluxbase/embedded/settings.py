"""The settings Postgres is started with; it knows nothing of files or processes."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from fluxbase.embedded.endpoint import LOOPBACK
from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_SMALL_SHM_BYTES = 256 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
# The launcher tells these to clients, so it must be the one who sets them.
_OURS = frozenset({"port", "unix_socket_directories", "data_directory"})


def check(extra: Mapping[str, str]) -> None:
    """Refuse settings which cannot be passed on."""
    for name, value in extra.items():
        if _NAME.fullmatch(name) is None or "\0" in value:
            raise ConfigError(f"`{name}` in `database.embedded.settings` is not a setting's name.")
        if name.lower() in _OURS:
            raise ConfigError(f"`{name}` cannot be set in `database.embedded.settings`.")


def options(port: int, socket_dir: str, extra: Mapping[str, str]) -> list[str]:
    """Return the command-line options: ours, with the caller's laid over them."""
    chosen = {
        "listen_addresses": LOOPBACK,
        "unix_socket_permissions": "0700",
        "client_connection_check_interval": "1s",
        "password_encryption": "scram-sha-256",
        # Statements and parameters can hold secrets; the log must not.
        "log_min_error_statement": "panic",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "wal_level": "logical",
        "shared_preload_libraries": "",
        "max_connections": "100",
        "shared_buffers": "128MB",
    }
    if _shm_is_small():
        chosen["dynamic_shared_memory_type"] = "mmap"
    chosen |= {name.lower(): value for name, value in extra.items()}
    chosen |= {"port": str(port), "unix_socket_directories": socket_dir}
    return [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]


def _shm_is_small() -> bool:
    """Whether parallel queries would run out of /dev/shm: containers get 64 MB."""
    if sys.platform != "linux":
        return False
    try:
        shm = os.statvfs("/dev/shm")  # noqa: S108 - measured, not written to
    except OSError:
        return True
    return shm.f_blocks * shm.f_frsize < _SMALL_SHM_BYTES
