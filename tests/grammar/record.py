"""Asks PostgREST every case and writes down what it answers: `python -m tests.grammar.record`."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections import defaultdict
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fluxbase.app.backend import open_backend
from fluxbase.config import Config
from tests.grammar.cases import RECORDED, TENANTS, Case, cases, differing
from tests.grammar.stand import Oracle, postgrest, schema

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@asynccontextmanager
async def stand(home: Path) -> AsyncGenerator[Oracle]:
    """Start a Postgres of our own with the schema, and PostgREST on it."""
    config = Config.model_validate(
        {
            "auth": {"peppers_file": home / "peppers"},
            "database": {"embedded": {"data_dir": home / "pgdata"}},
        }
    )
    # Nothing of the tools is here: they may be broken while answers are recorded.
    async with open_backend(config, notify=lambda _: None) as backend:
        url = backend.database.logins.admin
        async with schema(url), postgrest(url, home / "postgrest.log") as oracle:
            yield oracle


async def record(home: Path) -> int:
    """Write `recorded/`; return how many answers are missing because PostgREST refuses."""
    groups: defaultdict[str, dict[str, str]] = defaultdict(dict)
    refused = 0
    async with stand(home) as oracle:
        for case in cases().values():
            if case.only is not None or differing(case.name) is not None:
                continue
            told = {tenant: await _answer(oracle, case, tenant) for tenant in TENANTS}
            refused += sum(text is None for text in told.values())
            lines = [f'    "{tenant}": {text}' for tenant, text in told.items() if text]
            groups[case.group][case.name] = ",\n".join(lines)
    await asyncio.to_thread(_write, groups)
    return refused


def _write(groups: dict[str, dict[str, str]]) -> None:
    RECORDED.mkdir(exist_ok=True)
    for path in RECORDED.glob("*.json"):
        path.unlink()
    for group, answers in groups.items():
        body = ",\n".join(
            f"  {json.dumps(name, ensure_ascii=False)}: {{\n{text}\n  }}"
            for name, text in answers.items()
        )
        (RECORDED / f"{group}.json").write_text(f"{{\n{body}\n}}\n", "utf-8")


async def _answer(oracle: Oracle, case: Case, tenant: str) -> str | None:
    """Return the answer as the text of an object; its digits stay as PostgREST wrote them."""
    answer, body = await oracle.raw(case, tenant)
    if answer.status_code >= 300:
        sys.stderr.write(f"{case.name} ({tenant}): {body}\n")
        return None
    total = f', "total": {answer.headers["content-range"].rpartition("/")[2]}' if case.count else ""
    # A line break stands between rows only: inside of strings it is written as an escape.
    return f'{{"rows": {body.replace(chr(10), "")}{total}}}'


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fluxbase-grammar-") as name:
        Path(name).chmod(0o755)  # who runs Postgres must reach it
        missing = asyncio.run(record(Path(name)))
    raise SystemExit(missing > 0)
