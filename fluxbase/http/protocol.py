"""The guards uvicorn's HTTP parser lacks; it must not know routes, callers or what is served."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fluxbase.http import refusals
from fluxbase.http.census import Census, unmapped
from fluxbase.http.exchange import Exchange
from fluxbase.http.head import Head

if TYPE_CHECKING:
    import asyncio

# A refused sender gets this long to read why before its socket is cut: closing at once while
# bytes are still arriving would reset the connection and lose the answer.
_LINGER = 1.0
# An answer may come before the whole body; this much of the rest is read to keep the connection.
_MAX_UNWANTED_BODY = 65536


@dataclass(frozen=True)
class ProtocolLimits:
    """What one connection may cost before its request reaches the app. Times in seconds."""

    header_timeout: float = 5.0  # from connecting, or the first byte, to the end of the headers
    max_header_bytes: int = 16_384
    max_headers: int = 100
    min_body_rate: int = 500  # bytes per second, measured over each body_grace
    body_grace: float = 5.0
    write_timeout: float = 30.0  # how long a client may leave a full send buffer unread
    max_connections: int = 10_000
    max_connections_per_ip: int = 256  # IPv6 by /64, the smallest block one caller is given
    uncapped_peers: tuple[str, ...] = ()  # addresses or networks of proxies: many callers each


# How far the message being read has come; DEAF is for a connection that is not read any more.
_IDLE, _HEAD, _BODY, _DONE, _DEAF = range(5)


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines, sizes, one Host and a cap per peer.

    All times of a connection share one timer. It is only moved when a deadline comes nearer, so
    a keep-alive connection whose requests arrive whole costs a timer every half minute, not one
    for every request.
    """

    limits: ClassVar[ProtocolLimits]
    census: ClassVar[Census]
    app: Any
    parser: Any  # uvicorn types these without the None they hold at either end
    cycle: Any

    _phase = _IDLE
    _peer: str | None = None
    _running: Exchange | None = None
    # The last target, its path in text and as it came, and its query.
    _target: tuple[bytes, str, bytes, bytes] = (b"", "", b"", b"")
    _head: Head | None = None  # of the last request
    _flaw: bytes | None = None
    _timer: asyncio.TimerHandle | None = None
    _timer_at = _deadline = _write_deadline = inf
    _raw_bytes = _body_bytes = _unwanted = _unsent = 0
    _timed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the peer in, or answer 503 when it has too many connections already."""
        super().connection_made(transport)
        if self.client is not None:
            # A socket that takes both families shows IPv4 peers in their IPv6 form.
            self.client = (unmapped(self.client[0]), self.client[1])
            peer = self.census.enter(self.client[0], len(self.connections))
            if peer is None:
                self._phase = _DEAF
                transport.write(refusals.CROWDED)
                transport.close()
                return
            self._peer = peer
        self._set_deadline(self.loop.time() + self.limits.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the peer out, drop the timer, and stop the work for nobody."""
        if self._peer is not None:
            self.census.leave(self._peer)
        if self._timer is not None:
            self._timer.cancel()
        if self._running is not None and not self._running.response_complete:
            self._running.cut_off()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a message that is not complete afterwards comes under the clock."""
        before = self._phase
        if before == _DEAF:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._ignore_upgrade()
        except httptools.HttpParserError:
            self._refuse(self._flaw or refusals.BAD_REQUEST)
        if self._phase != _DONE:
            self._watch_arrival(before, len(data))

    def pause_writing(self) -> None:
        """Start the clock for a client that does not read its answer."""
        super().pause_writing()
        self._watch_departure()

    def resume_writing(self) -> None:
        """Stop that clock, unless what is left is the last there will be."""
        super().resume_writing()
        if self._phase != _DEAF:
            self._write_deadline = inf

    def on_message_begin(self) -> None:
        """Reset what is kept and counted per message; replaces uvicorn's, which makes a scope."""
        self.url = b""
        self.headers = []
        if self._phase != _HEAD:  # else blank lines came first: their clock goes on
            self._timed = False
        self._phase = _HEAD
        self._raw_bytes = -1

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header as it came; uvicorn would add a trailer to a request being handled."""
        if self._phase == _HEAD:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head as a whole before a task is made for it."""
        limits = self.limits
        if len(self.headers) > limits.max_headers:
            self._stop(refusals.BIG_HEAD)
        head = self._head = Head(self.headers, self._head)
        facts = head.facts
        if facts.size + len(self.url) > limits.max_header_bytes:
            self._stop(refusals.BIG_HEAD)
        if facts.odd_coding:
            self._stop(refusals.BAD_CODING)
        version = self.parser.get_http_version()
        if facts.hosts != 1 and (facts.hosts or version != "1.0"):
            self._stop(refusals.BAD_HOST)
        if version != "1.1":
            self._check_old(version, facts.chunked)
        # httptools drops the body of such a request and would read its bytes as the next one.
        if facts.announces_body and self.parser.should_upgrade():
            self._stop(refusals.BAD_UPGRADE)
        self.expect_100_continue = facts.expects_continue
        self._begin(version, head)
        self._phase = _BODY
        self._timed = False
        self._body_bytes = self._unwanted = 0

    def _check_old(self, version: str, chunked: bool) -> None:
        if version != "1.0":
            self._stop(refusals.BAD_VERSION)
        if chunked:  # HTTP/1.0 has no chunks: someone on the way reads this otherwise
            self._stop(refusals.BAD_CODING)

    def _begin(self, version: str, head: Head) -> None:
        """Make the exchange and run the application on it; replaces uvicorn's."""
        before = self.cycle
        keep_alive = version != "1.0" and self.parser.should_keep_alive()
        cycle = self.cycle = Exchange.of(self, self._scope(version, head), keep_alive=keep_alive)
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def _scope(self, version: str, head: Head) -> Any:
        url = self.url
        if url != self._target[0]:  # a connection mostly asks for one thing
            parsed = httptools.parse_url(url)
            path = unquote(parsed.path.decode("ascii"))
            self._target = (url, path, parsed.path, parsed.query or b"")
        _, path, raw_path, query = self._target
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "method": self.parser.get_method().decode("ascii"),
            "path": self.root_path + path,
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query,
            "headers": head,
            "state": self.app_state.copy(),
        }

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Run the application; replaces uvicorn's, which does not tell the exchange its task."""
        self._running = cycle
        task = cycle.task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_body(self, body: bytes) -> None:
        """Keep and count the body, and how much of it comes after the answer to it."""
        self._body_bytes += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            self._unwanted += len(body)
            if self._unwanted > _MAX_UNWANTED_BODY:
                self._stop(refusals.BAD_REQUEST)
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Stop the clock of the arrival, or start the one of keep-alive."""
        self._phase = _DONE
        self._deadline = inf
        cycle = self.cycle
        if cycle.response_complete:
            self._rest()
            return
        cycle.more_body = False
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Start the next pipelined request or wait for one; replaces uvicorn's timer for that."""
        self.server_state.total_requests += 1
        if self.transport.is_closing() or self._phase == _DEAF:
            self.pipeline.clear()
            self._hang_up()
        else:
            self.flow.resume_reading()
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            elif self._phase == _DONE:
                self._rest()

    def _should_upgrade(self) -> bool:
        return False

    def _stop(self, flaw: bytes) -> None:
        self._flaw = flaw
        raise httptools.HttpParserError

    def _rest(self) -> None:
        self._phase = _IDLE
        self._raw_bytes = 0
        self._timed = False
        self._set_deadline(self.loop.time() + self.timeout_keep_alive)

    def _watch_arrival(self, before: int, size: int) -> None:
        if self._phase == _IDLE and before == _IDLE:
            self._phase = _HEAD  # blank lines only; the parser skips them in silence
        if self._phase == _HEAD:
            # The packet a message begins in may hold others before it, so it is not counted.
            self._raw_bytes = self._raw_bytes + size if self._raw_bytes >= 0 else 0
            if self._raw_bytes > self.limits.max_header_bytes:
                self._refuse(refusals.BIG_HEAD)
        if not self._timed and self._phase in (_HEAD, _BODY):
            self._timed = True
            wait = (self.limits.header_timeout, self.limits.body_grace)[self._phase == _BODY]
            self._set_deadline(self.loop.time() + wait)

    def _set_deadline(self, at: float) -> None:
        self._deadline = at
        self._arm(at)

    def _arm(self, at: float) -> None:
        if at >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self.loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = inf
        # uvloop counts in whole milliseconds and may be one early.
        now = self.loop.time() + 0.002
        if self._write_deadline <= now:
            self._on_unread(now)
        if self._deadline <= now:
            self._on_late(now)
        self._arm(min(self._deadline, self._write_deadline))

    def _on_unread(self, now: float) -> None:
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        wanted = self.limits.min_body_rate * self.limits.write_timeout
        if before - self._unsent >= min(wanted, before) > 0:
            self._write_deadline = now + self.limits.write_timeout
        else:
            self._cut()

    def _on_late(self, now: float) -> None:
        if self._phase == _BODY:
            self._on_body_check(now)
        elif self._phase == _DEAF:
            self._cut()
        elif self._phase == _IDLE:
            self._hang_up()
        elif self.cycle is None or self.cycle.response_complete:
            self._refuse(refusals.SLOW_HEAD)
        else:
            # An earlier request is being answered; a 408 now would be taken for its answer.
            self._deadline = now + self.limits.header_timeout

    def _on_body_check(self, now: float) -> None:
        cycle = self.cycle
        blameless = (
            self.flow.read_paused
            or bool(self.pipeline)
            or (cycle.waiting_for_100_continue and not cycle.response_complete)
        )
        arrived, self._body_bytes = self._body_bytes, 0
        if blameless or arrived >= self.limits.min_body_rate * self.limits.body_grace:
            self._deadline = now + self.limits.body_grace
        else:
            self._refuse(refusals.SLOW_BODY)

    def _watch_departure(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._write_deadline = self.loop.time() + self.limits.write_timeout
        self._arm(self._write_deadline)

    def _ignore_upgrade(self) -> None:
        # The request itself is served; what follows it is in no protocol we speak.
        self.cycle.keep_alive = False
        self._phase = _DEAF
        self._deadline = inf

    def _refuse(self, answer: bytes) -> None:
        cycle: Any = self.cycle
        busy = bool(cycle and not cycle.response_complete)
        mine = self._phase == _BODY and not self.pipeline
        self._phase = _DEAF
        self._deadline = inf
        if busy and not mine:
            return  # an earlier request's answer is on its way; its end hangs up
        if busy:
            cycle.cut_off()
        if mine and (cycle.response_started or cycle.response_complete):
            self._hang_up()
        else:
            self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        self.transport.write(answer)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.flow.resume_reading()
            self._set_deadline(self.loop.time() + _LINGER)
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        self._phase = _DEAF
        self._deadline = inf
        self.transport.close()
        self._watch_departure()

    def _cut(self) -> None:
        self._deadline = self._write_deadline = inf
        self.transport.abort()


def guarded(limits: ProtocolLimits) -> type[GuardedProtocol]:
    """Return the protocol class with these limits, for uvicorn's `Config(http=...)`."""
    most, per_peer = limits.max_connections, limits.max_connections_per_ip
    census = Census(most=most, per_peer=per_peer, uncapped=limits.uncapped_peers)
    bound = {"limits": limits, "census": census}
    return type("GuardedProtocol", (GuardedProtocol,), bound)
