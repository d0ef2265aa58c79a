"""A relay between a client and a server that notes what passes, and can cut a connection once."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


class Relayed:
    """What passed: `heard` came from the server; it cuts after so many bytes of the client's."""

    def __init__(self, target: int, cut_after: int | None = None) -> None:
        self.target = target
        self.heard = bytearray()
        self.cuts = 0
        self._left = cut_after

    def cuts_now(self, size: int) -> bool:
        if self._left is None:
            return False
        self._left -= size
        if self._left > 0:
            return False
        self._left = None
        self.cuts += 1
        return True


@contextmanager
def relay(target: int, cut_after: int | None = None) -> Generator[tuple[int, Relayed]]:
    """Yield a port that leads to another port of this machine, and what passes."""
    passed = Relayed(target, cut_after)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", passed.target)) as far:
                back = threading.Thread(target=self.back, args=(far,))
                back.start()
                self.forth(far)
                back.join()

        def forth(self, far: socket.socket) -> None:
            with suppress(OSError):
                while data := self.request.recv(65_536):
                    if passed.cuts_now(len(data)):
                        # Closing alone would wait for the other thread, which reads.
                        far.shutdown(socket.SHUT_RDWR)
                        self.request.shutdown(socket.SHUT_RDWR)
                        return
                    far.sendall(data)
                far.shutdown(socket.SHUT_WR)

        def back(self, far: socket.socket) -> None:
            with suppress(OSError):
                while data := far.recv(65_536):
                    passed.heard += data
                    self.request.sendall(data)
                self.request.shutdown(socket.SHUT_WR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], passed
        server.shutdown()
