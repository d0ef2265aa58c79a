"""Opens the door for a server with what the configuration says of it; it must not build one."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from fluxbase.http import server as door
from fluxbase.http.protocol import ProtocolLimits

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from fluxbase.app.server import Server
    from fluxbase.config import Config


async def open_to(
    server: Server,
    listener: socket.socket,
    *,
    on_ready: Callable[[], Awaitable[None] | None],
    on_reload: Callable[[], None],
) -> None:
    """Serve until a signal, then drain."""
    config = server.config
    settle()
    await door.serve(
        server,
        sockets=[listener],
        on_ready=on_ready,
        on_drain=server.drain,
        on_reload=on_reload,
        limits=_limits(config),
        drain_timeout=config.server.drain_timeout,
        keep_alive=max(1, round(config.server.keep_alive)),
        trusted_proxies=tuple(str(network) for network in config.server.trusted_proxies),
    )


def settle() -> None:
    """Let the collector pass over what a process has when its work begins.

    That stays for good: collections that walk it cost more than all they find.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _limits(config: Config) -> ProtocolLimits:
    server = config.server
    return ProtocolLimits(
        header_timeout=server.header_timeout,
        max_header_bytes=server.max_header_bytes,
        max_headers=server.max_headers,
        max_connections_per_ip=server.max_connections_per_ip,
    )
