"""Who asks for access: clients that registered, and those that publish a metadata document.

It must not know users or codes. Sources: RFC 7591, dynamic registration;
draft-ietf-oauth-client-id-metadata-document.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from fluxbase.db.single_flight import SingleFlight
from fluxbase.egress.fetch import Unreachable
from fluxbase.errors import InvalidArgument, InvalidMessage
from fluxbase.oauth import redirects
from fluxbase.oauth.errors import OAuthError, invalid_client
from fluxbase.strict_json import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.auth.pepper import Peppers
    from fluxbase.db.database import Database
    from fluxbase.egress.fetch import Egress

METHODS: Final = ("none", "client_secret_basic", "client_secret_post")
_MOST_REGISTERED: Final = 10_000
_MOST_REDIRECTS: Final = 20
_LONGEST_NAME: Final = 100
_DOCUMENT_LIFE: Final = 300.0
_REFUSED_LIFE: Final = 15.0
_FETCHES: Final = 16  # at a time: hosts that let us wait must not take up everything
_DOCUMENTS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Client:
    """One client; `host` is where it is from, as far as that is known for certain."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    auth_method: str = "none"
    secret_mac: bytes | None = field(default=None, repr=False)
    host: str = ""

    def takes(self, uri: str) -> bool:
        """Return whether people may be sent back to `uri`."""
        return any(redirects.matches(known, uri) for known in self.redirect_uris)


class Clients:
    """All clients, by their ids."""

    def __init__(self, database: Database, peppers: Peppers, egress: Egress) -> None:
        self._database = database
        self._key = peppers.derive("oauth client secret")
        self._egress = egress
        self._documents: OrderedDict[str, tuple[float, Client | None]] = OrderedDict()
        self._flights: SingleFlight[Client | None] = SingleFlight()
        self._turns = asyncio.Semaphore(_FETCHES)

    async def find(self, client_id: str) -> Client | None:
        """Return a client; `None` when there is none, or its document cannot be had or is wrong."""
        if client_id.startswith("https://"):
            return await self._by_document(client_id)
        if not 0 < len(client_id) <= 200:
            return None
        rows = await self._database.admin("find_client", id=client_id)
        if not rows:
            return None
        row = rows[0]
        return Client(
            row["id"],
            row["name"],
            tuple(row["redirect_uris"]),
            row["auth_method"],
            row["secret_mac"],
        )

    async def authenticate(self, client_id: str, secret: str | None) -> Client:
        """Return the client that proved to be `client_id`; public ones have nothing to prove.

        Raises:
            OAuthError: it is unknown, or its secret is missing or wrong.
        """
        client = await self.find(client_id)
        if client is None or (secret is None) != (client.secret_mac is None):
            raise invalid_client()
        if secret is not None and not hmac.compare_digest(
            self._mac(client_id, secret), client.secret_mac or b""
        ):
            raise invalid_client()
        return client

    async def register(self, metadata: Mapping[str, Any], *, by: str) -> dict[str, Any]:
        """Keep a client and return what it has to know, its secret among it for this once.

        Raises:
            OAuthError: the metadata is wrong, or there are too many clients.
        """
        method = metadata.get("token_endpoint_auth_method", "client_secret_basic")
        if method not in METHODS:
            raise OAuthError("invalid_client_metadata", "token_endpoint_auth_method is not known")
        uris = _redirect_uris(metadata)
        name = _name(metadata) or redirects.host(uris[0])
        client_id, secret = f"fbc_{secrets.token_urlsafe(16)}", None
        if method != "none":
            secret = f"fbx_{secrets.token_urlsafe(32)}"
        if by == "itself":
            # Who floods the book with clients that nobody uses must not keep others out.
            await self._database.admin("make_room_for_client", most=_MOST_REGISTERED)
        rows = await self._database.admin(
            "add_client",
            id=client_id,
            name=name,
            redirect_uris=list(uris),
            auth_method=method,
            secret_mac=None if secret is None else self._mac(client_id, secret),
            registered_by=by,
            most=_MOST_REGISTERED,
        )
        if not rows:
            raise OAuthError("temporarily_unavailable", "no more clients register now", status=503)
        told: dict[str, Any] = {
            "client_id": client_id,
            "client_id_issued_at": int(time.time()),
            "client_name": name,
            "redirect_uris": list(uris),
            "token_endpoint_auth_method": method,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }
        if secret is not None:
            told |= {"client_secret": secret, "client_secret_expires_at": 0}
        return told

    async def list(self) -> list[dict[str, Any]]:
        """Return every client that is kept, newest first."""
        return [dict(row) for row in await self._database.admin("list_clients")]

    async def delete(self, client_id: str) -> None:
        """Remove a client and end what was granted to it.

        Raises:
            InvalidArgument: there is no such client.
        """
        if not await self._database.admin("delete_client", id=client_id):
            raise InvalidArgument("there is no such client")

    async def _by_document(self, url: str) -> Client | None:
        known = self._documents.get(url)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        if not _is_document_url(url):
            return None
        return await self._flights.ask(url, partial(self._fetch, url))

    async def _fetch(self, url: str) -> Client | None:
        client, life = None, _REFUSED_LIFE
        try:
            async with self._turns:
                client = read_document(url, loads(await self._egress.fetch(url)))
            life = _DOCUMENT_LIFE
        except (Unreachable, InvalidMessage, OAuthError):
            pass  # that is remembered too, for a moment
        self._documents[url] = (time.monotonic() + life, client)
        if len(self._documents) > _DOCUMENTS:
            self._documents.popitem(last=False)
        return client

    def _mac(self, client_id: str, secret: str) -> bytes:
        return hmac.digest(self._key, f"{client_id} {secret}".encode(), "sha256")


