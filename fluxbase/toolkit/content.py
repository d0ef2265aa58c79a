"""Content blocks: what a tool gives or a prompt says when it is no table; it must not know why.

Source: MCP, server features, tools: text, image and audio content, embedded resources.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

Block = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Blocks:
    """The result of a tool as content blocks, in their order."""

    content: tuple[Block, ...]


def text(words: str) -> Block:
    """Return a block of text."""
    return {"type": "text", "text": words}


def image(data: bytes, mime_type: str) -> Block:
    """Return a picture."""
    return {"type": "image", "data": _base64(data), "mimeType": mime_type}


def audio(data: bytes, mime_type: str) -> Block:
    """Return a sound."""
    return {"type": "audio", "data": _base64(data), "mimeType": mime_type}


def embedded(uri: str, body: str | bytes, mime_type: str) -> Block:
    """Return a resource with what it holds."""
    return {"type": "resource", "resource": contents(uri, body, mime_type)}


def contents(uri: str, body: str | bytes, mime_type: str) -> dict[str, Any]:
    """Return what a resource holds: text as it is, bytes as base64."""
    held = {"text": body} if isinstance(body, str) else {"blob": _base64(body)}
    return {"uri": uri, "mimeType": mime_type, **held}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
