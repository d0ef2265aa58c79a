"""Turns texts into vectors by the configured model; it must not know what they are for.

The model is an OpenAI-compatible endpoint or a function of the database. The endpoint's address is
the administrator's, so it may lie inside; what goes there is text of callers, and what comes back
is numbers, or an error that says no word of theirs. Source: OpenAI API reference, embeddings.
"""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import orjson

from fluxbase.errors import FluxbaseError, InvalidArgument, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.config.vectors import Embeddings

_ATTEMPTS: Final = 3
_MOST_BYTES: Final = 64 * 1024 * 1024
_UNREACHABLE: Final = 0
_AGAIN: Final = frozenset({_UNREACHABLE, 408, 409, 425, 429, 500, 502, 503, 504})
_AWAY: Final = frozenset({_UNREACHABLE, 401, 403, 404, 429, 502, 503, 504})  # whatever is sent
_REFUSED: Final = frozenset({400, 413, 422})  # it is about the texts, not about the endpoint
_LETTERS: Final = 4  # of one token, where the endpoint does not count them


class TextRefused(InvalidArgument):
    """The model answers, and does not take one of the texts."""

    title = "The embedding model does not take this text; it may be too long"


class ModelAway(Unavailable):
    """The model takes no text at all now: it cannot be reached, or does not want us."""


class Purse(Protocol):
    """Counts what is sent to the model, for all servers together."""

    async def check(self) -> None:
        """Raise `ModelAway` when there is nothing left to spend today."""
        ...

    async def spend(self, tokens: int) -> None:
        """Count tokens."""
        ...


class Function(Protocol):
    """Asks a function of the database."""

    async def __call__(self, function: str, texts: Sequence[str], seconds: float) -> list[str]:
        """Return what the function gives for each text, as text, within some seconds."""
        ...


class _Answer(NamedTuple):
    vectors: list[list[float]]
    tokens: int | None


class Embedder:
    """The model of a configuration."""

    def __init__(self, config: Embeddings, purse: Purse | None, function: Function) -> None:
        self._config = config
        self._purse = purse
        self._function = function

    @property
    def is_configured(self) -> bool:
        """Whether there is a model to ask."""
        return self._config.url is not None or self._config.function is not None

    @property
    def model(self) -> str | None:
        """The name under which its vectors are kept; those of two models cannot be compared."""
        if not self.is_configured:
            return None
        return self._config.function or self._config.model

    @property
    def batch_size(self) -> int:
        """Texts in one request."""
        return self._config.batch_size

    @property
    def max_characters(self) -> int:
        """The longest text that is taken."""
        return self._config.max_characters

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the embedding of each text, in batches of the configured size.

        Raises:
            InvalidArgument: no model is configured, or a text is too long.
            TextRefused: the model answers, and does not take one of the texts.
            Unavailable: the model does not answer as it should, or today's tokens are used up.
        """
        if not self.is_configured:
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
            found += await self._paid(list(texts[start : start + size]))
        return found

    async def _paid(self, texts: list[str]) -> list[list[float]]:
        if self._purse is not None:
            await self._purse.check()
        function = self._config.function
        answer = await (self._batch(texts) if function is None else self._call(function, texts))
        if self._purse is not None:
            letters = sum(map(len, texts))
            guess = -(-letters // _LETTERS)
            await self._purse.spend(guess if answer.tokens is None else answer.tokens)
        return answer.vectors

    async def _call(self, function: str, texts: list[str]) -> _Answer:
        try:
            rows = await self._function(function, texts, self._config.timeout)
            vectors = [[float(n) for n in orjson.loads(_as_json(row))] for row in rows]
        except Unavailable:
            raise
        except (FluxbaseError, TypeError, ValueError):
            raise TextRefused from None
        if not all(map(_is_vector, vectors)):
            raise TextRefused
        return _Answer(vectors, None)

    async def _batch(self, texts: list[str]) -> _Answer:
        status, body = 0, b""
        for attempt in range(1, _ATTEMPTS + 1):
            status, body = await self._ask(texts)
            if status == 200:
                return _read(body, len(texts))
            if status not in _AGAIN or attempt == _ATTEMPTS:
                break
            # Twice as long each time, and not all at the same moment.
            await asyncio.sleep(0.2 * 2**attempt * (0.5 + random.random()))  # noqa: S311
        if status in _REFUSED:
            raise TextRefused
        kind = ModelAway if status in _AWAY else Unavailable
        raise kind("the embedding model does not answer as it should", retry_after=5)

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
        except (aiohttp.ClientError, OSError):  # a timeout is one of these as well
            return _UNREACHABLE, b""


def _as_json(row: str) -> str:
    """Return a vector or an array of Postgres as JSON: `[1,2]` and `{1,2}`."""
    return f"[{row[1:-1]}]" if row.startswith("{") else row


def _read(body: bytes, many: int) -> _Answer:
    tokens: int | None = None
    try:
        data = orjson.loads(body)
        items = sorted(data["data"], key=lambda item: item["index"])
        found = [[float(n) for n in item["embedding"]] for item in items]
        used: object = data["usage"]["total_tokens"] if data.get("usage") else None
        tokens = used if isinstance(used, int) and 0 <= used < 2**40 else None
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
        found = []
    return _Answer(_checked(found, many), tokens)


def _checked(found: list[list[float]], many: int) -> list[list[float]]:
    if len(found) != many or not all(map(_is_vector, found)):
        raise Unavailable("the embedding model does not answer as it should", retry_after=5)
    return found


def _is_vector(numbers: list[float]) -> bool:
    return bool(numbers) and all(map(math.isfinite, numbers))
