"""An embedding endpoint as OpenAI's: real HTTP, and vectors that follow from the words of a text.

Words of one meaning share a direction, so "car" is near "vehicle" though no letter is the same.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SIZE: Final = 32
MEANINGS: Final = {
    "vehicle": "car", "automobile": "car", "cars": "car", "feline": "cat", "kitten": "cat",
    "cats": "cat", "purchase": "buy", "bought": "buy", "dish": "meal", "dinner": "meal",
}  # fmt: skip


def embedding(text: str) -> list[float]:
    vector = [0.0] * SIZE
    for word in text.lower().split():
        meaning = MEANINGS.get(word.strip(".,"), word.strip(".,"))
        digest = hashlib.sha256(meaning.encode()).digest()
        for place in range(SIZE):
            vector[place] += digest[place] / 127.5 - 1
    length = math.sqrt(sum(n * n for n in vector)) or 1.0
    return [n / length for n in vector]


class Model:
    """What was asked, and what goes wrong."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.failures = 0
        self.broken: Any = None
        self.down = False
        self.refuses = ""
        self.fails = ""
        self.tokens: int | None = None

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        self.keys.add(request.headers.get("authorization"))
        if self.down:
            return web.Response(status=503)
        if self.refuses and any(self.refuses in text for text in body["input"]):
            return web.json_response({"error": "no"}, status=400)
        if self.fails and any(self.fails in text for text in body["input"]):
            return web.Response(status=500)
        if self.failures:
            self.failures -= 1
            return web.json_response({"error": "too many"}, status=429)
        if self.broken is not None:
            return web.json_response(self.broken)
        data = [
            {"object": "embedding", "index": n, "embedding": embedding(text)}
            for n, text in enumerate(body["input"])
        ]
        answer = {"object": "list", "data": data, "model": body["model"]}
        if self.tokens is not None:
            answer["usage"] = {"total_tokens": self.tokens}
        return web.json_response(answer)


@asynccontextmanager
async def serving_model() -> AsyncGenerator[tuple[str, Model]]:
    model = Model()
    app = web.Application()
    app.router.add_post("/v1/embeddings", model.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", model
    finally:
        await runner.cleanup()
