"""The whole HTTP surface as one list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from fluxbase.errors import UnknownResource
from fluxbase.http.exchange import Exchange

_ALLOWED_HEADERS = [
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Last-Event-ID",
    "Mcp-Method",
    "Mcp-Name",
    "Mcp-Protocol-Version",
    "Mcp-Session-Id",
    "Range",
    "Tus-Resumable",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "X-Client-Key",
    "X-Service-Key",
]
_EXPOSED_HEADERS = [
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "Mcp-Session-Id",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Offset",
    "X-Execution-Id",
    "X-Request-Id",
]

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from fluxbase.http.health import Health
    from fluxbase.http.mcp import McpEndpoint
    from fluxbase.http.rest import RestEndpoint


def routes(
    base_path: str,
    endpoint: McpEndpoint | None,
    tools: RestEndpoint,
    health: Health,
    login: list[Route],
    rooms: list[Route],
) -> list[Route]:
    """Return every route; without an endpoint (`mcp.enabled: false`) its paths are unknown."""
    surface = [
        Route("/livez", health.live, methods=["GET"]),
        Route("/readyz", health.ready, methods=["GET"]),
        Route("/metrics", health.metrics, methods=["GET"]),
    ]
    surface += rooms
    if endpoint is not None:
        surface[:0] = [
            Route(base_path, endpoint),
            Route(f"{base_path}/health", health.health, methods=["GET"]),
            *tools.routes(),
            *login,
        ]
    return surface


def cross_origin(origins: tuple[str, ...]) -> list[Middleware]:
    """Return what lets pages of the allowed origins call from a browser; nothing without any."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_ALLOWED_HEADERS,
            expose_headers=_EXPOSED_HEADERS,
            max_age=600,
        )
    ]


def application(surface: list[Route], origins: tuple[str, ...]) -> Starlette:
    """Return what serves all routes, for pages of some origins too."""
    app = Starlette(
        routes=surface,
        middleware=cross_origin(origins),
        exception_handlers={404: not_found, 405: not_allowed},
    )
    # A redirect to /mcp would make clients send their key again, maybe without TLS.
    app.router.redirect_slashes = False
    return app


class ShortCut:
    """Hands the endpoint its requests directly: the framework's layers cost as much as a query.

    The endpoint answers every method and catches every error by itself. On a connection of our own
    server it answers past everything in between: that is only the host guard, which has checked
    the request by then, and whose headers the endpoint sends itself.
    """

    def __init__(self, base_path: str, endpoint: McpEndpoint, app: ASGIApp) -> None:
        self._base_path = base_path
        self._endpoint = endpoint
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to the endpoint or to the other routes."""
        if scope["type"] == "http" and scope["path"] == self._base_path:
            exchange = getattr(receive, "__self__", None)
            if isinstance(exchange, Exchange) and scope["method"] != "HEAD":
                await self._endpoint.answer_on(exchange, scope)
            else:
                await self._endpoint(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def not_found(_request: Request, _error: Exception) -> Response:
    """Answer a path that is not in the list."""
    error = UnknownResource("nothing is served at this path")
    return JSONResponse({"error": error.as_dict()}, 404)


async def not_allowed(_request: Request, refused: Exception) -> Response:
    """Answer a method that a path does not have."""
    error = UnknownResource("this method is not answered at this path")
    headers = refused.headers if isinstance(refused, HTTPException) else None
    return JSONResponse({"error": error.as_dict()}, 405, headers=headers)
