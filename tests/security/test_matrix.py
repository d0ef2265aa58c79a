"""Caller by tool and caller by resource, from `matrix.yaml`: what is not granted does not exist."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from jose import jwt

from fluxbase.app.rooms import toolbox
from fluxbase.auth.keys import NewKey
from fluxbase.config import Config
from fluxbase.principal import SCOPES, Principal
from fluxbase.toolkit.toolbox import Toolbox
from tests.world import USER1, Caller, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import asyncpg
    import httpx2

    from fluxbase.app.backend import Backend

MATRIX: Final[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "matrix.yaml").read_text("utf-8")
)
TOOLS: Final[dict[str, Any]] = MATRIX["tools"]
RESOURCES: Final[dict[str, Any]] = MATRIX["resources"]
PROMPTS: Final[dict[str, Any]] = MATRIX["prompts"]
CALLERS: Final[dict[str, Any]] = MATRIX["callers"]
JWT_SCOPES: Final = ["read:tables", "write:tables", "read:schema"]
READS: Final = ("read:tables", "read:schema")
SCOPES_OF: Final = {
    scope: (scope,)
    for scope in ("read:storage", "execute:rpc", "execute:functions", "execute:jobs")
}
GRANTS: Final = {"read": {"*", "read:tables"}, "schema": {"*", "read:tables", "read:schema"}}
SECRET: Final = "a secret of the tests, long enough for HS256"
JWT: Final = {"secret": SECRET, "issuer": "https://issuer.test", "audience": ["fluxbase"]}
UNKNOWN: Final = "no_tool_of_this_name"
NOWHERE: Final = "fluxbase://nowhere/at/all"


def expected(row: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Return the tools and the resources that a row of the matrix grants."""
    tools = (
        set(row["only"])
        if "only" in row
        else {name for name, tool in TOOLS.items() if tool["scope"] in row["groups"]}
    )
    granted = row["resources"]
    if isinstance(granted, list):
        return tools, {str(uri) for uri in granted}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if granted != "all":
        return tools, set()
    held = set(row.get("key", {"scopes": JWT_SCOPES}).get("scopes", ["*"]))
    return tools, {
        uri
        for uri, e in RESOURCES.items()
        if e.get("tool") in (None, *tools) and held & {"*", *SCOPES_OF.get(e.get("scope"), READS)}
    }


VECTORS: Final = """
CREATE TABLE public.matrix_vectors
  (id int PRIMARY KEY, v extensions.vector(2), body text, w extensions.vector(2));
ALTER TABLE public.matrix_vectors ENABLE ROW LEVEL SECURITY;
CREATE POLICY open ON public.matrix_vectors USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON public.matrix_vectors TO authenticated;
INSERT INTO public.matrix_vectors VALUES (1, '[1,0]');
INSERT INTO vectors.collections
  (name, source, text_column, embedding_column, dimensions, metric, index_kind)
VALUES ('matrix', 'public.matrix_vectors', 'body', 'v', 2, 'cosine', 'none');
CREATE FUNCTION public.matrix_add(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a + b';
INSERT INTO rpc.procedures (name, function, public, read_only)
VALUES ('matrix_add', 'public.matrix_add(integer, integer)', true, true);
INSERT INTO jobs.definitions (name, handler, public, timeout_seconds, max_attempts)
VALUES ('matrix_job', 'rpc:default.matrix_add', true, 30, 5);
WITH f AS (INSERT INTO functions.functions (name, public, version) VALUES ('matrix_fn', true, 1)
  RETURNING id)
INSERT INTO functions.versions (function, version, code, sources, deployed_by)
SELECT id, 1, 'export default () => new Response("x")', '{}', 'tests' FROM f;
"""


