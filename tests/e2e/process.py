"""The one way in which the tests of clients start a server: the command, with its demo."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.e2e.cli_stand import CONFIG, Place, Running, place, wait

if TYPE_CHECKING:
    from collections.abc import Generator

# Many tests share a key, so the limit of the defaults would end them.
DEFAULTS = CONFIG.replace("enabled: true", "enabled: true\n  rate_limit_per_min: 100000")


@dataclass(frozen=True)
class Demo:
    """A server with the demo's tables, and its keys by name: user1, user2, service."""

    place: Place
    running: Running
    keys: dict[str, str]

    @property
    def endpoint(self) -> str:
        return f"{self.running.url}/mcp"

    @property
    def port(self) -> int:
        port = urlsplit(self.running.url).port
        assert port
        return port


@contextmanager
def demo(config: str = DEFAULTS) -> Generator[Demo]:
    """Start a server of its own and stop it at the end."""
    with place() as here:
        here.configure(config)
        with here.serving("--demo") as running:
            wait(lambda: "Stop it with" in running.out.read_text(), "the greeting")
            kept = here.folder / ".fluxbase" / "demo-keys.json"
            yield Demo(here, running, json.loads(kept.read_text()))
