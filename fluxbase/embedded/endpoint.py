"""Where a running embedded Postgres can be reached; it does not know how it was started."""

from __future__ import annotations

from dataclasses import dataclass, field

SUPERUSER = "postgres"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address and the superuser's login, as true when it was asked for."""

    socket_dir: str
    port: int
    password: str = field(repr=False)
    owned: bool
    user: str = SUPERUSER
    tcp_host: str = LOOPBACK
