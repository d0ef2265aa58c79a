"""Names the writes of work that may be run twice, so that each of them is done once.

It must not know what the work is: a job whose worker was killed is run again from its start.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from fluxbase.strict_json import dumps, in_order

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "idempotency_key"


class Effects:
    """The writes of one attempt; another attempt at the same work names the same ones alike.

    A write is known by what it says and by how often the attempt has said the same before, not by
    its place among the others: an attempt may do several at once.
    """

    def __init__(self, work: str) -> None:
        self._work = work
        self._seen: dict[str, int] = {}

    def name(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """Return the idempotency key of the next such call."""
        said = sha256(dumps([tool, in_order(arguments)])).hexdigest()[:32]
        self._seen[said] = number = self._seen.get(said, 0) + 1
        return f"{self._work}/{said}/{number}"
