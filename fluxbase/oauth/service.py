"""The authorization server as a whole, for whoever serves it; it must not know HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from fluxbase.egress.fetch import Egress
from fluxbase.oauth.bearer import Bearers
from fluxbase.oauth.browsers import Browsers
from fluxbase.oauth.clients import Clients
from fluxbase.oauth.grants import Grants
from fluxbase.oauth.reach import tables
from fluxbase.oauth.tokens import AccessTokens
from fluxbase.oauth.users import Users

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fluxbase.auth.pepper import Peppers
    from fluxbase.config import Config
    from fluxbase.db.database import Database
    from fluxbase.oauth.users import User


@dataclass(frozen=True, slots=True)
class Service:
    """Its parts, and what it offers."""

    issuer: str
    resource: str
    base_path: str
    scopes: tuple[str, ...]
    registration: bool
    users: Users
    clients: Clients
    grants: Grants
    tokens: AccessTokens
    bearers: Bearers
    browsers: Browsers
    reach: Callable[[User, tuple[str, ...]], Awaitable[list[str]]]

    @property
    def is_secure(self) -> bool:
        """True when browsers reach it by https."""
        return self.issuer.startswith("https://")


def service(config: Config, database: Database, peppers: Peppers) -> Service | None:
    """Return the authorization server of a configuration; `None` when it is not enabled."""
    oauth = config.auth.oauth
    if not oauth.enabled or oauth.issuer is None:
        return None
    base = config.mcp.base_path
    resource = f"{oauth.issuer}{base}"
    audit_key = peppers.derive("audit")
    tokens = AccessTokens(
        peppers,
        issuer=oauth.issuer,
        resource=resource,
        lifetime=round(oauth.access_token_lifetime),
    )
    return Service(
        issuer=oauth.issuer,
        resource=resource,
        base_path=base,
        scopes=oauth.scopes,
        registration=oauth.registration,
        users=Users(database, audit_key),
        clients=Clients(database, peppers, Egress(config.egress.allow, config.egress.ca_file)),
        grants=Grants(database, tokens, audit_key, oauth.refresh_token_lifetime),
        tokens=tokens,
        bearers=Bearers(database, tokens, live=config.auth.key_cache),
        browsers=Browsers(database, peppers),
        reach=partial(tables, database),
    )
