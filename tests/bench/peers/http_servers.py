"""Servers that speak plain HTTP: bare Starlette with the same SQL, and PostgREST."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any, Final

from tests.bench.peers.asking import LeftOutError, Message, Speech, compact
from tests.bench.processes import POSTGREST, PYTHON
from tests.bench.world import POOL

if TYPE_CHECKING:
    from tests.bench.work import Work
    from tests.bench.world import Caller, World

_SECRET: Final = secrets.token_hex(32)
_FAR: Final = 4_102_444_800  # 2100-01-01, as a token's expiry


def starlette(world: World, mode: str, caller: Caller) -> list[str]:
    """Return the command of a bare route: `trips`, or `pinned` to one caller's role."""
    module = "tests.bench.peers.bare"
    return [PYTHON, "-m", module, "{port}", str(world.file), mode, caller.key]


def _ask_starlette(work: Work, caller: Caller, number: int) -> Message:
    # The same message as ours, so that a body of the same size is read and parsed.
    params = {"name": work.tool, "arguments": work.arguments}
    call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    head = {"Content-Type": "application/json", "X-Client-Key": caller.key}
    return Message("POST", f"/{work.name}", head, compact(call))


STARLETTE: Final = Speech(_ask_starlette, lambda _, answer: answer)


def postgrest(world: World) -> list[str]:
    """Return the command of PostgREST with its cache of tokens on.

    Raises:
        LeftOutError: its program is not there.
    """
    if not POSTGREST.exists():
        raise LeftOutError("scripts/postgrest.sh put no PostgREST below .tools")
    path = world.home / "postgrest.conf"
    path.touch(mode=0o600)
    settings: dict[str, Any] = {
        "db-uri": world.url,
        "db-schemas": "public",
        "db-pool": POOL,
        "db-config": False,
        "db-channel-enabled": False,
        "jwt-secret": _SECRET,
        "jwt-cache-max-lifetime": 3600,
        "openapi-mode": "disabled",
        "log-level": "crit",
        "server-host": "127.0.0.1",
    }
    lines = [f"{name} = {compact(value).decode()}\n" for name, value in settings.items()]
    path.write_text("".join(lines), "utf-8")
    # Its port comes from the environment, because it is chosen when the server starts.
    return ["env", "PGRST_SERVER_PORT={port}", str(POSTGREST), str(path)]


def _ask_postgrest(work: Work, caller: Caller, _number: int) -> Message:
    head = {"Accept": "application/json", "Authorization": f"Bearer {_token(caller)}"}
    if not work.writes:
        return Message("GET", work.rest, head, b"")
    head |= {"Content-Type": "application/json", "Prefer": "return=representation"}
    return Message("POST", work.rest, head, compact(work.arguments["data"]))


TOKENS: Final = Speech(_ask_postgrest, lambda _, answer: answer)


def _token(caller: Caller) -> str:
    claims = {"sub": caller.user_id, "role": "authenticated", "exp": _FAR}
    signed = _base64(compact({"alg": "HS256", "typ": "JWT"})) + "." + _base64(compact(claims))
    mac = hmac.digest(_SECRET.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{_base64(mac)}"


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
