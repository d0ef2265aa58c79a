"""Workers that cannot start end the start, and nothing of it is left."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fluxbase.app import fleet as fleet_module
from fluxbase.app.backend import Prepared
from fluxbase.app.fleet import Fleet
from fluxbase.app.handover import Orders
from fluxbase.auth.pepper import Peppers
from fluxbase.config import Config
from fluxbase.db.prepare import Logins
from fluxbase.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path


def made() -> Fleet:
    config = Config.model_validate({"server": {"workers": 2}})
    prepared = Prepared(Logins("", "", ""), Peppers.parse("v1:" + "A" * 43 + "="), False, None)
    orders = Orders(config, prepared, (), ("127.0.0.1", 0), False, False)
    return Fleet(orders, lambda now: now, lambda _: None)


def program(folder: Path, does: str) -> str:
    """Return a program that every worker becomes; it leaves its process id in the folder."""
    path = folder / "program"
    path.write_text(f'#!/bin/sh\ntouch "{folder}/$$.pid"\n{does}\n')
    path.chmod(0o755)
    return str(path)


def pids(folder: Path) -> list[int]:
    return [int(path.stem) for path in folder.glob("*.pid")]


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (None, "could not be started"),
        ("exit 7", "ended with code 7 before it was ready"),
        ("kill -9 $$", "ended by SIGKILL before it was ready"),
        ("exec sleep 600", "not ready within"),
    ],
)
async def test_a_start_without_workers_fails_and_leaves_none(
    does: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable: Any = program(tmp_path, does) if does else str(tmp_path / "nothing")
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(fleet_module, "_START", 1.0)
    with pytest.raises(Unavailable, match=said):
        async with made().running():
            raise AssertionError
    started = pids(tmp_path)
    assert bool(started) is bool(does)
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
