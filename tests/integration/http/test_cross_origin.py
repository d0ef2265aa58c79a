"""Pages may call only when their origin is allowed, and then a browser lets them."""

from __future__ import annotations

from typing import Any

PAGE = "https://app.example.com"


async def preflight(client: Any, origin: str) -> Any:
    return await client.options(
        "/mcp",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type, x-client-key",
        },
    )


async def test_an_allowed_page_may_call(
    serving: Any, keys: dict[str, tuple[str, str]], rows: None
) -> None:
    server = {"allowed_hosts": ["test"], "allowed_origins": [PAGE]}
    async with serving(server=server) as client:
        asked = await preflight(client, PAGE)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == PAGE
        answer = await client.post(
            "/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
            headers={"Origin": PAGE, "X-Client-Key": keys["user1"][1]},
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert (await preflight(client, "https://evil.example.com")).status_code == 403


async def test_without_allowed_origins_no_page_may_call(
    serving: Any, keys: dict[str, tuple[str, str]], rows: None
) -> None:
    async with serving() as client:
        assert (await preflight(client, PAGE)).status_code == 403


async def test_an_allowed_page_may_send_files_in_parts(serving: Any) -> None:
    server = {"allowed_hosts": ["test"], "allowed_origins": [PAGE]}
    async with serving(server=server) as client:
        for method, headers in (
            ("PUT", "content-type, if-none-match, x-client-key"),
            ("PATCH", "tus-resumable, upload-offset, content-type, x-client-key"),
            ("GET", "range, if-range, x-client-key"),
        ):
            asked = await client.options(
                "/api/v1/storage/files/a",
                headers={
                    "Origin": PAGE,
                    "Access-Control-Request-Method": method,
                    "Access-Control-Request-Headers": headers,
                },
            )
            assert asked.status_code == 200, asked.text
        answer = await client.get("/api/v1/storage/files/a", headers={"Origin": PAGE})
        exposed = answer.headers["access-control-expose-headers"]
        assert {"ETag", "Upload-Offset", "Content-Range"} <= set(exposed.split(", "))
