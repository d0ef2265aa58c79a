"""Which addresses may be spoken to on somebody else's word; it must not know why one speaks.

`is_global` of the standard library lets pass what leads back inside: translated, tunnelled and
mapped addresses. Source: RFC 6890 and its registries.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Network = IPv4Network | IPv6Network
_NEVER: Final = tuple(
    ip_network(text)
    for text in (
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "fec0::/10",
        "::/96",
        "::ffff:0:0/96",
        "192.0.0.0/24",
        "224.0.0.0/4",
        "ff00::/8",
        "100.64.0.0/10",
    )
)


def is_allowed(text: str, allowed: tuple[Network, ...] = ()) -> bool:
    """Return whether an address is public, or in a network that was allowed by name."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if any(address in network for network in allowed):
        return True
    return address.is_global and not any(address in network for network in _NEVER)