def read_document(url: str, document: object) -> Client:
    """Return the client that a metadata document describes; what it says besides is ignored.

    Raises:
        OAuthError: it is not the document of `url`, or names addresses that are not taken.
    """
    if not isinstance(document, dict):
        raise OAuthError("invalid_client_metadata", "the document is not an object")
    document = cast("dict[str, Any]", document)
    if document.get("client_id") != url:
        raise OAuthError("invalid_client_metadata", "the document is another client's")
    if "client_secret" in document:
        raise OAuthError("invalid_client_metadata", "a document that all can read has no secret")
    host = urlsplit(url).hostname or ""
    return Client(url, _name(document) or host, _redirect_uris(document), host=host)


def _is_document_url(url: str) -> bool:
    """Return whether a URL may be a client's id: a plain path, no more and no less."""
    if len(url) > 1000 or not url.isascii() or not url.isprintable():
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = not (parts.query or "#" in url or "@" in parts.netloc or "\\" in url or " " in url)
    dotted = any(part in (".", "..") for part in parts.path.split("/"))
    return plain and not dotted and len(parts.path) > 1 and (port is None or port > 0)


def _redirect_uris(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    given = metadata.get("redirect_uris")
    uris: list[Any] = cast("list[Any]", given) if isinstance(given, list) else []
    if not 0 < len(uris) <= _MOST_REDIRECTS:
        raise OAuthError("invalid_redirect_uri", f"1 to {_MOST_REDIRECTS} redirect_uris are needed")
    if not all(isinstance(uri, str) and redirects.is_safe(uri) for uri in uris):
        raise OAuthError(
            "invalid_redirect_uri",
            "a redirect URI is https, http on this machine, or of the application's own scheme",
        )
    return tuple(uris)


def _name(metadata: Mapping[str, Any]) -> str:
    name = metadata.get("client_name")
    if not isinstance(name, str):
        return ""
    shown = "".join(c for c in name if c.isprintable()).strip()
    return shown[:_LONGEST_NAME]
