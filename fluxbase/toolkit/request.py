"""A call as it comes in, and what it gives; it must not know what is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluxbase.toolkit.client import DEAF

if TYPE_CHECKING:
    from fluxbase.principal import Principal
    from fluxbase.toolkit.client import Client
    from fluxbase.toolkit.content import Block
    from fluxbase.toolkit.effects import Effects


class Request(NamedTuple):
    """The circumstances of a call.

    `depth` counts the calls that this one is inside of. `effects` names the writes of work that
    may be run twice.
    """

    who: Principal
    request_id: str
    remote: str | None
    client: Client = DEAF
    depth: int = 0
    effects: Effects | None = None


class Link(NamedTuple):
    """A resource that an answer points to."""

    uri: str
    name: str
    description: str


class Answer(NamedTuple):
    """What a tool gave: the text for the model and the same as JSON bytes, or content blocks."""

    text: str
    structured: bytes
    rows: int | None = None
    more: Link | None = None
    blocks: tuple[Block, ...] = ()
