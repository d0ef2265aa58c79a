"""The keys of the login for assistants; it must not know where values come from."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from fluxbase.config.duration import Duration
from fluxbase.config.section import Network, Seconds, Section
from fluxbase.principal import GRANTABLE


class OAuth(Section):
    """Login for assistants: an OAuth 2.1 authorization server for the users of `auth.users`."""

    enabled: bool = Field(
        default=False, description="Let users log in and grant assistants access (OAuth)."
    )
    issuer: str | None = Field(
        default=None,
        description="The address that people and assistants reach this server at, without a path: "
        "`https://db.example.com`. Needed when enabled; http is for this very machine only.",
    )
    scopes: tuple[str, ...] = Field(
        default=("read:tables", "write:tables", "read:schema"),
        description="Scopes that can be granted at all; a user's own list narrows them.",
    )
    access_token_lifetime: Annotated[Duration, Field(ge=60, le=3600)] = Field(
        default=900.0, description="Life of an access token."
    )
    refresh_token_lifetime: Seconds = Field(
        default=30 * 86400.0, description="Life of a refresh token; each use gives a new one."
    )
    registration: bool = Field(
        default=True, description="Let clients register themselves (RFC 7591)."
    )

    @field_validator("issuer")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.path or parts.query or parts.fragment or "@" in parts.netloc or not parts.hostname:
            raise ValueError("an address such as https://db.example.com, without a path")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts.hostname)):
            raise ValueError("https is needed, save for addresses of this very machine")
        return value.lower()

    @field_validator("scopes")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [scope for scope in value if scope not in GRANTABLE]
        if unknown or not value:
            raise ValueError("scopes that can be granted: " + ", ".join(GRANTABLE))
        return value

    @model_validator(mode="after")
    def _complete(self) -> OAuth:
        if self.enabled and self.issuer is None:
            raise ValueError("issuer is needed when it is enabled")
        return self


class Egress(Section):
    """What the server fetches from addresses that others name, such as clients' documents."""

    allow: tuple[Network, ...] = Field(
        default=(),
        description="Networks that may be spoken to although they are not public, `10.0.0.0/8`.",
    )
    ca_file: Path | None = Field(
        default=None, description="Certificates to trust instead of the system's, as PEM."
    )


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