@pytest.fixture
async def files(
    backend: Backend, http: httpx2.AsyncClient, owner: asyncpg.Connection[asyncpg.Record]
) -> AsyncGenerator[None]:
    """Put the bucket of the matrix back to its first objects, all of user1; make some vectors."""
    await owner.execute(
        "DELETE FROM storage.objects WHERE bucket_id LIKE 'matrix%';"
        "DELETE FROM storage.buckets WHERE id LIKE 'matrix%';"
        "INSERT INTO storage.buckets (id) VALUES ('matrix')"
    )
    new = NewKey("files of the matrix", ("write:storage",), user_id=USER1)
    issued = await backend.keys.create("client_key", new)
    filer = Caller("filer", issued.id, issued.key, http)
    for key in ("kept", "moves", "goes"):
        await filer.call("upload_object", bucket="matrix", key=key, content="x")
    await backend.keys.delete("client_key", issued.id)
    await owner.execute(VECTORS)
    yield
    await owner.execute(
        "DELETE FROM vectors.collections; DROP TABLE public.matrix_vectors; "
        "DELETE FROM functions.functions; DELETE FROM rpc.procedures; "
        "DELETE FROM jobs.jobs; DELETE FROM jobs.definitions; "
        "DROP FUNCTION public.matrix_add"
    )


def token() -> str:
    now = int(time.time())
    claims = {
        "sub": USER1, "role": "authenticated", "iss": JWT["issuer"], "aud": "fluxbase", "iat": now,
        "exp": now + 600, "scopes": ["*"], "scope": "*",
    }  # fmt: skip
    return jwt.encode(claims, SECRET, algorithm="HS256")


@asynccontextmanager
async def caller_of(
    row: dict[str, Any], backend: Backend, http: httpx2.AsyncClient, serving: Callable[..., Any]
) -> AsyncGenerator[Caller]:
    if "token" in row:
        async with serving(auth={"jwt": JWT}) as client:
            text = token()
            yield TokenCaller("token", "token", text, client)
        return
    kind = row.get("kind", "client_key")
    user = USER1 if kind == "client_key" else None
    issued = await backend.keys.create(kind, NewKey("matrix", user_id=user, **row["key"]))
    yield Caller("matrix", issued.id, issued.key, http)
    await backend.keys.delete(kind, issued.id)


class TokenCaller(Caller):
    async def post(self, body: Any, **headers: str) -> httpx2.Response:
        sent = {"Authorization": f"Bearer {self.key}"}
        return await self.http.post(self.path, json=body, headers=sent)


