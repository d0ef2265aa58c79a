"""Administrators see the database as a whole; others see what is theirs, and types of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.programs import ROOT
from tests.world import Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import asyncpg

WORLD = """
CREATE TABLE public.bad (id int PRIMARY KEY, note_id bigint REFERENCES public.notes, word text);
ALTER TABLE public.bad ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON public.bad FOR UPDATE TO authenticated USING (true);
GRANT SELECT, UPDATE, DELETE ON public.bad TO authenticated;
CREATE INDEX bad_word ON public.bad (word);
CREATE INDEX bad_word_again ON public.bad (word);
INSERT INTO storage.buckets (id, public) VALUES ('open-bucket', true) ON CONFLICT DO NOTHING;
"""


@pytest.fixture
async def bad(owner: asyncpg.Connection[asyncpg.Record], rows: None) -> AsyncGenerator[None]:
    await owner.execute(WORLD)
    yield
    await owner.execute(
        "DROP TABLE public.bad; DELETE FROM storage.buckets WHERE id = 'open-bucket'"
    )


async def findings(service: Caller, tool: str) -> dict[tuple[str, str], dict[str, Any]]:
    if tool == "security":
        found = await service.call("advise_security")
    else:
        found = await service.call("advise_performance")
    assert found["count"] == len(found["findings"])
    return {(f["name"], f["target"]): f for f in found["findings"]}


async def test_schemas_are_those_of_which_a_table_is_seen(user1: Caller, service: Caller) -> None:
    mine = await user1.call("list_schemas")
    assert mine == {"schemas": [{"name": "public", "is_system": False}], "count": 1}
    every = await service.call("list_schemas", include_system=True)
    names = {s["name"]: s["is_system"] for s in every["schemas"]}
    assert names["hidden"] is False
    assert names["auth"] is names["pg_catalog"] is True
    with pytest.raises(Refused):
        await user1.call("list_schemas", include_system=True)


async def test_policies_are_those_that_apply(user1: Caller) -> None:
    found = await user1.call("list_policies", table="notes")
    [policy] = found["policies"]
    assert (policy["table"], policy["row_level_security"]) == ("public.notes", True)
    assert policy["policy"]["name"] == "own"
    assert (await user1.call("list_policies"))["count"] > 1


async def test_what_is_unsafe_is_found_with_its_remedy(bad: None, service: Caller) -> None:
    found = await findings(service, "security")
    assert found["table_without_rls", "public.unprotected"]["level"] == "unsafe"
    assert "ENABLE ROW LEVEL" in found["table_without_rls", "public.unprotected"]["fix"]
    assert "update every row" in found["policy_always_true", "public.bad"]["text"]
    assert found["grant_without_policy", "public.bad"]["fix"] == (
        "REVOKE DELETE ON public.bad FROM authenticated;"
    )
    assert ("bucket_public", "open-bucket") in found


async def test_what_is_slow_is_found_with_its_remedy(
    bad: None, service: Caller, owner: asyncpg.Connection[asyncpg.Record]
) -> None:
    found = await findings(service, "performance")
    missing = found["foreign_key_without_index", "public.bad"]
    assert missing["fix"] == "CREATE INDEX CONCURRENTLY ON public.bad (note_id);"
    double = found["index_duplicate", "public.bad"]
    assert "bad_word_again" in double["fix"]
    await owner.execute("CREATE INDEX ON public.bad (note_id); DROP INDEX public.bad_word_again")
    after = await findings(service, "performance")
    assert not {name for name, target in after if target == "public.bad"}


async def test_a_table_s_numbers_are_told(service: Caller, rows: None) -> None:
    stats = await service.call("get_table_stats", table="notes")
    assert stats["table"] == "public.notes"
    assert stats["total_bytes"] >= stats["table_bytes"] > 0
    assert {"notes_pkey", "notes_rank"} <= {index["name"] for index in stats["indexes"]}
    with pytest.raises(Refused) as caught:
        await service.call("get_table_stats", table="nothing")
    assert caught.value.code == "FLX201"


async def test_extensions_are_listed(service: Caller) -> None:
    found = {e["name"]: e for e in (await service.call("list_extensions"))["extensions"]}
    assert found["vector"]["version"] is not None
    assert found["vector"]["schema"] == "extensions"


async def test_statements_need_their_extension(service: Caller) -> None:
    with pytest.raises(Refused) as caught:
        await service.call("slow_queries")
    assert "pg_stat_statements" in caught.value.message


async def test_types_of_typescript_are_accepted_by_its_compiler(
    user1: Caller, tmp_path: Path
) -> None:
    made = await user1.call("generate_types", schema="public")
    source = made["source"]
    assert "price: number | null;" in source
    assert 'mood: "calm" | "glad" | "wild" | null;' in source
    assert "secret" not in source
    assert source.count("shout: string") == 1  # it is read, and never written
    assert '"odd \\"name\\" ' not in source  # quoted as TypeScript has it, not as SQL
    file = tmp_path / "types.ts"
    file.write_text(source)
    node = ROOT / ".tools" / "node" / "bin" / "node"
    check = "import(process.argv[1]).then(() => console.log('ok'))"
    process = await asyncio.create_subprocess_exec(
        str(node),
        "--experimental-strip-types",
        "--no-warnings",
        "-e",
        check,
        str(file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (0, b"ok\n"), errors


async def test_types_of_python_are_types(user1: Caller) -> None:
    made = await user1.call("generate_types", language="python")
    space: dict[str, Any] = {}
    exec(compile(made["source"], "types.py", "exec"), space)  # noqa: S102 - our own
    assert space["NotesRow"].__annotations__["title"]
    assert "secret" not in space["NotesRow"].__annotations__
    assert space["NotesInsert"].__required_keys__ == {"title"}
    assert json.dumps(sorted(space["NotesUpdate"].__annotations__))
    assert "id" not in space["NotesUpdate"].__annotations__
