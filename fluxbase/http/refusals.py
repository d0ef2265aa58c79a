"""What the parser answers by itself, each rendered once; it must not know when."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from fluxbase.errors import InvalidMessage


def _refusal(status: int, message: str) -> bytes:
    """Render an answer; done once each, so that a flood of refusals renders nothing."""
    body = json.dumps({"error": InvalidMessage(message).as_dict()}).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


BAD_REQUEST: Final = _refusal(400, "The request is not valid HTTP/1.1")
BAD_HOST: Final = _refusal(400, "Exactly one Host header is required")
BAD_CODING: Final = _refusal(400, "The only transfer coding taken is chunked")
BAD_UPGRADE: Final = _refusal(400, "A request with a body cannot ask for an upgrade")
BAD_VERSION: Final = _refusal(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here")
BIG_HEAD: Final = _refusal(431, "The request headers are too many or too long")
SLOW_HEAD: Final = _refusal(408, "The request headers took too long to arrive")
SLOW_BODY: Final = _refusal(408, "The request body arrives too slowly")
CROWDED: Final = _refusal(503, "Too many connections")
