"""Embeds rows that were lent from the queue, or gives them back; it must not know their order.

What the model does not take is told from a model that is away: a batch that fails is tried text by
text, and only where others work does a failure count against its own text.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from fluxbase.db.errors import may_be_a_value
from fluxbase.egress.embed import ModelAway, TextRefused
from fluxbase.errors import FluxbaseError, Unavailable
from fluxbase.vectors.chunks import split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fluxbase.db.database import Database
    from fluxbase.db.types import Record
    from fluxbase.egress.embed import Embedder

_ATTEMPTS: Final = 5  # of a row that the model or the table does not take
_SUSPECTS: Final = 3  # texts that fail in a row, before the model itself is taken to be away
_MOST_PARTS: Final = 1000  # of one text
_FRESH: Final = 10.0
_FIRST_PAUSE: Final = 0.05
_LAST_PAUSE: Final = 1.0  # 1.6 seconds in all
_SOON: Final = 1.0
_LATER: Final = 10.0


class Text(NamedTuple):
    """A row that was lent: its parts are what is embedded."""

    key: str  # JSON
    version: int
    digest: str
    parts: list[str]
    chunked: bool
    fault: str | None

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the row and its text."""
        return {"key": orjson.Fragment(self.key), "version": self.version}


def text_of(row: Record, most: int) -> Text:
    """Return a row as it was lent; no part may have more than so many characters."""
    content: str = row["content"] or ""
    size = row["chunk_size"]
    if size is not None:
        parts = split(content, size, row["chunk_overlap"])
    else:
        parts = [content] if content.strip() else []
    fault = None
    if any(len(part) > most for part in parts):
        fault = f"the text has more than {most} characters; a collection with chunk_size cuts it"
    elif len(parts) > _MOST_PARTS:
        fault = f"the text has more than {_MOST_PARTS} parts; a larger chunk_size makes fewer"
    return Text(row["key"], row["version"], row["digest"], parts, size is not None, fault)


async def return_texts(
    database: Database,
    collection: str,
    texts: Sequence[Text],
    error: str | None,
    *,
    give_up_after: int | None,
) -> None:
    """Give rows back; with `give_up_after` this counts as one of so many attempts.

    Who looks for something to do holds rows for a moment that are lent already. What a writer
    holds longer is due by what is written.
    """
    items = [orjson.dumps(text.identity).decode() for text in texts]
    pause = _FIRST_PAUSE
    while items:
        held = await database.admin(
            "return_texts",
            collection=collection,
            items=f"[{','.join(items)}]",
            seconds=_SOON if give_up_after is None else _LATER,
            error=error,
            attempts=give_up_after,
        )
        items = [row["held"] for row in held] if pause <= _LAST_PAUSE else []
        if items:
            await asyncio.sleep(pause)
        pause *= 2


class Signs:
    """When the model was last seen to work, whichever text it was for."""

    def __init__(self) -> None:
        self._at = -math.inf

    def see(self) -> None:
        """Note that it works."""
        self._at = time.monotonic()

    @property
    def fresh(self) -> bool:
        """Whether it worked so lately that a text which fails now is to blame itself."""
        return time.monotonic() - self._at < _FRESH


class Lent:
    """Rows of one collection that were lent together."""

    def __init__(
        self, database: Database, embedder: Embedder, name: str, model: str, signs: Signs
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._name = name
        self._model = model
        self._signs = signs
        self._left: deque[list[Text]] = deque()
        self._suspects: list[tuple[Text, FluxbaseError]] = []

    async def work_off(self, texts: list[Text]) -> None:
        """Embed all of them, or give back what is left.

        Raises:
            Unavailable: the model or the database is away.
        """
        self._left.extend(_groups(texts, self._embedder.batch_size))
        try:
            while self._left:
                await self._embed(self._left[0])
            await self._judge()
        except BaseException as error:
            # Also when cancelled: who goes on shall not have to wait until the loan has run out.
            rest = [text for text, _ in self._suspects]
            rest += [text for group in self._left for text in group]
            told = error.message if isinstance(error, FluxbaseError) else None
            await self._give_back(rest, told, give_up_after=None)
            raise

    async def _judge(self) -> None:
        """Count what failed alone against its own text, if the model works for others."""
        if self._suspects and not self._signs.fresh:
            raise self._suspects[-1][1]
        for text, error in self._suspects:
            await self._give_back([text], error.message, give_up_after=_ATTEMPTS)

    async def _embed(self, group: list[Text]) -> None:
        try:
            vectors = await self._embedder.embed([part for text in group for part in text.parts])
        except ModelAway:
            raise
        except (TextRefused, Unavailable) as error:
            if isinstance(error, TextRefused):
                self._signs.see()
            self._set_aside(group, error)
            if not self._signs.fresh and len(self._suspects) >= _SUSPECTS:
                raise
            return
        if vectors:
            self._signs.see()
        await self._store(group, vectors)

    async def _store(self, group: list[Text], vectors: Sequence[list[float]]) -> None:
        left = iter(vectors)
        items = [_item(text, [next(left) for _ in text.parts]) for text in group]
        written = orjson.dumps(items).decode()
        try:
            [kept] = await self._database.works.run(
                "store_vectors", collection=self._name, model=self._model, items=written
            )
        except FluxbaseError as error:
            if isinstance(error, Unavailable) and not may_be_a_value(error):
                raise
            self._set_aside(group, error)
            return
        self._left.popleft()
        if kept["done"] < len(group):
            # Somebody held one of the rows just then; nobody was waited for.
            await self._give_back(group, None, give_up_after=None)

    def _set_aside(self, group: list[Text], error: FluxbaseError) -> None:
        """Try the texts of a group one by one; one that failed alone is suspected."""
        self._left.popleft()
        if len(group) == 1:
            self._suspects.append((group[0], error))
        else:
            self._left.extendleft([text] for text in reversed(group))

    async def _give_back(
        self, texts: Sequence[Text], error: str | None, *, give_up_after: int | None
    ) -> None:
        await return_texts(self._database, self._name, texts, error, give_up_after=give_up_after)


def _groups(texts: Sequence[Text], size: int) -> Iterator[list[Text]]:
    """Yield texts together that have no more than `size` parts in all, or one that has more."""
    group: list[Text] = []
    parts = 0
    for text in texts:
        if group and parts + len(text.parts) > size:
            yield group
            group, parts = [], 0
        group.append(text)
        parts += len(text.parts)
    if group:
        yield group


def _item(text: Text, vectors: list[list[float]]) -> dict[str, Any]:
    item: dict[str, Any] = {"key": orjson.Fragment(text.key), "digest": text.digest}
    written = [orjson.dumps(vector).decode() for vector in vectors]
    if text.chunked:
        pairs = zip(text.parts, written, strict=True)
        return {**item, "chunks": [{"content": p, "embedding": v} for p, v in pairs]}
    return {**item, "embedding": written[0] if written else None}
