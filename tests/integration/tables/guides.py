"""Runs the examples of the guides and writes what the server answers into their pages.

An example is a comment `<!-- example: … -->` and two fenced blocks after it: what is asked, as the
JSON arguments of a tool or as SQL of the owner, and what is answered. The comment's words are
`tool=` (`query_table` unless said), `caller=` (`user1` unless said) and `show=`:

- `text` (unless said): what a model reads, JSON broken into lines, every digit as it came;
- `all`: the structured result, which tells of further pages too;
- `rest`: the link of an answer that was cut off, and what is read there;
- `sizes`: the bytes of the text in each `output`;
- `sql`: the block is SQL, run as the owner.

A table after a comment `<!-- finds -->` is of examples too: each row has a filter of plants, what
it means, and the names that it finds.

`python -m tests.integration.tables.guides --write` writes every answer anew. Where a guide asks
with a cursor, it is the `next_after` of the answer before.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import re
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg
import httpx2

from fluxbase.app.backend import Backend, open_backend
from fluxbase.app.server import Server
from fluxbase.db.database import Database
from tests.conftest import config_for
from tests.programs import ROOT
from tests.world import CALLERS, Caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from fluxbase.auth.token import KeyKind

GUIDES: Final = ROOT / "docs" / "guides"
PAGES: Final = ("querying", "writing")
SCHEMA: Final = ROOT / "docs" / "examples" / "garden.sql"
SHOWN: Final = ("text", "all", "rest", "sizes", "sql")
_VERSION: Final = "2025-11-25"
ASKING: Final = ("user1", "user2", "service")
OUTPUTS: Final = ("json", "columns", "csv")
_WIDTH: Final = 110
_MARK: Final = re.compile(r"^<!-- example(?::(?P<words>[^>]*))? -->$", re.MULTILINE)
_BLOCKS: Final = re.compile(
    r"\n+```(?P<asks>json|sql)\n(?P<asked>.*?)^```\n+```(?:json|csv|text)\n(?P<told>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_TABLE: Final = re.compile(r"^<!-- finds -->\n+(?P<table>(?:\|.*\n)+)", re.MULTILINE)
_ROW: Final = re.compile(r"^\| `(?P<filter>\{.*?\})` \| .*? \| (?P<told>.*?) \|$", re.MULTILINE)
_DIGITS: Final = "\x00"


@dataclass(frozen=True, slots=True)
class Example:
    """One example of a page; `answer` is where its answer stands, with the fences of a block."""

    asked: str
    told: str
    answer: tuple[int, int]
    tool: str = "query_table"
    caller: str = "user1"
    show: str = "text"

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that are sent, none for SQL."""
        return {} if self.show == "sql" else json.loads(self.asked)


@dataclass(frozen=True, slots=True)
class Garden:
    """A server whose tables are those of the examples, and who asks it."""

    callers: Mapping[str, Caller]
    owner: asyncpg.Connection[asyncpg.Record]


def read(name: str) -> str:
    """Return the text of a guide."""
    return (GUIDES / f"{name}.md").read_text("utf-8")


def examples(page: str) -> list[Example]:
    """Return the examples of a page, in order.

    Raises:
        ValueError: a comment is not followed by two blocks, or has a word that nobody knows.
    """
    return sorted([*_of_blocks(page), *_of_tables(page)], key=lambda example: example.answer)


def _of_tables(page: str) -> list[Example]:
    found: list[Example] = []
    for table in _TABLE.finditer(page):
        rows = list(_ROW.finditer(page, table.start("table"), table.end("table")))
        if len(rows) != table["table"].count("\n") - 2:  # its head and the line below
            line = page.count("\n", 0, table.start()) + 1
            raise ValueError(f"line {line}: a row of the table cannot be read")
        for row in rows:
            filters = row["filter"]
            asked = f'{{"table":"plants","select":"name","order":"id","filter":{filters}}}'
            found.append(Example(asked, row["told"], row.span("told"), show="names"))
    return found


def _of_blocks(page: str) -> list[Example]:
    found: list[Example] = []
    for mark in _MARK.finditer(page):
        blocks = _BLOCKS.match(page, mark.end())
        line = page.count("\n", 0, mark.start()) + 1
        if blocks is None:
            raise ValueError(f"line {line}: an example needs what is asked and what is answered")
        words = dict(word.split("=", 1) for word in (mark["words"] or "").split())
        known = words.keys() <= {"tool", "caller", "show"}
        if not known or words.get("show", "text") not in SHOWN:
            raise ValueError(f"line {line}: an unknown word")
        if (words.get("show") == "sql") != (blocks["asks"] == "sql"):
            raise ValueError(f"line {line}: show=sql is for SQL")
        start = page.rindex("\n```", 0, blocks.start("told")) + 1
        found.append(Example(blocks["asked"], blocks["told"], (start, blocks.end()), **words))
    return found


async def answered(page: str, garden: Garden) -> str:
    """Return the page with what the server answers now."""
    parts: list[str] = []
    place = 0
    for example in examples(page):
        parts += [page[place : example.answer[0]], await _answer(example, garden)]
        place = example.answer[1]
    return "".join([*parts, page[place:]])


def difference(page: str, now: str) -> str:
    """Return how the answers of a page differ from those of now, or nothing."""
    lines = difflib.unified_diff(
        page.splitlines(), now.splitlines(), "the guide", "the server", lineterm="", n=6
    )
    return "\n".join(lines)