async def body_of(caller: Caller, method: str, **params: Any) -> tuple[int, bytes]:
    """Return the status and the bytes of an answer, of which nothing changes from call to call."""
    answer = await caller.post({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
    return answer.status_code, answer.content


def test_every_tool_and_every_resource_stands_in_the_matrix() -> None:
    registry = toolbox(Config())
    assert registry.tools.keys() == TOOLS.keys()
    assert registry.resources.keys() == RESOURCES.keys()
    assert registry.prompts.keys() == PROMPTS.keys()


def test_every_scope_stands_alone_in_the_matrix() -> None:
    alone = [
        tuple(row["key"]["scopes"]) for name, row in CALLERS.items() if name.startswith("only ")
    ]
    assert sorted(alone) == sorted((scope,) for scope in SCOPES)


@pytest.mark.parametrize("name", CALLERS)
async def test_a_caller_has_exactly_the_tools_of_its_row(
    name: str,
    backend: Backend,
    http: httpx2.AsyncClient,
    rows: None,
    files: None,
    serving: Callable[..., Any],
) -> None:
    tools, resources = expected(CALLERS[name])
    async with caller_of(CALLERS[name], backend, http, serving) as caller:
        listed = (await caller.rpc("tools/list"))["result"]["tools"]
        assert {tool["name"] for tool in listed} == tools
        for tool, entry in TOOLS.items():
            if tool in tools and "refused" in entry:
                with pytest.raises(Refused) as refused:
                    await caller.call(tool, **entry["ask"])
                assert refused.value.code == entry["refused"]
            elif tool in tools:
                await caller.call(tool, **entry["ask"])
            else:
                await assert_no_such_tool(caller, tool, entry["ask"])
        plain = (await caller.rpc("resources/list"))["result"]["resources"]
        templates = (await caller.rpc("resources/templates/list"))["result"]["resourceTemplates"]
        uris = {r["uri"] for r in plain} | {r["uriTemplate"] for r in templates}
        assert uris == resources
        nowhere = await body_of(caller, "resources/read", uri=NOWHERE)
        for uri, entry in RESOURCES.items():
            answer = await body_of(caller, "resources/read", uri=entry["ask"])
            found = uri in resources and "refused" not in entry
            assert (b'"result"' in answer[1]) is found, uri
            assert found or answer == nowhere, uri


@pytest.mark.parametrize("name", CALLERS)
async def test_a_caller_has_exactly_the_prompts_of_its_scopes(
    name: str,
    backend: Backend,
    http: httpx2.AsyncClient,
    rows: None,
    serving: Callable[..., Any],
) -> None:
    held = set(CALLERS[name].get("key", {"scopes": JWT_SCOPES}).get("scopes", ["*"]))
    async with caller_of(CALLERS[name], backend, http, serving) as caller:
        listed = (await caller.rpc("prompts/list"))["result"]["prompts"]
        granted = {p for p, e in PROMPTS.items() if held & GRANTS[e["scope"]]}
        assert {prompt["name"] for prompt in listed} == granted
        never = await body_of(caller, "prompts/get", name=UNKNOWN, arguments={})
        for prompt, entry in PROMPTS.items():
            answer = await body_of(caller, "prompts/get", name=prompt, arguments=entry["ask"])
            assert (b'"result"' in answer[1]) is (prompt in granted), prompt
            assert prompt in granted or answer == never, prompt


async def assert_no_such_tool(caller: Caller, tool: str, ask: dict[str, Any]) -> None:
    """The answer is byte for byte that of a tool which never was, whatever the arguments are."""
    for arguments in (ask, {}, {"nonsense": 1}, {"table": "no such table"}):
        hidden = await body_of(caller, "tools/call", name=tool, arguments=arguments)
        never = await body_of(caller, "tools/call", name=UNKNOWN, arguments=arguments)
        assert hidden == never, (tool, arguments)
        assert b"FLX401" in hidden[1]
    wrong = await body_of(caller, "tools/call", name=tool, arguments=[])
    assert wrong == await body_of(caller, "tools/call", name=UNKNOWN, arguments=[])


async def test_the_configuration_s_lists_bind_every_caller(
    serving: Callable[..., Any], keys: dict[str, tuple[str, str]], rows: None
) -> None:
    lists = {
        "allowed_tools": ["query_*", "count_records"],
        "allowed_resources": ["fluxbase://schema/tables"],
    }
    async with serving(mcp=lists) as http:
        for name in ("user1", "service"):
            caller = Caller(name, *keys[name], http)
            listed = (await caller.rpc("tools/list"))["result"]["tools"]
            assert {t["name"] for t in listed} == {"query_table", "count_records"}
            for tool, entry in TOOLS.items():
                if tool in ("query_table", "count_records"):
                    await caller.call(tool, **entry["ask"])
                else:
                    await assert_no_such_tool(caller, tool, entry["ask"])
            templates = await caller.rpc("resources/templates/list")
            assert templates["result"]["resourceTemplates"] == []


@pytest.mark.parametrize(
    ("restriction", "seen", "hidden"),
    [
        ({"allowed_tables": ("notes",)}, ["notes"], ["comments", "news", "my_notes"]),
        ({"allowed_tables": ("public.n*",)}, ["notes", "news"], ["comments", "my_notes"]),
        ({"allowed_tables": ("*notes",)}, ["notes", "my_notes"], ["news", "comments"]),
        ({"allowed_tables": ("NOTES",)}, [], ["notes", "news"]),
        ({"allowed_schemas": ("public",)}, ["notes", "news"], ["hidden.vault"]),
        ({"allowed_schemas": ("hidden",)}, [], ["notes", "news", "hidden.vault"]),
        ({"allowed_schemas": ("p*",), "allowed_tables": ("news",)}, ["news"], ["notes"]),
    ],
    ids=str,
)
async def test_a_key_reaches_only_the_schemas_and_tables_of_its_lists(
    restriction: dict[str, Any],
    seen: list[str],
    hidden: list[str],
    issue: Callable[..., Any],
    rows: None,
) -> None:
    key = await issue(user_id=USER1, scopes=("*",), **restriction)
    listed = (await key.call("list_tables", limit=1000))["tables"]
    assert {t["name"] for t in listed} >= set(seen)
    for table in seen:
        await key.rows(table, limit=1)
        await key.call("describe_table", table=table)
    for table in hidden:
        assert table not in {t["name"] for t in listed}
        for tool in ("query_table", "count_records", "describe_table"):
            with pytest.raises(Refused) as refused:
                await key.call(tool, table=table)
            assert refused.value.code == "FLX201"
        with pytest.raises(Refused) as refused:
            await key.call("delete_record", table=table, filter={"id": 1})
        assert refused.value.code == "FLX201"
    # A reference to a table outside of the lists does not name it.
    if "notes" in hidden and "comments" in seen:
        described = await key.call("describe_table", table="comments")
        assert described["foreign_keys"] == []


async def test_a_service_key_s_lists_of_tables_bind_it_as_well(
    issue: Callable[..., Any], rows: None
) -> None:
    key = await issue("service_key", scopes=(), allowed_tables=("notes",))
    assert len(await key.rows("notes", limit=1000)) == 17
    with pytest.raises(Refused) as refused:
        await key.rows("comments")
    assert refused.value.code == "FLX201"


async def test_a_read_only_key_writes_by_no_tool(callers: dict[str, Caller], owner: Any) -> None:
    before = await owner.fetch("SELECT * FROM public.notes ORDER BY id")
    for tool, entry in TOOLS.items():
        if entry["scope"] == "write":
            asked = {k: v for k, v in entry["ask"].items() if k != "dry_run"}
            await assert_no_such_tool(callers["read_only"], tool, asked)
    assert await owner.fetch("SELECT * FROM public.notes ORDER BY id") == before
    assert await owner.fetchval("SELECT count(*) FROM public.inbox") == 0


def everything(*_: object) -> bool:
    return True


# Planted controls.


async def test_control_without_scopes_a_hidden_tool_is_listed_and_called(
    callers: dict[str, Caller], serving: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Principal, "holds", everything)
    async with serving() as http:
        jobs = Caller("jobs", callers["jobs"].id, callers["jobs"].key, http)
        offered = [
            t for t in TOOLS.values() if t["scope"] not in ("administration", "advice", "ddl")
        ]
        assert len((await jobs.rpc("tools/list"))["result"]["tools"]) == len(offered)
        assert len(await jobs.rows("notes")) == 10


async def test_control_a_tool_missing_from_the_matrix_is_noticed() -> None:
    registry: Toolbox = toolbox(Config())
    assert {**registry.tools, "new_tool": None}.keys() != TOOLS.keys()


async def test_control_an_error_that_told_hidden_from_unknown_would_be_noticed(
    callers: dict[str, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Toolbox.find_tool

    def telling(self: Toolbox, who: Principal, name: object) -> Any:
        if name in self.tools and name not in self.offer(who).tools:
            raise PermissionError
        return real(self, who, name)

    monkeypatch.setattr(Toolbox, "find_tool", telling)
    with pytest.raises(AssertionError):
        await assert_no_such_tool(callers["jobs"], "query_table", {"table": "notes"})
    assert json.dumps(CALLERS)
