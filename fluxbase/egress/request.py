"""Sends a request of a function to an address outside; it must not know which hosts are allowed.

Only https, only to public addresses unless the configuration says otherwise, to the very address
that was looked at, without redirects, within a size and a time.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp

from fluxbase.egress.fetch import Resolver, Unreachable, is_literal

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbase.egress.addresses import Network

_SECONDS: Final = 30.0
_CONNECTIONS: Final = 64
_OF_THE_WAY: Final = frozenset(
    {"content-encoding", "content-length", "transfer-encoding", "connection"}
)


class Outbound:
    """The way out of functions, with its connections."""

    def __init__(self, allowed: tuple[Network, ...], ca_file: Path | None, most_bytes: int) -> None:
        self._allowed = allowed
        self._ca_file = ca_file
        self._most = most_bytes
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return the status, headers and body of what an address answers; redirects are answers.

        Raises:
            Unreachable: it cannot be had.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or is_literal(parts.hostname):
            raise Unreachable("fetch: only https addresses with a host name are fetched")
        if parts.username is not None or parts.password is not None:
            raise Unreachable("fetch: an address holds no password; send a header")
        try:
            async with self._open().request(
                method, url, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                found = await self._read(answer)
                kept = [
                    (name, value)
                    for name, value in answer.headers.items()
                    if name.lower() not in _OF_THE_WAY
                ]
                return answer.status, kept, found
        except (aiohttp.ClientError, TimeoutError, OSError, ssl.SSLError, ValueError) as error:
            raise Unreachable("fetch: the address does not answer as it should") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            tls = ssl.create_default_context(cafile=str(self._ca_file) if self._ca_file else None)
            connector = aiohttp.TCPConnector(
                resolver=Resolver(self._allowed), ssl=tls, use_dns_cache=False, limit=_CONNECTIONS
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=_SECONDS),
                trust_env=False,
                # Two callers share no cookies.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_chunked(65536):
            body += chunk
            if len(body) > self._most:
                raise Unreachable(f"fetch: the answer has more than {self._most} bytes")
        return bytes(body)
