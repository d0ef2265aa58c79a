"""Reads what a client asks for on a person's behalf; it must not know who the person is.

Sources: OAuth 2.1 4.1.1; RFC 7636 (PKCE); RFC 8707 (resource); RFC 9207 (iss).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode

from fluxbase.oauth.errors import BadRequest, OAuthError
from fluxbase.principal import SCOPES

if TYPE_CHECKING:
    from fluxbase.oauth.clients import Client, Clients

OFFLINE: Final = "offline_access"
IDENTITY: Final = frozenset({OFFLINE, "openid", "email", "profile"})
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST: Final = 30
_LONGEST: Final = 8_000
_LONGEST_STATE: Final = 2_000


@dataclass(frozen=True, slots=True)
class Authorization:
    """A request that is in order; `scopes` are those of this server."""

    client: Client
    redirect_uri: str
    state: str | None
    scopes: tuple[str, ...]
    resource: str
    challenge: str
    query: str


def pairs_of(query: str) -> list[tuple[str, str]]:
    """Return the names and values of a query or form, some of which may come more than once.

    Raises:
        BadRequest: it is malformed or too long.
    """
    wrong = BadRequest("invalid_request", "the parameters are malformed, too many or too long")
    if len(query) > _LONGEST:
        raise wrong
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST, errors="strict")
    except ValueError:
        raise wrong from None


def parameters(query: str) -> dict[str, str]:
    """Return the parameters of a query or form.

    Raises:
        BadRequest: it is malformed or too long, or a parameter comes twice.
    """
    pairs = pairs_of(query)
    found = dict(pairs)
    # RFC 6749 3.1: none may be sent twice; `resource` may, but this server has only one.
    if len(found) < len(set(pairs)):
        raise BadRequest("invalid_request", "a parameter is given more than once")
    return found


async def read_authorization(
    query: str, clients: Clients, resource: str, offered: tuple[str, ...]
) -> Authorization:
    """Return the request in a query.

    Raises:
        BadRequest: the client or the address to go back to is not right, so that the person must
            not be sent there.
        Refused: anything else is wrong, which the client is told at its address.
    """
    given = parameters(query)
    client = await clients.find(given.get("client_id", ""))
    if client is None:
        raise BadRequest("invalid_client", "no client of this id is known here")
    uri = given.get("redirect_uri")
    if uri is None and len(client.redirect_uris) == 1:
        uri = client.redirect_uris[0]
    if uri is None or not client.takes(uri):
        raise BadRequest("invalid_request", "the client did not register this address to return to")
    state = given.get("state")
    if state is not None and len(state) > _LONGEST_STATE:
        raise Refused(uri, None, "invalid_request", "state is too long")
    _check(given, uri, state, resource)
    scopes = _scopes(given.get("scope"), offered)
    if not scopes:
        raise Refused(uri, state, "invalid_scope", "none of the scopes is known here")
    return Authorization(client, uri, state, scopes, resource, given["code_challenge"], query)


class Refused(OAuthError):
    """A refusal that goes back to the client, at `redirect_uri`."""

    def __init__(self, redirect_uri: str, state: str | None, error: str, message: str) -> None:
        super().__init__(error, message)
        self.redirect_uri = redirect_uri
        self.state = state


def _check(given: dict[str, str], uri: str, state: str | None, resource: str) -> None:
    if given.get("response_type") != "code":
        raise Refused(uri, state, "unsupported_response_type", "response_type must be code")
    if given.get("code_challenge_method") != "S256":
        raise Refused(uri, state, "invalid_request", "code_challenge_method must be S256")
    if not _CHALLENGE.fullmatch(given.get("code_challenge", "")):
        raise Refused(uri, state, "invalid_request", "code_challenge must be 43 base64url letters")
    if given.get("response_mode", "query") != "query":
        raise Refused(uri, state, "invalid_request", "response_mode must be query")
    if "request" in given or "request_uri" in given:
        raise Refused(uri, state, "request_not_supported", "request objects are not supported")
    if given.get("prompt") == "none":
        raise Refused(uri, state, "interaction_required", "a person has to agree here")
    if not is_resource(given.get("resource"), resource):
        raise Refused(
            uri, state, "invalid_target", "this server issues tokens for its own resource"
        )


def is_resource(asked: str | None, resource: str) -> bool:
    """Return whether a resource indicator means ours; one that is left out does."""
    return asked is None or asked.rstrip("/") == resource.rstrip("/")


def _scopes(text: str | None, offered: tuple[str, ...]) -> tuple[str, ...]:
    words = (text or "").split()
    asked = [word for word in words if word in SCOPES and word in offered]
    # Who asks for nothing of ours, or only to be remembered, is offered what there is.
    if not [word for word in words if word not in IDENTITY]:
        return offered
    return tuple(dict.fromkeys(asked))


def back(uri: str, **fields: str | None) -> str:
    """Return an address with fields added to its query."""
    added = urlencode({name: value for name, value in fields.items() if value is not None})
    return f"{uri}{'&' if '?' in uri else '?'}{added}"
