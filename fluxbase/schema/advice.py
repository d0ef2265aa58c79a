"""Says what administrators should look at, with SQL that mends it; it must not change anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbase.db.sql import ident
from fluxbase.schema.lints import lint

if TYPE_CHECKING:
    from fluxbase.db.types import Record
    from fluxbase.toolkit import Context

_LARGE: Final = 1_048_576  # bytes from which on an unused index is worth a word


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to look at; `level` is unsafe, warning or info."""

    name: str
    level: str
    target: str
    text: str
    fix: str


async def security(ctx: Context) -> list[Advice]:
    """Return what clients may reach too much by."""
    schemas = list(ctx.config.exposed_schemas)
    found = [
        Advice(f.lint, "unsafe" if f.unsafe else "info", f.target, f.text, f.fix)
        for f in await lint(ctx.database)
    ]
    for row in await ctx.database.admin("advise_policies", schemas=schemas):
        text = f"the policy {row['policy']} lets clients {_verb(row['command'])} every row"
        policy = ident(row["policy"])
        fix = f"ALTER POLICY {policy} ON {row['target']} USING (…) WITH CHECK (…);"
        found.append(Advice("policy_always_true", "warning", row["target"], text, fix))
    for row in await ctx.database.admin("advise_grants", schemas=schemas):
        text = f"{row['grantee']} may {row['privilege']}, and no policy ever lets it"
        fix = f"REVOKE {row['privilege']} ON {row['target']} FROM {row['grantee']};"
        found.append(Advice("grant_without_policy", "info", row["target"], text, fix))
    for row in await ctx.database.admin("advise_public_buckets"):
        fix = f"update_bucket with bucket: {row['target']}, public: false"
        text = "anybody may read the bucket's objects by their address"
        found.append(Advice("bucket_public", "info", row["target"], text, fix))
    return found


async def performance(ctx: Context) -> list[Advice]:
    """Return what makes reading or writing slower than it need be."""
    schemas = list(ctx.config.exposed_schemas)
    ask = ctx.database.admin
    found: list[Advice] = []
    for row in await ask("advise_foreign_keys", schemas=schemas):
        text = f"no index begins with the columns of the foreign key {row['key']}"
        fix = f"CREATE INDEX CONCURRENTLY ON {row['target']} ({row['columns']});"
        found.append(Advice("foreign_key_without_index", "warning", row["target"], text, fix))
    for row in await ask("advise_duplicate_indexes", schemas=schemas):
        text = f"{row['index']} does what {row['other']} does; it has {row['bytes']} bytes"
        found.append(Advice("index_duplicate", "warning", row["target"], text, _drop(row)))
    for row in await ask("advise_unused_indexes", schemas=schemas, bytes=_LARGE):
        text = f"{row['index']} was never used; it has {row['bytes']} bytes"
        found.append(Advice("index_unused", "info", row["target"], text, _drop(row)))
    for row in await ask("advise_tables", schemas=schemas):
        found += _of_table(row)
    return found


def _of_table(row: Record) -> list[Advice]:
    found: list[Advice] = []
    live, dead = row["live_rows"], row["dead_rows"]
    if live >= 10_000 and row["seq_scans"] > max(100, row["index_scans"]):
        text = f"{live} rows were read from end to end {row['seq_scans']} times"
        fix = "CREATE INDEX CONCURRENTLY ON " + row["target"] + " (…);"
        found.append(Advice("sequential_scans", "warning", row["target"], text, fix))
    if dead > max(10_000, live / 5):
        text = f"{dead} dead rows lie beside {live} live ones"
        found.append(Advice("bloat", "warning", row["target"], text, f"VACUUM {row['target']};"))
    return found


def _drop(row: Record) -> str:
    return f"DROP INDEX CONCURRENTLY {row['index']};"


def _verb(command: str) -> str:
    return {"ALL": "change", "INSERT": "insert", "UPDATE": "update"}.get(command, "delete")
