"""What an authorization server answers when it refuses; it must not know how it is sent.

Sources: RFC 6749 4.1.2.1 and 5.2, RFC 7591 3.2.2, RFC 8707 2.
"""

from __future__ import annotations

from fluxbase.errors import FluxbaseError


class OAuthError(FluxbaseError):
    """A refusal with the code that the standards give it."""

    code, title, status = "FLX303", "The authorization request is refused", 400

    def __init__(self, error: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.error = error
        self.http_status = status


class BadRequest(OAuthError):
    """What is asked cannot be answered at the client's address: the person has to be told."""


def invalid_client() -> OAuthError:
    """Return the refusal of a client that did not prove who it is."""
    return OAuthError("invalid_client", "the client is unknown or its secret is wrong", status=401)


def invalid_grant() -> OAuthError:
    """Return the refusal of a code or refresh token, which never says why."""
    return OAuthError("invalid_grant", "the code or refresh token is not valid")
