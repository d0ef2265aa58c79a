"""A table made by the tools, and what it and the like are at a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.world import Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import asyncpg

COLUMNS: Final[list[dict[str, Any]]] = [
    {"name": "id", "type": "bigint", "primary_key": True, "default_value": "1"},
    {"name": "owner", "type": "uuid", "nullable": False, "default_value": "auth.uid()"},
    {"name": "title", "type": "varchar(80)", "nullable": False, "unique": True},
    {"name": "price", "type": "numeric(10,2)", "default_value": "0.50"},
    {"name": "tags", "type": "text[]", "default_value": "ARRAY['new']"},
    {"name": "place", "type": "vector(3)"},
    {"name": "plain", "type": "text"},
    {"name": "shout", "type": "text", "generated": "upper(plain)"},
    {"name": "state", "type": "public.made_state", "default_value": "'open'"},
]
STATE: Final = {
    "columns": """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod),
          pg_get_expr(d.adbin, d.adrelid), a.attnotnull, a.attcollation
        FROM pg_attribute a
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = 'public.made_table'::regclass AND a.attnum > 0 ORDER BY a.attnum""",
    "policies": """
        SELECT policyname, permissive, cmd, roles::text, qual, with_check FROM pg_policies
        WHERE schemaname = 'public' AND tablename = 'made_table' ORDER BY policyname""",
    "values": """
        SELECT enumlabel FROM pg_enum JOIN pg_type t ON t.oid = enumtypid
        WHERE typname = 'made_state' ORDER BY enumsortorder""",
    "names": """
        SELECT CASE relkind WHEN 'i' THEN 'index ' ELSE 'table ' END || nspname || '.' || relname
          AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname ~ '^made'
        UNION ALL SELECT 'type ' || nspname || '.' || typname
        FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace
        WHERE nspname ~ '^made' AND typtype = 'e' ORDER BY 1""",
}


@pytest.fixture
async def clean(owner: asyncpg.Connection[asyncpg.Record], rows: None) -> AsyncGenerator[None]:
    yield
    await owner.execute("DROP SCHEMA IF EXISTS made, made_other CASCADE")
    await owner.execute("DROP TABLE IF EXISTS public.made_table, public.made_other CASCADE")
    await owner.execute(
        "DROP TYPE IF EXISTS public.made_state; DROP DOMAIN IF EXISTS public.made_domain"
    )


async def refused(caller: Caller, tool: str, **arguments: Any) -> Refused:
    """Return the refusal of a call that must not succeed."""
    with pytest.raises(Refused) as caught:
        await caller.call(tool, **arguments)
    return caught.value


async def state(owner: asyncpg.Connection[asyncpg.Record]) -> dict[str, Any]:
    """Return what the table that the tools made is, and its enum."""
    columns = await owner.fetch(STATE["columns"])
    policies = await owner.fetch(STATE["policies"])
    values = await owner.fetch(STATE["values"])
    return {
        "columns": {row[0]: tuple(row)[1:] for row in columns},
        "policies": {row[0]: tuple(row)[1:] for row in policies},
        "values": [row[0] for row in values],
    }
