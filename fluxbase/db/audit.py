"""What is kept of a call; it must not see a value of the arguments, only their shape and HMAC."""

from __future__ import annotations

from functools import lru_cache
from hmac import HMAC, new
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

import orjson

from fluxbase.strict_json import dumps

if TYPE_CHECKING:
    from fluxbase.principal import Principal

Outcome = Literal["ok", "denied", "failed"]
_MOST_NAMES: Final = 100
_LONGEST_NAME: Final = 64
_SHORT: Final = 1024  # bytes of arguments that are worth keeping to compare others with
# What of JSON has no parts; everything else without parts is a number.
_SCALARS: Final[dict[type, str]] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


class Entry(NamedTuple):
    """One record of `platform.audit`, except for its outcome."""

    action: str
    request_id: str = ""
    kind: str | None = None
    principal: str | None = None
    target: str | None = None
    arguments: str | None = None
    arguments_mac: str | None = None
    remote: str | None = None

    def as_row(self, outcome: Outcome, **more: Any) -> dict[str, Any]:
        """Return the record with its outcome, by the names of the table's columns."""
        return {
            "action": self.action,
            "request_id": self.request_id,
            "kind": self.kind,
            "principal": self.principal,
            "target": self.target,
            "arguments": self.arguments,
            "arguments_mac": self.arguments_mac,
            "remote": self.remote,
            "outcome": outcome,
            **more,
        }


def entry(
    action: str,
    *,
    key: bytes,
    who: Principal | None = None,
    target: str | None = None,
    arguments: object = None,
    request_id: str = "",
    remote: str | None = None,
) -> Entry:
    """Return the record of one call.

    Args:
        action: the tool or method.
        key: the secret of the HMAC, so that who reads the table cannot guess small arguments.
        who: the caller, when it is known.
        target: what was acted on, such as a table that the catalog knows.
        arguments: the JSON arguments; names and types are kept, values are not.
        request_id: the id that the log carries too.
        remote: the caller's address.
    """
    shape, mac = (None, None) if arguments is None else told(key, arguments)
    kind, principal = (who.kind, who.id) if who else (None, None)
    return Entry(action, request_id, kind, principal, target, shape, mac, address(remote))


def told(
    key: bytes, arguments: object, known: dict[bytes, tuple[str, str]] | None = None
) -> tuple[str, str]:
    """Return all that is kept of arguments: their shape as JSON, and their HMAC.

    `known` is where a batch of records keeps what was told of the same arguments before. It holds
    the arguments themselves, so it must not outlive the batch.
    """
    text = dumps(arguments)
    found = known.get(text) if known is not None else None
    if found is None:
        found = orjson.dumps(shape_of(arguments)).decode(), _mac(key, text)
        if known is not None and len(text) <= _SHORT:
            known[text] = found
    return found


def _mac(key: bytes, text: bytes) -> str:
    mac = _keyed(key).copy()
    mac.update(text)
    return mac.hexdigest()


@lru_cache(maxsize=4)
def _keyed(key: bytes) -> HMAC:
    # Half of what an HMAC of a short text costs is the key, which is always the same.
    return new(key, digestmod="sha256")


@lru_cache(maxsize=4096)
def address(remote: str | None) -> str | None:
    """Return an address that Postgres takes, or nothing: a proxy may send any text."""
    try:
        return str(ip_address((remote or "").partition("%")[0]))
    except ValueError:
        return None


def shape_of(value: object) -> Any:
    """Return the type names of a JSON value: `{"limit": "number", "filter": {"id": "string"}}`.

    Lists are told by their length, what lies deep by its type alone, and of very many names the
    rest by one "…", so that no call can make its record large.
    """
    return _shape(value, 3, [_MOST_NAMES])


def _shape(value: object, depth: int, left: list[int]) -> Any:
    if isinstance(value, dict):
        return _object(cast("dict[str, object]", value), depth, left) if depth else "object"
    if isinstance(value, list | tuple):
        return f"array[{len(cast('list[object]', value))}]"
    return _SCALARS.get(type(value), "number")


def _object(items: dict[str, object], depth: int, left: list[int]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, inner in items.items():
        if left[0] <= 0:
            told["…"] = "…"
            break
        left[0] -= 1
        if len(name) > _LONGEST_NAME or "\x00" in name:
            # jsonb cannot hold a NUL, and a record must not fail by what it tells of.
            name = name[:_LONGEST_NAME].replace("\x00", "\ufffd")  # noqa: PLW2901
        told[name] = _SCALARS.get(type(inner)) or _shape(inner, depth - 1, left)
    return told
