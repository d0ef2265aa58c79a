"""What clients ask directly: tokens, revocation, introspection, registration; knows no page.

Sources: OAuth 2.1 3.2, RFC 7009, RFC 7662, RFC 7591.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote_plus

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fluxbase.errors import FluxbaseError, InvalidMessage, RateLimited
from fluxbase.http.exchange import read_body
from fluxbase.http.oauth.forms import MOST, address_of, read_form
from fluxbase.oauth.errors import OAuthError, invalid_client
from fluxbase.strict_json import loads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from fluxbase.limits.rate import RateLimiter
    from fluxbase.oauth.clients import Client
    from fluxbase.oauth.service import Service

_CALLS: Final = 600  # a minute, from one address: hosted assistants share few of them
_REGISTRATIONS: Final = 10
_PRIVATE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_BASIC: Final = {"WWW-Authenticate": 'Basic realm="fluxbase"'}


class Endpoints:
    """The endpoints of one authorization server."""

    def __init__(self, service: Service, limiter: RateLimiter) -> None:
        self._service = service
        self._limiter = limiter

    def routes(self) -> list[Route]:
        """Return what is served."""
        wanted: list[tuple[str, Callable[[Request], Awaitable[Any]]]] = [
            ("/oauth/token", self._token),
            ("/oauth/revoke", self._revoke),
            ("/oauth/introspect", self._introspect),
        ]
        if self._service.registration:
            wanted.append(("/oauth/register", self._register))
        return [Route(path, self._answered(work), methods=["POST"]) for path, work in wanted]

    def _answered(
        self, work: Callable[[Request], Awaitable[Any]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                await self._limiter.count(f"oauth/{address_of(request)}", _CALLS)
                told = await work(request)
            except FluxbaseError as error:
                return _refusal(error)
            if isinstance(told, Response):
                return told
            return JSONResponse(told, headers=_PRIVATE)

        return answer

    async def _token(self, request: Request) -> dict[str, Any]:
        form = await read_form(request)
        client = await self._client(request, form)
        kind = form.get("grant_type")
        if kind == "authorization_code":
            return await self._service.grants.redeem(client, form)
        if kind == "refresh_token":
            return await self._service.grants.refresh(client, form)
        raise OAuthError("unsupported_grant_type", "authorization_code and refresh_token are known")

    async def _revoke(self, request: Request) -> Response:
        form = await read_form(request)
        client = await self._client(request, form)
        await self._service.grants.revoke(client, form.get("token", ""))
        return Response(status_code=200, headers=_PRIVATE)

    async def _introspect(self, request: Request) -> dict[str, Any]:
        form = await read_form(request)
        client = await self._client(request, form)
        if client.secret_mac is None:  # who cannot prove who it is may not ask
            raise invalid_client()
        return await self._service.grants.introspect(form.get("token", ""), client.id)

    async def _register(self, request: Request) -> Response:
        await self._limiter.count(f"register/{address_of(request)}", _REGISTRATIONS)
        try:
            metadata = loads(await read_body(request.receive, MOST))
        except InvalidMessage as error:
            raise OAuthError("invalid_client_metadata", error.message) from None
        if not isinstance(metadata, dict):
            raise OAuthError("invalid_client_metadata", "the body must be a JSON object")
        told = await self._service.clients.register(cast("dict[str, Any]", metadata), by="itself")
        return JSONResponse(told, 201, dict(_PRIVATE))

    async def _client(self, request: Request, form: Mapping[str, str]) -> Client:
        """Return the client that proved who it is, in one way and not in two."""
        header = request.headers.get("authorization")
        if header is None:
            return await self._service.clients.authenticate(
                form.get("client_id", ""), form.get("client_secret")
            )
        client_id, secret = _basic(header)
        if "client_secret" in form or form.get("client_id", client_id) != client_id:
            raise OAuthError("invalid_request", "the client is named in two ways that differ")
        # Some libraries send public clients so, with an empty secret.
        return await self._service.clients.authenticate(client_id, secret or None)


def _basic(header: str) -> tuple[str, str]:
    """Return id and secret; RFC 6749 2.3.1 has both percent-encoded within base64."""
    scheme, _, rest = header.partition(" ")
    try:
        text = base64.b64decode(rest.strip(), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise invalid_client() from None
    client_id, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise invalid_client()
    return unquote_plus(client_id), unquote_plus(secret)


def _refusal(error: FluxbaseError) -> Response:
    headers = dict(_PRIVATE)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, OAuthError):
        code, status = error.error, error.http_status
        if status == 401:
            headers |= _BASIC
    elif isinstance(error, RateLimited):
        code, status = "slow_down", 429
    else:
        code, status = "server_error" if error.status >= 500 else "invalid_request", error.status
    return JSONResponse({"error": code, "error_description": error.message}, status, headers)
