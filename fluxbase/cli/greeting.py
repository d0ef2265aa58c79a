"""What `serve --demo` prints when it is ready: the address, keys, and what to paste where."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

    from fluxbase.app.demo import DemoKeys

_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to


def url(listener: socket.socket) -> str:
    """Return the address of a listener as a client on this machine would write it."""
    host, port = listener.getsockname()[:2]
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def demo(address: str, base_path: str, keys: DemoKeys) -> str:
    """Return the whole block."""
    endpoint = address + base_path
    return f"""
Fluxbase is ready at {endpoint}

Client key of user 1   {keys.user1}
Client key of user 2   {keys.user2}
Service key            {keys.service}   (sees every row)

Try it: this asks for the todos, and gets those of user 1 only.

{curl(endpoint, keys.user1)}

For Claude, Cursor, VS Code and other MCP clients:

{client_json(endpoint, keys.user1)}

Stop it with Ctrl-C.
"""


def curl(endpoint: str, key: str) -> str:
    """Return a line for bash that reads the todos of a key's user."""
    arguments = {
        "table": "todos",
        "select": "id,user_id,title,done",
        "order": "id.asc",
        "limit": 20,
    }
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "query_table", "arguments": arguments},
    }
    parts = [
        f"curl -sS -X POST {shlex.quote(endpoint)}",
        "  -H 'Content-Type: application/json'",
        f"  -H {shlex.quote('X-Client-Key: ' + key)}",
        f"  -d {shlex.quote(json.dumps(message, separators=(',', ':')))}",
    ]
    return " \\\n".join(parts)


def client_json(endpoint: str, key: str) -> str:
    """Return the block that MCP clients take in their configuration."""
    entry = {"type": "http", "url": endpoint, "headers": {"X-Client-Key": key}}
    return json.dumps({"mcpServers": {"fluxbase": entry}}, indent=2)
