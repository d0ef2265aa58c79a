"""Functions are invoked by those who may, with the rights they have, and answer what they made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.functions.conftest import deploy
from tests.world import Caller, Refused

if TYPE_CHECKING:
    from fluxbase.app.backend import Backend

HELLO = """
export default async (req: Request): Promise<Response> => {
  const body = req.body ? await req.text() : null;
  console.log("called", req.method, { n: 1 });
  return new Response(JSON.stringify({ method: req.method, body, x: req.headers.get("x-mine"),
    withheld: req.headers.get("cookie") ?? req.headers.get("authorization") }), {
    status: 201, headers: { "content-type": "application/json", "x-own": "yes" },
  });
};
"""


async def refused(caller: Caller, tool: str, **arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await caller.call(tool, **arguments)
    return caught.value


async def test_a_function_answers_with_status_headers_and_body(admin: Caller, one: Caller) -> None:
    made = await deploy(admin, "hello", HELLO, description="Says hello")
    assert (made["action"], made["version"]) == ("deployed", 1)
    answer = await one.call(
        "invoke_function", name="hello", body={"a": 1}, headers={"X-Mine": "1", "Cookie": "no"}
    )
    assert answer["body"].pop("withheld") is None
    assert answer["status"] == 201
    assert answer["headers"]["x-own"] == "yes"
    assert answer["body"] == {"method": "POST", "body": '{"a":1}', "x": "1"}
    assert answer["encoding"] is None
    plain = await one.call("invoke_function", name="hello", method="GET")
    assert plain["body"] == {"method": "GET", "body": None, "x": None, "withheld": None}
    listed = await one.call("list_functions")
    assert [(f["name"], f["description"]) for f in listed["functions"]] == [("hello", "Says hello")]


@pytest.mark.parametrize(
    ("code", "status", "body", "encoding"),
    [
        ("export default () => new Response('plain')", 200, "plain", None),
        ("export default () => ({ any: [1, null] })", 200, {"any": [1, None]}, None),
        ("export default () => {}", 204, None, None),
        ("export default () => new Response(new Uint8Array([0, 255]))", 200, "AP8=", "base64"),
        ("export default { fetch: () => new Response('o', { status: 404 }) }", 404, "o", None),
        ("Deno.serve(() => new Response('served'))", 200, "served", None),
        ("Deno.serve({ port: 1 }, (r) => new Response(r.url))", 200, "http://localhost/f", None),
        (
            "const headers = { 'content-type': 'application/json' };\n"
            "export default () => new Response('{', { headers })",
            200, "{", None,
        ),
        ("export default (_, { payload }) => Response.json(payload ?? 'none')", 200, "none", None),
    ],
)  # fmt: skip
async def test_every_form_of_a_handler_is_understood(
    admin: Caller, one: Caller, code: str, status: int, body: Any, encoding: str | None
) -> None:
    await deploy(admin, "f", code)
    answer = await one.call("invoke_function", name="f")
    assert (answer["status"], answer["body"], answer["encoding"]) == (status, body, encoding)


ROWS_OF_CALLER = """
export default async () => {
  const page = await fluxbase.query("notes", { select: "id", limit: 100 });
  return Response.json({ ids: page.rows?.length ?? page.length, me: fluxbase.caller.user_id });
};
"""


async def test_it_sees_the_rows_of_its_caller_and_of_nobody_else(
    admin: Caller, one: Caller, two: Caller
) -> None:
    await deploy(admin, "rows", ROWS_OF_CALLER)
    assert (await one.call("invoke_function", name="rows"))["body"]["ids"] == 10
    assert (await two.call("invoke_function", name="rows"))["body"]["ids"] == 7


async def test_it_does_nothing_that_its_caller_may_not(
    admin: Caller, narrow: Caller, reader: Caller, one: Caller
) -> None:
    await deploy(admin, "rows", ROWS_OF_CALLER)
    error = await refused(narrow, "invoke_function", name="rows")
    assert error.code == "FLX801"
    write = """export default async () => {
      try { return Response.json(await fluxbase.insert("notes", { title: "by function" })); }
      catch (e) { return Response.json({ code: e.code, message: e.message }, { status: 403 }); }
    };"""
    await deploy(admin, "write", write)
    assert (await reader.call("invoke_function", name="write"))["status"] == 403
    assert (await one.call("invoke_function", name="write"))["status"] == 200
    rows = await one.call("query_table", table="notes", filter={"title": "eq.by function"})
    assert len(rows["rows"]) == 1


async def test_one_that_runs_as_service_has_those_rights_and_is_not_for_readers(
    admin: Caller, one: Caller, reader: Caller
) -> None:
    await deploy(admin, "rows", ROWS_OF_CALLER, runs_as="service")
    assert (await one.call("invoke_function", name="rows"))["body"]["ids"] == 17
    assert (await refused(reader, "invoke_function", name="rows")).code == "FLX208"
    listed = await reader.call("list_functions")
    assert listed["count"] == 0


async def test_roles_scopes_and_namespaces_decide_who_may_invoke_and_who_is_told(
    admin: Caller, one: Caller, narrow: Caller
) -> None:
    code = "export default () => new Response('in')"
    await deploy(admin, "a", code, namespace="inner", required_scopes=["write:tables"])
    await deploy(admin, "b", code, required_roles=["service_role"])
    await deploy(admin, "c", code, public=True)
    assert {f["name"] for f in (await one.call("list_functions"))["functions"]} == {"a", "c"}
    assert {f["name"] for f in (await narrow.call("list_functions"))["functions"]} == {"c"}
    assert (await one.call("list_functions", namespace="inner"))["count"] == 1
    assert (await refused(one, "invoke_function", name="a")).code == "FLX208"
    assert (await one.call("invoke_function", name="a", namespace="inner"))["body"] == "in"
    hidden = await refused(narrow, "invoke_function", name="a", namespace="inner")
    absent = await refused(narrow, "invoke_function", name="absent", namespace="inner")
    assert (hidden.code, hidden.message) == (absent.code, absent.message)
    assert (await refused(one, "invoke_function", name="b")).code == "FLX208"
    read = await one.rpc("resources/read", uri="fluxbase://functions")
    resource = read["result"]["contents"][0]["text"]
    assert '"name":"c"' in resource
    assert '"name":"b"' not in resource


async def test_an_error_is_told_with_the_place_in_its_source(admin: Caller, one: Caller) -> None:
    files = {
        "index.ts": "import { fail } from './lib/fail.ts';\nexport default () => fail(3);\n",
        "lib/fail.ts": "interface X { a: number }\n\nexport function fail(n: number): Response {\n"
        "  throw new TypeError('bad ' + n);\n}\n",
    }
    await admin.call("deploy_function", name="fails", files=files, required_roles=["authenticated"])
    error = await refused(one, "invoke_function", name="fails")
    assert (error.code, error.message) == ("FLX801", "the function threw TypeError: bad 3")
    logs = await one.call("get_function_logs", name="fails")
    [execution] = logs["executions"]
    assert execution["status"] == "failed"
    assert "lib/fail.ts:4:" in execution["lines"][-1]["message"]


async def test_what_it_writes_is_kept_for_its_caller_alone(
    admin: Caller, one: Caller, two: Caller
) -> None:
    await deploy(admin, "hello", HELLO)
    answer = await one.call("invoke_function", name="hello", body="x")
    found = await one.call("get_function_logs", execution_id=answer["execution_id"])
    [execution] = found["executions"]
    assert (execution["status"], execution["http_status"]) == ("completed", 201)
    [line] = execution["lines"]
    assert (line["level"], line["message"]) == ("info", "called POST { n: 1 }")
    for question in ({"execution_id": answer["execution_id"]}, {"name": "hello"}):
        assert (await two.call("get_function_logs", **question))["count"] == 0
        assert (await admin.call("get_function_logs", **question))["count"] == 1


async def test_texts_that_the_server_cannot_keep_are_mended_and_end_no_call(
    admin: Caller, one: Caller
) -> None:
    code = r"""export default async (req: Request) => {
      const cut = "\ud83d";
      console.log("cut", cut, "\\ud83d", cut + cut);
      if (await req.text()) throw new Error("a\0b" + cut);
      try { await fluxbase.query("notes" + cut); } catch (e) { return Response.json(e.code); }
    };"""
    await deploy(admin, "cut", code)
    answer = await one.call("invoke_function", name="cut")
    assert answer["body"] == "FLX201"
    logs = await one.call("get_function_logs", execution_id=answer["execution_id"])
    [line] = logs["executions"][0]["lines"]
    assert line["message"] == "cut \ufffd \\ud83d \ufffd\ufffd"
    error = await refused(one, "invoke_function", name="cut", body="throw")
    assert error.message == "the function threw Error: a\ufffdb\ufffd"
    logs = await one.call("get_function_logs", name="cut")
    assert [(e["status"], e["error"]) for e in logs["executions"]] == [
        ("failed", error.message), ("completed", None),
    ]  # fmt: skip


async def test_a_new_version_is_in_force_at_once_and_can_be_taken_back(
    admin: Caller, one: Caller
) -> None:
    async def answered() -> str:
        return (await one.call("invoke_function", name="v"))["body"]

    await deploy(admin, "v", "export default () => new Response('first')")
    assert await answered() == "first"
    same = await deploy(admin, "v", "export default () => new Response('first')")
    assert (same["action"], same["version"]) == ("unchanged", 1)
    made = await deploy(admin, "v", "export default () => new Response('second')")
    assert (made["action"], made["version"]) == ("replaced", 2)
    assert await answered() == "second"
    back = await admin.call("rollback_function", name="v")
    assert (back["version"], back["before"]) == (1, 2)
    assert await answered() == "first"
    assert (await admin.call("rollback_function", name="v", version=2))["version"] == 2
    listed = await admin.call("list_function_versions", name="v")
    assert [(v["version"], v["active"]) for v in listed["versions"]] == [(2, True), (1, False)]
    assert (await refused(admin, "rollback_function", name="v", version=9)).code == "FLX208"
    await admin.call("delete_function", name="v")
    assert (await refused(one, "invoke_function", name="v")).code == "FLX208"


async def test_nothing_of_one_caller_is_left_for_another(
    admin: Caller, one: Caller, two: Caller
) -> None:
    code = "let n = 0; export default () => new Response(String(++n))"
    await deploy(admin, "counts", code)

    async def count(caller: Caller) -> str:
        return (await caller.call("invoke_function", name="counts"))["body"]

    assert [await count(one), await count(one), await count(two)] == ["1", "2", "1"]
    await deploy(admin, "shared", code, isolation="shared")
    first = await one.call("invoke_function", name="shared")
    second = await two.call("invoke_function", name="shared")
    assert (first["body"], second["body"]) == ("1", "2")


async def test_nothing_of_one_caller_is_left_behind_one_that_runs_as_service(
    admin: Caller, one: Caller, two: Caller
) -> None:
    counts = "let n = 0; export default () => new Response(String(++n))"
    await deploy(admin, "counts", counts, required_roles=["service_role"])
    asks = "export default async () => (await fluxbase.invoke('counts')).body"
    await deploy(admin, "asks", asks, runs_as="service")

    async def count(caller: Caller) -> str:
        return (await caller.call("invoke_function", name="asks"))["body"]

    assert [await count(one), await count(one), await count(two)] == ["1", "2", "1"]


async def test_what_a_call_left_running_stands_still_until_the_next(
    admin: Caller, one: Caller
) -> None:
    code = """let ticks = 0; let started = false;
    export default () => {
      if (!started) { started = true; setInterval(() => ticks++, 5); }
      return new Response(String(ticks));
    };"""
    await deploy(admin, "ticks", code)
    await one.call("invoke_function", name="ticks")
    await asyncio.sleep(0.5)
    assert int((await one.call("invoke_function", name="ticks"))["body"]) < 20


async def test_several_calls_at_a_time_have_processes_of_their_own(
    admin: Caller, one: Caller, backend: Backend
) -> None:
    code = """export default async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      return new Response("ok");
    };"""
    await deploy(admin, "slow", code)
    answers = await asyncio.gather(*(one.call("invoke_function", name="slow") for _ in range(4)))
    assert [a["body"] for a in answers] == ["ok"] * 4
    assert backend.functions.pool.count >= 4


async def test_a_function_that_calls_itself_comes_to_an_end(admin: Caller, one: Caller) -> None:
    code = """export default async () => {
      try { return Response.json({ deeper: (await fluxbase.invoke("again")).body }); }
      catch (e) { return Response.json({ code: e.code }); }
    };"""
    await deploy(admin, "again", code)
    body = (await one.call("invoke_function", name="again"))["body"]
    depth = 0
    while "deeper" in body:
        body, depth = body["deeper"], depth + 1
    assert (body["code"], depth) == ("FLX302", 4)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"code": "const x: = 3"}, "index.ts:1:10"),
        ({"code": "export const a = 1"}, None),
        ({"code": "import x from './absent.ts'; export default x"}, "absent.ts"),
        ({"files": {"main.ts": ""}}, "index.ts"),
        ({"files": {"../index.ts": ""}}, "number 1"),
        ({"files": {"index.ts": "", "a//b.ts": ""}}, "number 2"),
        ({}, "code, files"),
        ({"code": "export default 1", "required_roles": []}, "public, required_roles"),
        ({"code": "x", "required_roles": ["a"], "runs_as": "root"}, "runs_as"),
    ],
)
async def test_what_cannot_be_deployed_is_refused_with_the_reason(
    admin: Caller, one: Caller, arguments: dict[str, Any], part: str | None
) -> None:
    given: dict[str, Any] = {"name": "bad", "required_roles": ["authenticated"], **arguments}
    if part is None:  # known only when it is loaded
        await admin.call("deploy_function", **given)
        error = await refused(one, "invoke_function", name="bad")
        assert "has no handler" in error.message
        return
    error = await refused(admin, "deploy_function", **given)
    assert error.code == "FLX101"
    assert part in error.message


async def test_packages_of_npm_are_bundled_when_it_is_deployed(admin: Caller, one: Caller) -> None:
    code = """import { z } from "npm:zod@3";
    const Shape = z.object({ n: z.number() });
    export default async (r: Request) => Response.json(Shape.safeParse(await r.json()).success);"""
    await deploy(admin, "zod", code)
    assert (await one.call("invoke_function", name="zod", body={"n": 1}))["body"] is True
    assert (await one.call("invoke_function", name="zod", body={"n": "1"}))["body"] is False


async def test_headers_that_are_none_and_bodies_that_do_not_belong_are_refused(
    admin: Caller, one: Caller
) -> None:
    await deploy(admin, "hello", HELLO)
    for arguments in (
        {"headers": {"a b": "1"}},
        {"headers": {"a": "1\r\nx: 2"}},
        {"method": "GET", "body": "x"},
        {"method": "TRACE"},
        {"nmae": 1},
    ):
        error = await refused(one, "invoke_function", name="hello", **arguments)
        assert error.code == "FLX101"


async def test_what_a_call_left_behind_asks_in_vain_for_the_next_caller(
    admin: Caller, one: Caller, two: Caller
) -> None:
    code = """let late: Promise<unknown> | null = null;
    export default async (req: Request) => {
      if (await req.text() === "plant") {
        late = new Promise((go) => setTimeout(go, 50)).then(async () => {
          console.log("left behind");
          try { return await fluxbase.query("notes", { limit: 1 }); }
          catch (e) { return { code: e.code }; }
        });
        return new Response();
      }
      return Response.json(await late);
    };"""
    await deploy(admin, "late", code, isolation="shared")
    await one.call("invoke_function", name="late", body="plant")
    answer = await two.call("invoke_function", name="late", body="harvest")
    assert answer["body"] == {"code": "FLX506"}
    logs = await two.call("get_function_logs", execution_id=answer["execution_id"])
    assert logs["executions"][0]["lines"] == []


async def test_json_that_clients_could_not_read_is_told_as_a_text(
    admin: Caller, one: Caller
) -> None:
    code = """export default () => new Response("[".repeat(600) + "]".repeat(600),
      { headers: { "content-type": "application/json" } });"""
    await deploy(admin, "deep", code)
    body = (await one.call("invoke_function", name="deep"))["body"]
    assert body == "[" * 600 + "]" * 600
