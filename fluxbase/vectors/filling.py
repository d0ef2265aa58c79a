"""Gives the rows of collections their vectors, in the background; it must not know who wrote them.

The queue is a table: rows are lent for some minutes, so whoever dies gives them back. A row waits
once, however often it is written, and a vector that was made of an older text does not end its
wait. While the model is away nothing is given up: the queue waits, and is worked off afterwards.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from fluxbase.db.vector_index import FEW_FOR_LISTS, VectorIndex
from fluxbase.egress.embed import TextRefused
from fluxbase.errors import FluxbaseError, Unavailable
from fluxbase.vectors.chunks import split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbase.db.database import Database
    from fluxbase.db.types import Record
    from fluxbase.egress.embed import Embedder

log = logging.getLogger(__name__)

_LENT: Final = 300.0
_IDLE: Final = 5.0
_LONGEST_PAUSE: Final = 60.0
_ATTEMPTS: Final = 5  # of a row that the model or the table does not take


class _Text(NamedTuple):
    """A row that was lent: its parts are what is embedded."""

    key: Any
    version: int
    digest: str
    parts: list[str]
    chunked: bool
    fault: str | None

    @property
    def identity(self) -> dict[str, Any]:
        return {"key": self.key, "version": self.version}


class Filling:
    """Works the queue off; several may, in one process or in many."""

    def __init__(self, database: Database, embedder: Embedder) -> None:
        self._database = database
        self._embedder = embedder

    async def run(self, wakes: asyncio.Event, *, builds: bool) -> None:
        """Work until cancelled.

        Args:
            wakes: is set when there may be something new.
            builds: whether this one builds indexes too; one of a process is enough.
        """
        pause = 0.0
        while True:
            try:
                busy = await self.turn() > 0
                pause = 0.0
            except FluxbaseError as error:
                if not pause:
                    log.warning("texts wait for their vectors: %s", error.message)
                pause = min(_LONGEST_PAUSE, max(1.0, 2 * pause))
                await asyncio.sleep(pause * (0.75 + random.random() / 2))  # noqa: S311
                continue
            if not busy:
                if builds:
                    with suppress(FluxbaseError):
                        await self.build_index()
                wakes.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(wakes.wait(), _IDLE)

    async def turn(self, collection: str | None = None) -> int:
        """Embed one batch of what is due, and return how many rows that were.

        Raises:
            Unavailable: the model or the database is away; the rows are due again in a moment.
            FluxbaseError: a collection's table is not as it was, and no other has anything due.
        """
        model = self._embedder.model
        if model is None:
            return 0
        names = [] if collection is None else [collection]
        if collection is None:
            due = await self._database.admin("due_collections", model=model)
            names = [row["collection"] for row in due]
        fault: FluxbaseError | None = None
        for name in names:
            try:
                took = await self._turn(name, model)
            except Unavailable:
                raise
            except FluxbaseError as error:
                # A collection whose table was changed under it must not hold up the others.
                fault = error
                continue
            if took:
                return took
        if fault is not None:
            raise fault
        return 0

    async def _turn(self, name: str, model: str) -> int:
        embedder = self._embedder
        lent = await self._database.admin(
            "claim_texts", collection=name, model=model, most=embedder.batch_size, seconds=_LENT
        )
        texts = [_text(row, embedder.max_characters) for row in lent]
        for text in texts:
            if text.fault is not None:
                await self._return(name, [text], text.fault, give_up_after=1)
        await self._embed(name, [text for text in texts if text.fault is None])
        return len(texts)

    async def _embed(self, name: str, texts: list[_Text]) -> None:
        if not texts:
            return
        try:
            vectors = await self._embedder.embed([part for text in texts for part in text.parts])
        except TextRefused as error:
            if len(texts) == 1:
                await self._return(name, texts, error.message, give_up_after=_ATTEMPTS)
                return
            # One of them is refused: the others shall not wait with it.
            for text in texts:
                await self._embed(name, [text])
            return
        except Unavailable as error:
            await self._return(name, texts, error.message, give_up_after=None)
            raise
        except asyncio.CancelledError:
            # Who goes on shall not have to wait until the loan has run out.
            await self._return(name, texts, None, give_up_after=None)
            raise
        await self._store(name, texts, vectors)

    async def _store(self, name: str, texts: list[_Text], vectors: Sequence[list[float]]) -> None:
        left = iter(vectors)
        items = [_item(text, [next(left) for _ in text.parts]) for text in texts]
        try:
            await self._database.admin(
                "store_vectors", collection=name, items=orjson.dumps(items).decode()
            )
        except Unavailable:
            raise
        except FluxbaseError as error:
            if len(texts) == 1:
                await self._return(name, texts, error.message, give_up_after=_ATTEMPTS)
                return
            left = iter(vectors)
            for text in texts:
                await self._store(name, [text], [next(left) for _ in text.parts])

    async def _return(
        self, name: str, texts: Sequence[_Text], error: str | None, *, give_up_after: int | None
    ) -> None:
        await self._database.admin(
            "return_texts",
            collection=name,
            items=orjson.dumps([text.identity for text in texts]).decode(),
            seconds=1.0 if give_up_after is None else 10.0,
            error=error,
            attempts=give_up_after,
        )

    async def build_index(self, collection: str | None = None) -> None:
        """Build the indexes that collections want whose rows all have their vectors.

        Raises:
            FluxbaseError: the database is away.
        """
        for row in await self._database.admin("wanted_index", collection=collection):
            rows = row["rows"]
            if row["index_kind"] == "ivfflat" and rows < FEW_FOR_LISTS:
                continue
            state = "ready"
            try:
                if not await self._database.build_index(_wanted(row, rows)):
                    continue
            except Unavailable:
                raise
            except FluxbaseError as error:
                log.warning("the index of a collection cannot be built: %s", error.message)
                state = "failed"
            await self._database.admin("set_index_state", name=row["name"], state=state)


def _wanted(row: Record, rows: int) -> VectorIndex:
    return VectorIndex(
        relation=row["oid"],
        schema=row["schema"],
        table=row["table"],
        column=row["column"],
        kind=row["kind"],
        metric=row["metric"],
        method=row["index_kind"],
        rows=rows,
        afresh=row["afresh"],
    )


def _text(row: Record, most: int) -> _Text:
    content: str = row["content"] or ""
    digest = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
    size = row["chunk_size"]
    if size is not None:
        parts = split(content, size, row["chunk_overlap"])
    else:
        parts = [content] if content.strip() else []
    fault = None
    if any(len(part) > most for part in parts):
        fault = f"the text has more than {most} characters; a collection with chunk_size cuts it"
    key = orjson.loads(row["key"])
    return _Text(key, row["version"], digest, parts, size is not None, fault)


def _item(text: _Text, vectors: list[list[float]]) -> dict[str, Any]:
    item = {**text.identity, "digest": text.digest}
    written = [orjson.dumps(vector).decode() for vector in vectors]
    if text.chunked:
        pairs = zip(text.parts, written, strict=True)
        return {**item, "chunks": [{"content": p, "embedding": v} for p, v in pairs]}
    return {**item, "embedding": written[0] if written else None}
