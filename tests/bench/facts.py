"""What a run was measured on: the machine, and the version of everything that took part."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.bench.processes import NODE, NPM, PEERS_PYTHON, POSTGREST
from tests.programs import ROOT
from tests.s3_servers import BIN

_OURS: Final = ("asyncpg", "boto3", "starlette", "uvicorn", "uvloop")
_PACKAGES: Final = {
    "MCP Toolbox": "@toolbox-sdk/server",
    "server-postgres": "@modelcontextprotocol/server-postgres",
}


def facts(postgres: str, rounds: int, seconds: int) -> dict[str, Any]:
    """Return the machine, the versions and how long was measured."""
    return {
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rounds": rounds,
        "seconds": seconds,
        "machine": _machine(),
        "versions": {
            "fluxbase": version("fluxbase"),
            "commit": _said("git", "describe", "--always", "--dirty"),
            "Python": platform.python_version(),
            "Postgres": postgres,
            **{name: version(name) for name in _OURS},
            **_peers(),
        },
    }


def _peers() -> dict[str, str]:
    ask = "from importlib.metadata import version; print(version('fastmcp'))"
    found = {"FastMCP": _said(PEERS_PYTHON, "-c", ask), "Node": _said(str(NODE), "--version")}
    for name, package in _PACKAGES.items():
        path = NPM / package / "package.json"
        if path.exists():
            found[name] = json.loads(path.read_text("utf-8"))["version"]
    found["rclone"] = (
        _said(str(BIN / "rclone"), "--version").partition("\n")[0].removeprefix("rclone v")
    )
    found["PostgREST"] = _said(str(POSTGREST), "--version").removeprefix("PostgREST ")
    return {name: text for name, text in found.items() if text}


def _machine() -> dict[str, Any]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "load_average": os.getloadavg(),
    }


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
