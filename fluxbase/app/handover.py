"""What a worker is told when it starts, as a message; it must not act on any of it."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import SecretStr

from fluxbase.app.backend import Prepared
from fluxbase.auth.pepper import Peppers
from fluxbase.config import Config
from fluxbase.db.prepare import Logins
from fluxbase.schema.lints import Finding

if TYPE_CHECKING:
    from fluxbase.app.link import Message


@dataclass(frozen=True, slots=True)
class Orders:
    """All that a worker needs to serve, found out once by its parent."""

    config: Config
    prepared: Prepared
    findings: tuple[Finding, ...]
    address: tuple[str, int]
    first: bool  # this one also does what one of them must do
    verbose: bool


def as_message(orders: Orders) -> Message:
    """Return the orders as JSON can hold them, secrets in the clear: for a private line only."""
    prepared = orders.prepared
    ring = prepared.peppers.ring.items()
    return {
        "config": config_as_json(orders.config),
        "logins": asdict(prepared.logins),
        "peppers": ",".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in ring),
        "announced": prepared.announced,
        "findings": [finding.as_dict() for finding in orders.findings],
        "address": list(orders.address),
        "first": orders.first,
        "verbose": orders.verbose,
    }


def from_message(message: Message) -> Orders:
    """Return the orders that `as_message` wrote."""
    host, port = message["address"]
    return Orders(
        config_from_json(message["config"]),
        Prepared(
            Logins(**message["logins"]),
            Peppers.parse(message["peppers"]),
            message["announced"],
            None,
        ),
        tuple(Finding(**found) for found in message["findings"]),
        (host, port),
        message["first"],
        message["verbose"],
    )


def config_as_json(config: Config) -> Any:
    """Return a configuration as JSON can hold it, secrets in the clear."""
    return orjson.loads(orjson.dumps(config.model_dump(), default=_plain))


def config_from_json(values: Any) -> Config:
    """Return the configuration that `config_as_json` wrote."""
    return Config.model_validate(values)


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    # Addresses of networks, and paths, which are absolute by now.
    return value.as_posix() if isinstance(value, Path) else str(value)
