"""Over plain HTTP a function gets the request as it came, and a browser nothing to be afraid of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.integration.functions.conftest import deploy

if TYPE_CHECKING:
    import httpx2

    from tests.world import Caller

ECHO = """
export default async (req: Request) => {
  const url = new URL(req.url);
  return new Response(JSON.stringify({
    method: req.method, path: url.pathname, q: url.searchParams.get("q"), body: await req.text(),
    headers: Object.fromEntries(req.headers), who: fluxbase.caller.name,
  }), { status: 202, headers: {
    "content-type": "application/json", "set-cookie": "a=b", "x-own": "1", "x-request-id": "mine",
    "content-security-policy": "script-src *", "access-control-allow-origin": "*",
    "clear-site-data": "*",
  } });
};
"""


def of(caller: Caller) -> dict[str, str]:
    kind = "X-Service-Key" if caller.key.startswith("fbs_") else "X-Client-Key"
    return {kind: caller.key}


async def test_the_request_goes_in_and_the_response_comes_out_as_they_are(
    admin: Caller, one: Caller, http: httpx2.AsyncClient
) -> None:
    await deploy(admin, "echo", ECHO, namespace="inner")
    answer = await http.put(
        "/api/v1/functions/inner/echo?q=1",
        content=b"hello",
        headers={**of(one), "X-Mine": "2", "Cookie": "c=1", "Content-Type": "text/plain"},
    )
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["method"], made["path"]) == ("PUT", "/api/v1/functions/inner/echo")
    assert (made["q"], made["body"], made["who"]) == ("1", "hello", "functions one")
    assert made["headers"]["x-mine"] == "2"
    assert one.key not in answer.text
    assert "cookie" not in made["headers"]
    logs = await one.call("get_function_logs", execution_id=answer.headers["x-execution-id"])
    assert logs["count"] == 1


async def test_a_browser_gets_no_cookie_and_no_right_to_run_what_comes(
    admin: Caller, one: Caller, http: httpx2.AsyncClient
) -> None:
    await deploy(admin, "echo", ECHO)
    answer = await http.get("/api/v1/functions/echo", headers=of(one))
    assert answer.headers["x-own"] == "1"
    for name in ("set-cookie", "access-control-allow-origin", "clear-site-data"):
        assert name not in answer.headers
    assert answer.headers.get_list("content-security-policy") == ["default-src 'none'; sandbox"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert answer.headers["x-request-id"] != "mine"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_reaches_it(
    admin: Caller, one: Caller, http: httpx2.AsyncClient, method: str
) -> None:
    await deploy(admin, "method", "export default (r: Request) => new Response(r.method)")
    answer = await http.request(method, "/api/v1/functions/method", headers=of(one))
    assert answer.status_code == 200
    assert answer.text == ("" if method == "HEAD" else method)


async def test_whoever_may_not_is_refused_as_over_mcp(
    admin: Caller, one: Caller, nobody: Caller, user1: Caller, http: httpx2.AsyncClient
) -> None:
    await deploy(admin, "echo", ECHO, required_roles=["service_role"])
    path = "/api/v1/functions/echo"
    assert (await http.get(path)).status_code == 401
    assert (await http.get(path, headers=of(user1))).status_code == 403
    assert (await http.get(path, headers=of(one))).json()["error"]["code"] == "FLX208"
    assert (await http.get("/api/v1/functions/absent", headers=of(one))).status_code == 404


async def test_errors_and_bodies_that_are_too_large_are_told(
    admin: Caller, one: Caller, http: httpx2.AsyncClient
) -> None:
    await deploy(admin, "throws", "export default () => { throw new Error('no') }")
    answer = await http.post("/api/v1/functions/throws", headers=of(one))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "FLX801")
    large = await http.post("/api/v1/functions/throws", headers=of(one), content=b"x" * (7 << 20))
    assert large.status_code == 413


SAID = """
export default async () => {
  const message = { t: "done", status: 200, headers: HEADERS, body: "hello" };
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(message) + "\\n"));
  await new Promise(() => {});
};
"""


async def test_headers_that_its_code_wrote_past_deno_give_no_page_a_right_either(
    admin: Caller, one: Caller, http: httpx2.AsyncClient
) -> None:
    given = [
        ["Set-Cookie", "a=b"], ["Content-Security-Policy", "script-src *"], ["X-Own", "1"],
        ["Access-Control-Allow-Origin", "*"], ["Transfer-Encoding", "chunked"],
        ["X-Accel-Redirect", "/etc/passwd"], ["X-Execution-Id", "forged"], ["NEL", "{}"],
    ]  # fmt: skip
    await deploy(admin, "said", SAID.replace("HEADERS", json.dumps(given)))
    answer = await http.get("/api/v1/functions/said", headers=of(one))
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (200, "hello", "1")
    for name in ("set-cookie", "access-control-allow-origin", "transfer-encoding", "nel"):
        assert name not in answer.headers
    assert "x-accel-redirect" not in answer.headers
    assert answer.headers.get_list("content-security-policy") == ["default-src 'none'; sandbox"]
    assert "forged" not in answer.headers.get_list("x-execution-id")


@pytest.mark.parametrize(
    "header",
    [["x-a", "1\r\nset-cookie: a=b"], ["x-a\r\nset-cookie", "a=b"], ["", "1"], ["x y", "1"],
     ["x-a", 1], ["x-€", "1"], ["x-a", "€"], ["x-a"]],
)  # fmt: skip
async def test_no_header_of_a_function_splits_the_response(
    admin: Caller, one: Caller, http: httpx2.AsyncClient, header: list[object]
) -> None:
    await deploy(admin, "said", SAID.replace("HEADERS", json.dumps([header])))
    answer = await http.get("/api/v1/functions/said", headers=of(one))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "FLX801")
    assert "set-cookie" not in answer.headers
