"""Renders the pages that people see; it must not know what they decide.

Nothing runs in them: no script, no foreign style, no frame. What others wrote is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

_POLICY: Final = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    # With no-referrer a browser would also hide from us that a form is from a page of ours.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class Pages:
    """The pages of one issuer."""

    def __init__(self, issuer: str, *, secure: bool) -> None:
        self._issuer = issuer
        self._secure = secure
        # The prefix makes browsers refuse the cookie from any other host and without TLS.
        self.cookie = "__Host-fluxbase" if secure else "fluxbase"
        self.visit = "__Host-fluxbase-visit" if secure else "fluxbase-visit"
        self._templates = Environment(
            loader=PackageLoader("fluxbase.http.oauth"),
            autoescape=select_autoescape(),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._style = self._templates.get_template("style.css").render()

    def show(
        self, name: str, *, status: int = 200, leads_away: bool = False, **values: Any
    ) -> Response:
        """Return a page; `leads_away` when its form ends at a client's address.

        Browsers hold `form-action` against every redirect that follows, also those of the client,
        which nobody here can know.
        """
        text = self._templates.get_template(f"{name}.html").render(issuer=self._issuer, **values)
        policy = _POLICY if leads_away else f"{_POLICY}; form-action 'self'"
        headers = {**_HEADERS, "Content-Security-Policy": policy}
        return HTMLResponse(text, status, headers)

    def fault(self, heading: str, message: str, advice: str, status: int = 400) -> Response:
        """Return a page that says what is wrong."""
        return self.show("fault", status=status, heading=heading, message=message, advice=advice)

    def go(self, address: str) -> Response:
        """Send the browser on, with GET; the address is already in its final form."""
        answer = RedirectResponse("/", 303, dict(_HEADERS))
        answer.headers["location"] = address
        return answer

    def remember(self, answer: Response, name: str, value: str, seconds: int) -> None:
        """Give the browser a cookie that no script and no foreign page can use."""
        answer.set_cookie(
            name,
            value,
            max_age=seconds,
            path="/",
            secure=self._secure,
            httponly=True,
            # Strict would hide it when an assistant sends a person here.
            samesite="lax",
        )

    def forget(self, answer: Response, name: str) -> None:
        """Take a cookie back."""
        self.remember(answer, name, "", 0)

    async def style(self, _request: Request) -> Response:
        """Answer the style sheet."""
        return Response(
            self._style, media_type="text/css", headers={"Cache-Control": "max-age=300"}
        )
