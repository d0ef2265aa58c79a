"""Puts the login for assistants before the server; it must not know what a page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fluxbase.http.gate import Login
from fluxbase.http.oauth.browser import Browser
from fluxbase.http.oauth.documents import Documents
from fluxbase.http.oauth.endpoints import Endpoints
from fluxbase.http.oauth.pages import Pages

if TYPE_CHECKING:
    from starlette.routing import Route

    from fluxbase.limits.rate import RateLimiter
    from fluxbase.oauth.service import Service


def login_routes(service: Service, limiter: RateLimiter) -> list[Route]:
    """Return every route of the authorization server."""
    pages = Pages(service.issuer, secure=service.is_secure)
    return [
        *Documents(service).routes(),
        *Endpoints(service, limiter).routes(),
        *Browser(service, limiter, pages).routes(),
    ]


def login_hosts(service: Service | None) -> tuple[str, ...]:
    """Return the host by which people reach the login: it has to be answered."""
    name = urlsplit(service.issuer).hostname if service else None
    return (name,) if name else ()


def way_in(service: Service | None) -> Login | None:
    """Return what a refused assistant is told."""
    if service is None:
        return None
    metadata = f"{service.issuer}/.well-known/oauth-protected-resource{service.base_path}"
    return Login(metadata, service.scopes)
