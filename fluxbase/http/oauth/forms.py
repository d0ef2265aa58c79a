"""Reads what browsers and clients send as forms; it must not know what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbase.http.exchange import read_body
from fluxbase.oauth.errors import BadRequest
from fluxbase.oauth.requests import parameters

if TYPE_CHECKING:
    from starlette.requests import Request

MOST: Final = 65_536
_FORM: Final = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form, each of which comes once.

    Raises:
        BadRequest: it is no form, or malformed.
        TooLarge: it is too large.
    """
    return parameters(await read_text(request))


async def read_text(request: Request) -> str:
    """Return a form as it came.

    Raises:
        BadRequest: it is no form.
        TooLarge: it is too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise BadRequest("invalid_request", f"the body must be {_FORM}")
    body = await read_body(request.receive, MOST)
    if not body.isascii():
        raise BadRequest("invalid_request", "the body must be percent-encoded")
    return body.decode("ascii")


def address_of(request: Request) -> str:
    """Return where a request is from, as far as is known."""
    return request.client.host if request.client else "unknown"
