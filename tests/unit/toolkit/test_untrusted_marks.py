"""Which answers hold what users wrote: each tool and resource says so, and forgetting it shows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

import pytest

from fluxbase.app.rooms import toolbox
from fluxbase.config import Config
from fluxbase.toolkit import Context, resource, tool
from fluxbase.toolkit.json_text import JsonRows  # noqa: TC001 - read by the signature
from fluxbase.toolkit.resource import resources_of
from fluxbase.toolkit.tool import Tool, tools_of

# Every tool and resource stands here, true when its text holds what users wrote.
TOOLS: Final = {
    "query_table": True,
    "insert_record": True,
    "update_record": True,
    "delete_record": True,
    "count_records": False,
    "list_objects": True,
    "get_object_info": True,
    "download_object": True,
    "upload_object": False,
    "copy_object": False,
    "move_object": False,
    "delete_object": False,
    "create_signed_url": False,
    "list_buckets": False,
    "create_bucket": False,
    "update_bucket": False,
    "delete_bucket": False,
    "create_schema": False,
    "drop_schema": False,
    "create_table": False,
    "drop_table": False,
    "alter_table": False,
    "rename_table": False,
    "add_column": False,
    "drop_column": False,
    "rename_column": False,
    "create_index": False,
    "drop_index": False,
    "create_policy": False,
    "drop_policy": False,
    "create_enum": False,
    "drop_enum": False,
    "list_schema_changes": True,
    "alter_column": False,
    "alter_policy": False,
    "rename_policy": False,
    "alter_enum": False,
    "rename_schema": False,
    "rename_index": False,
    "rename_enum": False,
    "list_schemas": False,
    "list_policies": False,
    "generate_types": False,
    "list_extensions": False,
    "get_table_stats": False,
    "slow_queries": True,
    "advise_security": False,
    "advise_performance": False,
    "search_vectors": True,
    "upsert_vectors": False,
    "list_rpc": True,
    "invoke_rpc": True,
    "get_rpc_execution": True,
    "cancel_rpc_execution": True,
    "set_secret": False,
    "list_secrets": False,
    "delete_secret": False,
    "publish_procedure": False,
    "withdraw_procedure": False,
    "list_job_types": True,
    "submit_job": True,
    "get_job_status": True,
    "list_jobs": True,
    "cancel_job": True,
    "retry_job": True,
    "publish_job": False,
    "withdraw_job": False,
    "create_schedule": False,
    "list_schedules": False,
    "delete_schedule": False,
    "list_functions": True,
    "invoke_function": True,
    "get_function_logs": True,
    "deploy_function": False,
    "list_function_versions": False,
    "rollback_function": False,
    "delete_function": False,
    "list_collections": False,
    "create_collection": False,
    "reindex_collection": False,
    "delete_collection": False,
    "execute_sql": True,
    "explain_query": True,
    "list_tables": False,
    "describe_table": False,
}
RESOURCES: Final = {
    "fluxbase://rows/{query}": True,
    "fluxbase://storage/buckets": False,
    "fluxbase://storage/{bucket}/{+key}": True,
    "fluxbase://rpc": False,
    "fluxbase://jobs/{job_id}": True,
    "fluxbase://functions": True,
    "fluxbase://schema/tables": False,
    "fluxbase://schema/tables?offset={offset}": False,
    "fluxbase://schema/tables/{schema}/{table}": False,
}


@dataclass
class Rows:
    """Rows, passed on unread."""

    rows: JsonRows


@dataclass
class Kept:
    """An object of the caller's making."""

    meta: dict[str, Any] | None


@dataclass
class Inner:
    """Known members only."""

    name: str


@dataclass
class Closed:
    """Known members only, also further down."""

    items: list[Inner]


@tool(scopes=(), title="t")
async def forgotten_rows(_ctx: Context) -> Rows:
    """Return rows."""
    raise NotImplementedError


@tool(scopes=(), title="t")
async def forgotten_object(_ctx: Context) -> Kept:
    """Return an object."""
    raise NotImplementedError


@tool(scopes=(), title="t")
async def closed(_ctx: Context) -> Closed:
    """Return what the server knows."""
    raise NotImplementedError


@tool(scopes=(), title="t", untrusted=True)
async def marked_text(_ctx: Context) -> Inner:
    """Return a text that a user wrote."""
    raise NotImplementedError


@resource("test://rows", scopes=(), title="t", untrusted=True)
async def marked_resource(_ctx: Context) -> str:
    """Return rows."""
    raise NotImplementedError


@resource("test://facts", scopes=(), title="t")
async def plain_resource(_ctx: Context) -> str:
    """Return what the server knows."""
    raise NotImplementedError


MINE: Final = {t.name: t for t in tools_of(sys.modules[__name__])}


def shows_rows(found: Tool) -> bool:
    members = (found.signature.output_schema or {}).get("properties", {})
    return bool({"rows", "records"} & set(members))


def test_every_tool_and_resource_is_known_to_be_marked_or_not() -> None:
    box = toolbox(Config())
    assert {t.name: t.untrusted for t in box.tools.values()} == TOOLS
    assert {r.uri: r.untrusted for r in box.resources.values()} == RESOURCES


def test_a_tool_that_returns_rows_is_marked() -> None:
    unmarked = [t.name for t in toolbox(Config()).tools.values() if shows_rows(t)]
    assert unmarked
    assert not [t for t in unmarked if not toolbox(Config()).tools[t].untrusted]


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("forgotten_rows", True),
        ("forgotten_object", True),
        ("closed", False),
        ("marked_text", True),
    ],
)
def test_results_with_room_for_rows_are_marked_also_when_nobody_thought_of_it(
    name: str, marked: bool
) -> None:
    assert MINE[name].untrusted is marked


def test_a_resource_is_marked_when_it_says_so() -> None:
    found = {r.uri: r.untrusted for r in resources_of(sys.modules[__name__])}
    assert found == {"test://rows": True, "test://facts": False}
