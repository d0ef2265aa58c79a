"""Run an ASGI app on uvicorn from bind to drain; it must not know what the app does."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import ipaddress
import logging
import re
import signal
import socket
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from fluxbase.errors import ConfigError
from fluxbase.http.protocol import ProtocolLimits, guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence

    Callback = Callable[[], Awaitable[None] | None]

T = TypeVar("T")

logger = logging.getLogger("fluxbase.http")

_MAX_PORT = 65_535
_LISTEN = "0A"
_PROC = Path("/proc")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on uvloop where installed, on asyncio otherwise."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - not on every platform
    except ImportError:
        from asyncio import new_event_loop  # noqa: PLC0415
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def bind(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Return a bound, not yet listening TCP socket, or raise `ConfigError` naming the address.

    `host` is a name or a literal, IPv6 with or without brackets; `::` takes IPv4 as well.
    Called before anything else starts, so that a taken port costs nothing to find out.
    """
    name = host.removeprefix("[").removesuffix("]")
    address = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    if not 0 <= port <= _MAX_PORT:  # getaddrinfo would take it modulo 65536
        raise ConfigError(f"Cannot listen on {address}: a port is at most {_MAX_PORT}")
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            name or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"Cannot listen on {address}: no such host or port",
            hint="set server.host to an address of this machine, such as 127.0.0.1",
        ) from error
    sock = socket.socket(family, kind, proto)
    try:
        _set_options(sock, reuse_port=reuse_port)
        sock.bind(where)
    except OSError as error:
        sock.close()
        raise _refused(error, address, port) from error
    return sock


def _set_options(sock: socket.socket, *, reuse_port: bool) -> None:
    # Without REUSEADDR a restart waits a minute for the old connections' TIME_WAIT.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setblocking(False)


