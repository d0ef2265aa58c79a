"""Collections by the command line: what waits is embedded, with a bar for those who can see it."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cli_stand import Place, place
from tests.integration.vectors.model import SIZE, Model, serving_model

if TYPE_CHECKING:
    from collections.abc import Generator

SCHEMA = f"""-- migrate:up
CREATE TABLE public.articles (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  body text,
  embedding extensions.vector({SIZE})
);
ALTER TABLE public.articles ENABLE ROW LEVEL SECURITY;
INSERT INTO public.articles (body) SELECT 'article ' || n FROM generate_series(1, 30) n;
INSERT INTO vectors.collections
  (name, source, text_column, embedding_column, model, dimensions, metric, index_kind)
VALUES ('articles', 'public.articles', 'body', 'embedding', 'text-embedding-3-small', {SIZE},
  'cosine', 'hnsw');
"""


@contextmanager
def model_aside() -> Generator[tuple[str, Model]]:
    """Serve a model from a thread of its own, while commands are waited for."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = serving_model()
    try:
        yield asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result(10)
        asyncio.run_coroutine_threadsafe(served.__aexit__(None, None, None), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def here() -> Generator[tuple[Place, Model]]:
    with model_aside() as (url, model), place() as made:
        config = (made.folder / "fluxbase.yaml").read_text()
        made.configure(f"{config}vectors:\n  embeddings: {{url: '{url}', batch_size: 4}}\n")
        (made.folder / "migrations").mkdir()
        (made.folder / "migrations" / "0001_articles.sql").write_text(SCHEMA)
        assert made.run("migrate", "up").code == 0
        yield made, model


def on_a_terminal(here: Place, *words: str) -> tuple[int, str]:
    """Run a command whose errors and progress go to a terminal, and return all of that."""
    outer, inner = pty.openpty()
    with subprocess.Popen(
        ["fluxbase", *words],
        cwd=here.folder,
        env=here.env | {"TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=inner,
    ) as process:
        os.close(inner)
        said = b""
        while True:
            try:
                piece = os.read(outer, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            said += piece
    os.close(outer)
    return process.returncode, said.decode()


def test_what_waits_is_embedded_and_indexed(here: tuple[Place, Model]) -> None:
    place_, model = here
    [listed] = place_.run("vectors", "ls", "-o", "json").json
    assert (listed["name"], listed["index_state"]) == ("articles", "wanted")
    code, said = on_a_terminal(place_, "vectors", "reindex", "articles")
    assert code == 0, said
    assert "30/30" in said
    assert sum(len(asked["input"]) for asked in model.asked) == 30
    table = place_.run("vectors", "ls")
    assert "articles" in table.out
    assert "ready" in table.out
    again = place_.run("vectors", "reindex", "articles", "-o", "json")
    assert again.json == {
        "collection": "articles", "embedded": 0, "waiting": 0, "failed": 0, "error": None,
        "index": "ready",
    }  # fmt: skip
    every = place_.run("vectors", "reindex", "articles", "--every", "-o", "json")
    assert every.json["embedded"] == 30


def test_what_goes_wrong_is_told(here: tuple[Place, Model]) -> None:
    place_, model = here
    none = place_.run("vectors", "reindex", "nothing")
    assert (none.code, "No such collection" in none.err) == (1, True)
    model.down = True
    away = place_.run("vectors", "reindex", "articles")
    assert (away.code, "does not answer" in away.err) == (1, True)
    [listed] = place_.run("vectors", "ls", "-o", "json").json
    assert listed["waiting"] == 30
    assert "does not answer" in listed["error"]
    model.down = False
    assert place_.run("vectors", "reindex", "articles", "-o", "json").json["embedded"] == 30
    assert "reindex" in place_.run("vectors", "--help").out
