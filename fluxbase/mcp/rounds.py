"""Calls of several rounds: what a client is handed to bring back, sealed; it must not know tools.

A modern client answers a question by making its call again. What it brings back is in the client's
hands meanwhile, so it is bound to the caller, to the very call and to a time, under a MAC.
Source: MCP 2026-07-28, multi round-trip requests.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.mcp.wire import INVALID_PARAMS, ProtocolError
from fluxbase.strict_json import dumps, in_order

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fluxbase.mcp.inbound import Message
    from fluxbase.principal import Principal
    from fluxbase.toolkit.client import MissingInput

LIFE: Final = 600  # seconds
_ROUNDS: Final = frozenset({"inputResponses", "requestState", "_meta"})
_LONGEST: Final = 65_536


class Rounds:
    """Seals and opens what clients bring back, under a key that all instances have."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def result(self, who: Principal, message: Message, missing: MissingInput) -> dict[str, Any]:
        """Return the result that asks the client and lets it call again."""
        state = {
            "call": _call(who, message),
            "until": int(time.time()) + LIFE,
            "state": missing.state,
        }
        body = orjson.dumps(state)
        sealed = _text(body) + "." + _text(self._mac(body))
        asked = {
            name: {"method": question.method, "params": question.params}
            for name, question in missing.questions.items()
        }
        result: dict[str, Any] = {"resultType": "input_required", "requestState": sealed}
        return {**result, "inputRequests": asked} if asked else result

    def open(self, who: Principal, message: Message) -> Any:
        """Return the state that an earlier round of this call kept; `None` in the first one.

        Raises:
            ProtocolError: it was not made here, for this caller and this call, or is too old.
        """
        sealed = message.params.get("requestState")
        if sealed is None:
            return None
        state = self._state(sealed) if isinstance(sealed, str) and len(sealed) <= _LONGEST else None
        if state is None or state["call"] != _call(who, message):
            raise ProtocolError(INVALID_PARAMS, "'requestState' is not what this call was given")
        if state["until"] < time.time():
            raise ProtocolError(
                INVALID_PARAMS, "'requestState' is too old; make the call anew without it"
            )
        return state["state"]

    def _state(self, sealed: str) -> dict[str, Any] | None:
        body, _, mac = sealed.partition(".")
        try:
            plain = _bytes(body)
            if not hmac.compare_digest(self._mac(plain), _bytes(mac)):
                return None
        except (binascii.Error, ValueError):
            return None
        return orjson.loads(plain)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")


def _call(who: Principal, message: Message) -> str:
    """Return what is the same in every round of one call and different in any other one."""
    asked: Mapping[str, Any] = {k: v for k, v in message.params.items() if k not in _ROUNDS}
    return sha256(dumps(in_order([who.kind, who.holder, message.method, asked]))).hexdigest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(data) != text:
        raise ValueError("not the one spelling of these bytes")
    return data
