"""Chooses the TCP port; it does not know Postgres."""

from __future__ import annotations

import contextlib
import secrets
import socket

from fluxbase.embedded.endpoint import LOOPBACK
from fluxbase.errors import ConfigError

# Below the range the system gives to outgoing connections, one of which could otherwise sit on
# the port (even a client's own, trying to reconnect) while Postgres restarts.
_LOWEST, _HIGHEST = 15000, 32000
_TRIES = 100


def is_free(port: int) -> bool:
    """Whether Postgres could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            probe.listen(1)
            return True
    return False


def choose(configured: int, last: int) -> int:
    """Return the configured port, or the last one if it is free, or any."""
    if configured:
        if not is_free(configured):
            raise ConfigError(
                f"Another program listens on {LOOPBACK}:{configured}, the port for Postgres.",
                hint="Stop it, or set `database.embedded.port` to another port or to 0.",
            )
        return configured
    if last and is_free(last):
        return last
    for _ in range(_TRIES):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if is_free(port):
            return port
    raise ConfigError(f"No free port between {_LOWEST} and {_HIGHEST} was found for Postgres.")