async def _answer(example: Example, garden: Garden) -> str:
    if example.show == "sql":
        return _fenced("text", await _sql(garden.owner, example.asked))
    caller = garden.callers[example.caller]
    if example.show == "sizes":
        return _fenced("text", "\n".join([await _size(caller, example, o) for o in OUTPUTS]))
    result = await _call(caller, example.tool, example.arguments)
    text = result["content"][0]["text"]
    if example.show == "names":
        return _names(text, refused=result["isError"])
    if result["isError"]:
        return _fenced("text", text)
    if example.show == "text" and text[0] not in "[{":
        return _fenced("csv", text)
    shown = result["structuredContent"] if example.show == "all" else _exact(text)
    if example.show == "rest":
        shown = await _rest(caller, result["content"][1])
    return _fenced("json", fitted(shown))


def _names(text: str, *, refused: bool) -> str:
    if refused:
        return text.replace("\n", " ")
    return ", ".join(row["name"] for row in json.loads(text)) or "nothing"


async def _rest(caller: Caller, link: dict[str, Any]) -> dict[str, Any]:
    found = await _ask(caller, "resources/read", uri=link["uri"])
    return {"link": link, "read": _exact(found["contents"][0]["text"])}


async def _call(caller: Caller, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return await _ask(caller, "tools/call", name=tool, arguments=arguments)


async def _ask(caller: Caller, method: str, **params: Any) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = _exact((await caller.post(body, mcp_protocol_version=_VERSION)).text)
    if "result" not in answer:
        raise RuntimeError(f"{method} {params}: {answer}")
    return answer["result"]


async def _size(caller: Caller, example: Example, output: str) -> str:
    result = await _call(caller, example.tool, {**example.arguments, "output": output})
    size = len(result["content"][0]["text"].encode())
    return f"{output:<8}{size:>6} bytes"


async def _sql(owner: asyncpg.Connection[asyncpg.Record], text: str) -> str:
    """Run one statement and return its rows, one on each line."""
    rows = await owner.fetch(text)
    if not rows:
        return "no rows"
    return "\n".join(", ".join(f"{k}: {v}" for k, v in row.items()) for row in rows)


def _exact(text: str) -> Any:
    """Return JSON whose numbers are texts marked as such, with every digit they had."""

    def number(digits: str) -> str:
        return _DIGITS + digits

    return json.loads(text, parse_int=number, parse_float=number)


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _compact(value: Any) -> str:
    if isinstance(value, str) and value.startswith(_DIGITS):
        return value.removeprefix(_DIGITS)
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return "{" + ", ".join(f"{_compact(k)}: {_compact(v)}" for k, v in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_compact, cast("list[Any]", value))) + "]"
    return json.dumps(value, ensure_ascii=False)


def fitted(value: Any, indent: str = "", before: int = 0) -> str:
    """Return JSON on one line where it fits, and else broken into its members.

    A list of several objects is always broken: one row on each line is how rows are read.
    """
    compact = _compact(value)
    rows = isinstance(value, list) and len(cast("list[Any]", value)) > 1 and compact[1] == "{"
    short = len(indent) + before + len(compact) <= _WIDTH
    if (short and not rows) or not isinstance(value, dict | list):
        return compact
    inner = indent + "  "
    if isinstance(value, dict):
        pairs = [(f"{_compact(k)}: ", v) for k, v in cast("dict[str, Any]", value).items()]
        members = [inner + k + fitted(v, inner, len(k)) for k, v in pairs]
        return "{\n" + ",\n".join(members) + "\n" + indent + "}"
    members = [inner + fitted(v, inner) for v in cast("list[Any]", value)]
    return "[\n" + ",\n".join(members) + "\n" + indent + "]"


@asynccontextmanager
async def garden(
    backend: Backend, home: Path, keys: Mapping[str, tuple[str, str]]
) -> AsyncGenerator[Garden]:
    """Serve the examples' tables, which are new and gone at the end."""
    owner = await asyncpg.connect(backend.database.logins.admin)
    try:
        await owner.execute("DROP SCHEMA IF EXISTS garden CASCADE")
        await owner.execute(SCHEMA.read_text("utf-8"))
        config = config_for(home, database={"exposed_schemas": ["garden"], "client_pool_size": 2})
        database = Database(config.database, backend.database.logins)
        await database.open()
        other = replace(backend, config=config, database=database, postgres=None)
        try:
            async with Server(other).running() as app:
                transport = httpx2.ASGITransport(app=app, client=("127.0.0.1", 12345))
                async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
                    callers = {name: Caller(name, *keys[name], http) for name in ASKING}
                    yield Garden(callers, owner)
        finally:
            await database.close()
    finally:
        await owner.execute("SET client_min_messages = error; DROP SCHEMA garden CASCADE")
        await owner.close()


async def _main(home: Path, *, write: bool) -> int:
    wrong = 0
    async with open_backend(config_for(home), notify=lambda _: None) as backend:
        issued = {
            name: await backend.keys.create(cast("KeyKind", CALLERS[name][0]), CALLERS[name][1])
            for name in ASKING
        }
        keys = {name: (key.id, key.key) for name, key in issued.items()}
        for name in PAGES:
            async with garden(backend, home, keys) as served:
                page = await asyncio.to_thread(read, name)
                now = await answered(page, served)
            sys.stdout.write(difference(page, now))
            wrong += page != now
            if write:
                await asyncio.to_thread((GUIDES / f"{name}.md").write_text, now, "utf-8")
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.integration.tables.guides")
    parser.add_argument("--write", action="store_true", help="write the answers into the pages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fluxbase-guides-") as folder:
        Path(folder).chmod(0o755)  # who runs Postgres must reach it
        differ = asyncio.run(_main(Path(folder), write=options.write))
    sys.exit(bool(differ) and not options.write)
