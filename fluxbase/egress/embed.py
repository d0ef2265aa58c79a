"""Asks an OpenAI-compatible endpoint for embeddings; it must not know what they are for.

The address is the administrator's, so it may lie inside; what goes there is text of callers, and
what comes back is numbers, or an error that says no word of theirs. Source: OpenAI API reference,
embeddings.
"""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any, Final

import orjson

from fluxbase.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.config.vectors import Embeddings

_ATTEMPTS: Final = 3
_MOST_BYTES: Final = 64 * 1024 * 1024
_AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class Embedder:
    """The model of a configuration."""

    def __init__(self, config: Embeddings) -> None:
        self._config = config

    @property
    def is_configured(self) -> bool:
        """Whether there is an endpoint to ask."""
        return self._config.url is not None

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the embedding of each text, in batches of the configured size.

        Raises:
            InvalidArgument: no endpoint is configured, or a text is too long.
            Unavailable: the endpoint does not answer, or not as it should.
        """
        if self._config.url is None:
            raise InvalidArgument(
                "no embedding model is configured on this server",
                hint="give `embedding` instead of `query`, or search with hybrid: true",
            )
        if any(len(text) > self._config.max_characters for text in texts):
            raise InvalidArgument(
                f"a text to embed has at most {self._config.max_characters} characters"
            )
        found: list[list[float]] = []
        size = self._config.batch_size
        for start in range(0, len(texts), size):
            found += await self._batch(list(texts[start : start + size]))
        return found

    async def _batch(self, texts: list[str]) -> list[list[float]]:
        for attempt in range(1, _ATTEMPTS + 1):
            status, body = await self._ask(texts)
            if status == 200:
                return self._read(body, len(texts))
            if status not in _AGAIN or attempt == _ATTEMPTS:
                break
            # Twice as long each time, and not all at the same moment.
            await asyncio.sleep(0.2 * 2**attempt * (0.5 + random.random()))  # noqa: S311
        raise Unavailable("the embedding model does not answer as it should", retry_after=5)

    async def _ask(self, texts: list[str]) -> tuple[int, bytes]:
        # Here: most servers never ask, and the library is large.
        import aiohttp  # noqa: PLC0415

        config = self._config
        key = config.api_key.get_secret_value() if config.api_key else None
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        asked: dict[str, Any] = {"model": config.model, "input": texts}
        if config.dimensions is not None:
            asked["dimensions"] = config.dimensions
        timeout = aiohttp.ClientTimeout(total=config.timeout, connect=5)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as http,
                http.post(f"{config.url}/embeddings", json=asked, allow_redirects=False) as answer,
            ):
                body = bytearray()
                async for piece in answer.content.iter_chunked(65_536):
                    body += piece
                    if len(body) > _MOST_BYTES:
                        return 500, b""
                return answer.status, bytes(body)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 503, b""

    def _read(self, body: bytes, many: int) -> list[list[float]]:
        try:
            items = sorted(orjson.loads(body)["data"], key=lambda item: item["index"])
            found = [[float(n) for n in item["embedding"]] for item in items]
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            found = []
        if len(found) != many or not all(v and all(map(math.isfinite, v)) for v in found):
            raise Unavailable("the embedding model does not answer as it should", retry_after=5)
        return found
