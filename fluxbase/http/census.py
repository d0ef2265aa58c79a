"""Counts the connections of each peer; it must not know what they are used for."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Census:
    """How many connections each peer has; one for all connections of a server."""

    def __init__(self, *, most: int, per_peer: int, uncapped: Iterable[str]) -> None:
        """Allow `most` in all and `per_peer` of one; `uncapped` ones are proxies: many peers."""
        self._total = most
        self._per_peer = per_peer
        self._uncapped = [ipaddress.ip_network(peer) for peer in uncapped]
        self._counts: dict[str, int] = {}

    def enter(self, host: str, total: int) -> str | None:
        """Return the key to leave with, or None when there are too many already."""
        if total > self._total:
            return None
        peer = host
        if self._uncapped or ":" in host:
            address = ipaddress.ip_address(host)
            if any(address in network for network in self._uncapped):
                return ""
            if address.version == 6:
                peer = str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        count = self._counts.get(peer, 0)
        if count >= self._per_peer:
            return None
        self._counts[peer] = count + 1
        return peer

    def leave(self, peer: str) -> None:
        """Forget one connection, and the peer with its last."""
        count = self._counts.pop(peer, 0)
        if count > 1:
            self._counts[peer] = count - 1


def unmapped(host: str) -> str:
    """Return an IPv4 peer's own address when a socket of both families shows it as IPv6."""
    # ::ffff:192.0.2.1 is such a one; fe80::1%eth0 has a zone.
    host = host.partition("%")[0]
    return host[7:] if host.startswith("::ffff:") and "." in host else host