def _refused(error: OSError, address: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        holder = _holder(port) or "another process holds it"
        return ConfigError(
            f"Cannot listen on {address}: the port is in use",
            hint=f"{holder}; stop it or set another server.port",
        )
    if error.errno == errno.EACCES:
        return ConfigError(
            f"Cannot listen on {address}: not permitted",
            hint="ports below 1024 need CAP_NET_BIND_SERVICE; set a higher server.port",
        )
    return ConfigError(
        f"Cannot listen on {address}: not an address of this machine",
        hint="set server.host to an address of this machine, such as 127.0.0.1",
    )


def _holder(port: int) -> str | None:
    """Name the process that listens on the port, as far as /proc lets this user see."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    if not wanted:
        return None
    for link in _PROC.glob("[0-9]*/fd/*"):
        # Processes come and go, and those of other users may not be read.
        with contextlib.suppress(OSError):
            if str(link.readlink()) in wanted:
                process = link.parents[1]
                command = (process / "comm").read_text(errors="replace").strip()
                return f"process {process.name} ({re.sub(r'[^ -~]', '?', command)}) holds it"
    return None


def _listening_inodes(port: int) -> Generator[str, None, None]:
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


@dataclass(frozen=True)
class _Hooks:
    on_ready: Callback | None
    on_drain: Callback | None
    on_reload: Callback | None
    drain_timeout: float
    drain_notice: float


class _Lifespan(LifespanOn):
    """uvicorn's lifespan, but the app's own error survives instead of a bare exit code."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.failure: BaseException | None = None
        self._app = cast("Any", config).loaded_app
        config.loaded_app = self._remember

    async def _remember(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._app(scope, receive, send)
        except BaseException as error:
            self.failure = error
            raise

    async def startup(self) -> None:
        """Start the app; the wrapper is for the lifespan alone, requests do not pay for it."""
        try:
            await super().startup()
        finally:
            self.config.loaded_app = self._app


class _Server(uvicorn.Server):
    """uvicorn's server with our signals, our order of draining and no re-raised signal."""

    def __init__(self, config: uvicorn.Config, hooks: _Hooks) -> None:
        super().__init__(config)
        self.cancelled = False
        self._hooks = hooks
        self._reload_wanted = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app, listen, then say so; a failed app raises its own error."""
        try:
            await super().startup(sockets)
        except SystemExit:
            failure = getattr(self.lifespan, "failure", None)
            if failure is None:
                raise ConfigError("The application failed to start") from None
            raise failure from None
        except OSError as error:
            await self.lifespan.shutdown()
            raise ConfigError("Cannot listen: the port was taken meanwhile") from error
        if not self.should_exit:
            await _call(self._hooks.on_ready)

    async def main_loop(self) -> None:
        """Wait for the signal to stop; being cancelled counts as one."""
        reloading = asyncio.ensure_future(self._reload_on_demand())
        try:
            await super().main_loop()
        except asyncio.CancelledError:
            self.cancelled = True
        finally:
            reloading.cancel()
            await asyncio.wait((reloading,))

    async def _reload_on_demand(self) -> None:
        # One task for all reloads: two SIGHUPs in a row never run the callback concurrently.
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            try:
                await _call(self._hooks.on_reload)
            except Exception:
                logger.exception("reload failed; the old configuration stays")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Turn readiness off, let requests finish, cancel the rest, then stop the app."""
        await _call(self._hooks.on_drain)
        await asyncio.sleep(self._hooks.drain_notice)
        for server in self.servers:
            server.close()
        try:
            async with asyncio.timeout(self._hooks.drain_timeout):
                await self._idle()
        except TimeoutError:
            await self._cut_off()
        await super().shutdown(sockets)

    async def _idle(self) -> None:
        state = self.server_state
        while (state.connections or state.tasks) and not self.force_exit:
            # Again each time: a connection accepted with the listener's last breath is idle too.
            for connection in list(state.connections):
                connection.shutdown()
            await asyncio.sleep(0.02)

    async def _cut_off(self) -> None:
        # The app's pool closes in the lifespan, so the tasks must be gone before it, not after.
        tasks = list(self.server_state.tasks)
        logger.warning("drain timed out; %d requests are cancelled", len(tasks))
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals in the loop; unlike uvicorn they are not raised again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handled = [signal.SIGTERM, signal.SIGINT]
        for number in handled:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        if self._hooks.on_reload is not None:
            handled.append(signal.SIGHUP)
            loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        try:
            yield
        finally:
            for number in handled:
                loop.remove_signal_handler(number)


async def _call(callback: Callback | None) -> None:
    if callback is None:
        return
    result = callback()
    if inspect.isawaitable(result):
        await result


def _with_proxies(limits: ProtocolLimits, proxies: tuple[str, ...]) -> ProtocolLimits:
    # A proxy's connections are many callers', so the cap per address does not apply to it.
    try:
        for proxy in proxies:
            ipaddress.ip_network(proxy)
    except ValueError:
        raise ConfigError(
            "A trusted proxy is neither an address nor a network",
            hint="write an address such as 10.0.0.5 or a network such as 10.0.0.0/24",
        ) from None
    return replace(limits, uncapped_peers=(*limits.uncapped_peers, *proxies))


async def serve(
    app: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    sockets: Sequence[socket.socket] | None = None,
    limits: ProtocolLimits | None = None,
    drain_timeout: float = 30.0,
    drain_notice: float = 0.0,
    keep_alive: int = 30,
    trusted_proxies: tuple[str, ...] = (),
    reuse_port: bool = False,
    backlog: int = 2048,
    on_ready: Callback | None = None,
    on_drain: Callback | None = None,
    on_reload: Callback | None = None,
) -> None:
    """Serve `app` until SIGTERM, SIGINT or cancellation, then drain and return.

    Order: bind, app start-up, listen, `on_ready`; signal, `on_drain`, `drain_notice` seconds in
    which a balancer can see that readiness is off, stop listening, in-flight requests finish or
    are cancelled after `drain_timeout`, app shutdown. A second SIGINT skips the wait. SIGHUP
    calls `on_reload`, never twice at once. Callbacks may be sync or async. Forwarded headers are
    believed only from `trusted_proxies` (addresses or networks).
    """
    limits = _with_proxies(limits or ProtocolLimits(), trusted_proxies)
    listeners = list(sockets) if sockets else [bind(host, port, reuse_port=reuse_port)]
    config = uvicorn.Config(
        app if not trusted_proxies else ProxyHeadersMiddleware(app, list(trusted_proxies)),
        http=guarded(limits),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        backlog=backlog,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=5,
    )
    config.load()
    config.lifespan_class = _Lifespan
    server = _Server(config, _Hooks(on_ready, on_drain, on_reload, drain_timeout, drain_notice))
    try:
        await server.serve(sockets=listeners)
    finally:
        for listener in listeners:
            listener.close()
    if server.cancelled:
        raise asyncio.CancelledError
