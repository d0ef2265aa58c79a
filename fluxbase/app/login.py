"""Puts the login for assistants before the server; it must not know what a page shows.

What the login needs is imported where one is enabled: its libraries are as large as the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fluxbase.http.gate import Login

if TYPE_CHECKING:
    from starlette.routing import Route

    from fluxbase.auth.pepper import Peppers
    from fluxbase.config import Config
    from fluxbase.db.database import Database
    from fluxbase.limits.rate import RateLimiter
    from fluxbase.oauth.service import Service


def open_login(config: Config, database: Database, peppers: Peppers) -> Service | None:
    """Return the authorization server of a configuration; `None` when it is not enabled."""
    if not config.auth.oauth.enabled:
        return None
    from fluxbase.oauth.service import service  # noqa: PLC0415

    return service(config, database, peppers)


def login_routes(service: Service | None, limiter: RateLimiter) -> list[Route]:
    """Return every route of the authorization server."""
    if service is None:
        return []
    from fluxbase.http.oauth.browser import Browser  # noqa: PLC0415
    from fluxbase.http.oauth.documents import Documents  # noqa: PLC0415
    from fluxbase.http.oauth.endpoints import Endpoints  # noqa: PLC0415
    from fluxbase.http.oauth.pages import Pages  # noqa: PLC0415

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
