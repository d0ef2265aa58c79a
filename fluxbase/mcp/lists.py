"""What a caller is shown: tools, resources and templates, page by page; knows none of them.

Entries are written to bytes once for all callers who see the same.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from fluxbase.mcp.paging import Pager

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fluxbase.mcp.inbound import Message
    from fluxbase.mcp.turn import Turn
    from fluxbase.principal import Principal
    from fluxbase.toolkit.toolbox import Offer, Toolbox

TTL_MS: Final = 5000
CACHED: Final[dict[str, Any]] = {"ttlMs": TTL_MS, "cacheScope": "private"}


class Seen(NamedTuple):
    """What a caller sees, so short that it can be compared: a digest of each list."""

    tools: str
    resources: str
    prompts: str

    @property
    def text(self) -> str:
        """The same as one word."""
        return "-".join(self)

    @classmethod
    def read(cls, text: str) -> Seen | None:
        """Return what `text` was written from, or `None`."""
        parts = text.split("-")
        return cls(*parts) if len(parts) == 3 else None


class Lists:
    """Answers the methods that list."""

    def __init__(self, toolbox: Toolbox, page_size: int) -> None:
        self._toolbox = toolbox
        self._pager = Pager(page_size)

    async def tools(self, turn: Turn, message: Message) -> Mapping[str, Any]:
        """Answer `tools/list`."""
        return self._page(turn, message, "tools")

    async def resources(self, turn: Turn, message: Message) -> Mapping[str, Any]:
        """Answer `resources/list`."""
        return self._page(turn, message, "resources")

    async def templates(self, turn: Turn, message: Message) -> Mapping[str, Any]:
        """Answer `resources/templates/list`."""
        return self._page(turn, message, "resourceTemplates")

    async def prompts(self, turn: Turn, message: Message) -> Mapping[str, Any]:
        """Answer `prompts/list`."""
        return self._page(turn, message, "prompts")

    def seen(self, who: Principal) -> Seen:
        """Return digests of what the caller sees."""
        offer = self._toolbox.offer(who)
        known = offer.written.get("seen")
        if known is None:
            known = offer.written["seen"] = [
                Seen(
                    _digest(offer, "tools"),
                    _digest(offer, "resources", "resourceTemplates"),
                    _digest(offer, "prompts"),
                )
            ]
        return known[0]

    def _page(self, turn: Turn, message: Message, name: str) -> dict[str, Any]:
        written = _written(self._toolbox.offer(turn.request.who), name)
        items, cursor = self._pager.page(written, message.params.get("cursor"))
        page: dict[str, Any] = {name: [orjson.Fragment(item) for item in items]}
        if cursor is not None:
            page["nextCursor"] = cursor
        return page | CACHED if message.modern else page


def _written(offer: Offer, name: str) -> list[bytes]:
    written = offer.written.get(name)
    if written is None:
        entries = [orjson.dumps(entry()) for entry in _ENTRIES[name](offer)]
        written = offer.written[name] = entries
    return written


def _digest(offer: Offer, *names: str) -> str:
    found = sha256()
    for name in names:
        found.update(b"\n".join(_written(offer, name)))
    return found.hexdigest()[:8]


_ENTRIES: Final[dict[str, Callable[[Offer], list[Callable[[], dict[str, Any]]]]]] = {
    "tools": lambda offer: [tool.listing for tool in offer.tools.values()],
    "resources": lambda offer: [r.listing for r in offer.resources if not r.is_template],
    "prompts": lambda offer: [prompt.listing for prompt in offer.prompts.values()],
    "resourceTemplates": lambda offer: [r.listing for r in offer.resources if r.is_template],
}
