"""What people do in a browser: log in, agree, look and take back; it must not know tokens.

Every form carries a token that only a page of ours can have put there. Sources: OAuth 2.1 4.1 and
7; RFC 9207; OWASP, cross-site request forgery prevention.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from starlette.routing import Route

from fluxbase.errors import FluxbaseError, RateLimited, Unavailable
from fluxbase.http.oauth.forms import address_of, read_form, read_text
from fluxbase.oauth import redirects
from fluxbase.oauth.bearer import granted
from fluxbase.oauth.browsers import LIFE
from fluxbase.oauth.errors import BadRequest
from fluxbase.oauth.requests import Refused, back, pairs_of, read_authorization
from fluxbase.principal import SCOPES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from fluxbase.http.oauth.pages import Pages
    from fluxbase.limits.rate import RateLimiter
    from fluxbase.oauth.requests import Authorization
    from fluxbase.oauth.service import Service
    from fluxbase.oauth.users import User

_LOGINS: Final = 10  # a minute: of one account, and from one address
_PAGES: Final = 120  # a minute, for one address
_SHOWN_TABLES: Final = 24
_VISIT: Final = re.compile(r"[\w-]{32}", re.ASCII)
_ACCOUNT: Final = "/account"
_AUTHORIZE: Final = "/oauth/authorize"
_WORDS: Final = {
    "read:tables": "Read rows of tables",
    "write:tables": "Add, change and delete rows",
    "read:schema": "See which tables and columns there are",
    "execute:functions": "Run edge functions",
    "execute:rpc": "Run stored procedures",
    "read:storage": "List and download files",
    "write:storage": "Upload and delete files",
    "execute:jobs": "Start background jobs and follow them",
    "read:vectors": "Search by meaning",
}


class Browser:
    """The pages of one authorization server."""

    def __init__(self, service: Service, limiter: RateLimiter, pages: Pages) -> None:
        self._service = service
        self._limiter = limiter
        self._pages = pages

    def routes(self) -> list[Route]:
        """Return what is served."""
        pages: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            (_AUTHORIZE, "GET", self._ask),
            (_AUTHORIZE, "POST", self._decide),
            ("/oauth/login", "GET", self._show_login),
            ("/oauth/login", "POST", self._log_in),
            (_ACCOUNT, "GET", self._account),
            ("/account/revoke", "POST", self._revoke),
            ("/account/logout", "POST", self._log_out),
        ]
        found = [Route(path, self._shown(work), methods=[how]) for path, how, work in pages]
        return [*found, Route("/oauth/style.css", self._pages.style, methods=["GET"])]

    def _shown(
        self, work: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                # A page may make us fetch what its client says of itself.
                await self._limiter.count(f"page/{address_of(request)}", _PAGES)
                return await work(request)
            except Refused as error:
                issuer = self._service.issuer
                fields = {"error": error.error, "error_description": error.message}
                address = back(error.redirect_uri, **fields, state=error.state, iss=issuer)
                return self._pages.go(address)
            except FluxbaseError as error:
                return self._fault(error)

        return answer

    def _fault(self, error: FluxbaseError) -> Response:
        if isinstance(error, RateLimited):
            advice = "Wait a minute and try again."
            return self._pages.fault("Too many attempts", "You tried too often.", advice, 429)
        if isinstance(error, Unavailable):
            return self._pages.fault("Not now", error.message, "Try again in a moment.", 503)
        advice = "Go back to the assistant and start again from there. Nothing was granted."
        return self._pages.fault(
            "This cannot be allowed", f"The request is not in order: {error.message}.", advice
        )

    async def _ask(self, request: Request) -> Response:
        asked = await self._authorization(request.url.query)
        user = await self._user(request)
        if user is None:
            return self._pages.go(f"/oauth/login?{_next(f'{_AUTHORIZE}?{request.url.query}')}")
        scopes = granted(list(asked.scopes), list(user.scopes))
        if not scopes:
            raise Refused(
                asked.redirect_uri, asked.state, "access_denied", "the user can grant none of this"
            )
        tables = await self._service.reach(user, scopes)
        return self._pages.show(
            "consent",
            leads_away=True,
            client=asked.client,
            returns_to=redirects.host(asked.redirect_uri),
            local=redirects.is_local(asked.redirect_uri),
            user=user,
            scopes=[{"name": scope, "words": _WORDS[scope]} for scope in scopes],
            denied=[SCOPES[scope] for scope in asked.scopes if scope not in scopes],
            tables=tables[:_SHOWN_TABLES],
            more=max(0, len(tables) - _SHOWN_TABLES),
            request_query=asked.query,
            csrf=self._token(request),
        )

    async def _decide(self, request: Request) -> Response:
        fields = pairs_of(await read_text(request))
        form = dict(fields)
        user = await self._user(request)
        if user is None or not self._is_ours(request, form):
            raise BadRequest("access_denied", "the page is too old, or is not one of this server's")
        asked = await self._authorization(form.get("request", ""))
        if form.get("decision") != "allow":
            raise Refused(asked.redirect_uri, asked.state, "access_denied", "the user said no")
        ticked = [value for name, value in fields if name == "scope" and value in asked.scopes]
        scopes = granted(ticked, list(user.scopes))
        if not scopes:
            raise Refused(
                asked.redirect_uri, asked.state, "access_denied", "the user granted nothing"
            )
        code = await self._service.grants.grant(user.id, asked, scopes)
        issuer = self._service.issuer
        return self._pages.go(back(asked.redirect_uri, code=code, state=asked.state, iss=issuer))

    async def _show_login(self, request: Request) -> Response:
        return await self._login_page(request, _local(request.query_params.get("next")))

    async def _log_in(self, request: Request) -> Response:
        form = await read_form(request)
        leads = _local(form.get("next"))
        if not self._service.browsers.is_form_token(
            request.cookies.get(self._pages.visit), form.get("csrf", "")
        ):
            fault = "This page was open for too long. Please try again."
            return await self._login_page(request, leads, fault=fault)
        email, password = form.get("email", "").strip(), form.get("password", "")
        await self._limiter.count(f"login/{address_of(request)}", _LOGINS)
        account = sha256(email.lower().encode()).hexdigest()
        await self._limiter.count(f"login/{account}", _LOGINS)
        user = await self._service.users.log_in(email, password)
        if user is None:
            await self._service.grants.record("oauth/login", None, None, outcome="denied")
            fault = "E-mail or password is not right."
            return await self._login_page(request, leads, email=email, fault=fault)
        await self._service.grants.record("oauth/login", user, None)
        answer = self._pages.go(leads)
        cookie = await self._service.browsers.open(user)
        self._pages.remember(answer, self._pages.cookie, cookie, LIFE)
        self._pages.forget(answer, self._pages.visit)
        return answer

    async def _login_page(
        self, request: Request, leads: str, *, email: str = "", fault: str = ""
    ) -> Response:
        name = ""
        if leads.startswith(f"{_AUTHORIZE}?"):
            name = (await self._authorization(leads.partition("?")[2])).client.name
        visit = request.cookies.get(self._pages.visit, "")
        if not _VISIT.fullmatch(visit):
            visit = secrets.token_urlsafe(24)
        answer = self._pages.show(
            "login",
            status=401 if fault else 200,
            next=leads,
            csrf=self._service.browsers.form_token(visit),
            client=name,
            email=email[:254],
            fault=fault,
        )
        self._pages.remember(answer, self._pages.visit, visit, 3600)
        return answer

    async def _account(self, request: Request, done: str = "") -> Response:
        user = await self._user(request)
        if user is None:
            return self._pages.go(f"/oauth/login?{_next(_ACCOUNT)}")
        grants = await self._service.grants.list(user.id)
        values: dict[str, Any] = {"user": user, "grants": grants, "words": _WORDS, "done": done}
        return self._pages.show("account", csrf=self._token(request), **values)

    async def _revoke(self, request: Request) -> Response:
        form = await read_form(request)
        user = await self._user(request)
        if user is None or not self._is_ours(request, form):
            raise BadRequest("access_denied", "the page is too old, or is not one of this server's")
        try:
            grant = str(UUID(form.get("grant", "")))
        except ValueError:
            grant = None
        ended = grant and await self._service.grants.end(grant, user.id, "the user took it back")
        return await self._account(request, "It is disconnected." if ended else "")

    async def _log_out(self, request: Request) -> Response:
        form = await read_form(request)
        cookie = request.cookies.get(self._pages.cookie)
        answer = self._pages.go(f"/oauth/login?{_next(_ACCOUNT)}")
        if cookie and self._is_ours(request, form):
            await self._service.browsers.close(cookie)
            self._pages.forget(answer, self._pages.cookie)
        return answer

    async def _authorization(self, query: str) -> Authorization:
        service = self._service
        return await read_authorization(query, service.clients, service.resource, service.scopes)

    async def _user(self, request: Request) -> User | None:
        return await self._service.browsers.find(request.cookies.get(self._pages.cookie))

    def _token(self, request: Request) -> str:
        return self._service.browsers.form_token(request.cookies.get(self._pages.cookie, ""))

    def _is_ours(self, request: Request, form: dict[str, str]) -> bool:
        cookie = request.cookies.get(self._pages.cookie)
        return self._service.browsers.is_form_token(cookie, form.get("csrf", ""))


def _next(path: str) -> str:
    return back("", next=path).removeprefix("?")


def _local(leads: str | None) -> str:
    """Return where a login leads: to a page of ours, whatever was asked for."""
    if leads and leads.startswith(f"{_AUTHORIZE}?") and leads.isascii() and leads.isprintable():
        return leads
    return _ACCOUNT
