"""What load balancers and monitors ask; it must not need a caller's key or touch user data."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import JSONResponse, Response

from fluxbase import __version__
from fluxbase.errors import FluxbaseError, Unauthenticated
from fluxbase.mcp.wire import MODERN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from starlette.requests import Request

    from fluxbase.http.gate import Gate
    from fluxbase.observe import Observer

_METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Health:
    """The answers of `/livez`, `/readyz`, `/metrics` and the endpoint's own `/health`.

    `checks` returns what readiness depends on, each with `ok` and, for people with a service key
    or on the machine itself, details. `text` returns the metrics where they are more than this
    process counts.
    """

    checks: Callable[[], Awaitable[Mapping[str, Mapping[str, Any]]]]
    observer: Observer
    gate: Gate
    allow_from: tuple[IPv4Network | IPv6Network, ...]
    draining: bool = field(default=False)
    text: Callable[[], Awaitable[bytes]] | None = None

    async def live(self, _request: Request) -> Response:
        """Say that the process answers; nothing else is asked."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Say whether requests should come here; `?verbose` tells each check."""
        checks = await self.checks()
        good = not self.draining and all(check["ok"] for check in checks.values())
        body: dict[str, Any] = {"status": "ready" if good else "not ready"}
        if self.draining:
            body["draining"] = True
        if "verbose" in request.query_params:
            try:
                await self._trusted(request)
            except FluxbaseError as error:
                return _refused(error, self.gate)
            body["checks"] = checks
        return JSONResponse(body, 200 if good else 503, headers=None if good else _RETRY)

    async def health(self, _request: Request) -> Response:
        """Say how the endpoint is and what it speaks, without credentials."""
        checks = await self.checks()
        good = not self.draining and all(check["ok"] for check in checks.values())
        body = {
            "status": "healthy" if good else "unhealthy",
            "protocolVersion": MODERN[-1],
            "serverVersion": __version__,
        }
        return JSONResponse(body, 200 if good else 503, headers=None if good else _RETRY)

    async def metrics(self, request: Request) -> Response:
        """Return the metrics to who may read them."""
        try:
            await self._trusted(request)
        except FluxbaseError as error:
            return _refused(error, self.gate)
        text = await self.text() if self.text else self.observer.text()
        return Response(text, media_type=_METRICS_TYPE)

    async def _trusted(self, request: Request) -> None:
        """Let through the addresses of `metrics.allow_from` and service keys.

        Raises:
            Unauthenticated: it is neither.
        """
        remote = request.client.host if request.client else None
        # Behind a proxy that is not trusted everybody seems to be the proxy.
        forwarded = _FORWARDED & {name for name, _ in request.scope["headers"]}
        if not forwarded and _is_among(remote, self.allow_from):
            return
        who, _ = await self.gate.admit(request.scope["headers"], remote, "")
        if not who.is_service:
            raise Unauthenticated("a service key is required")


_FORWARDED: Final = {b"forwarded", b"x-forwarded-for"}
_RETRY: Final = {"retry-after": "1"}


def _refused(error: FluxbaseError, gate: Gate) -> Response:
    headers = {k.decode(): v.decode() for k, v in gate.refusal_headers(error, ())}
    return JSONResponse({"error": error.as_dict()}, error.status, headers=headers)


def _is_among(remote: str | None, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(remote or "")
    except ValueError:  # what a proxy forwards as an address need not be one
        return False
    return any(address in network for network in networks)
