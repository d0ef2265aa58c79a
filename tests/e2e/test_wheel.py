"""What is built is what runs: the wheel carries the SQL and needs no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

import pytest

from tests.e2e.cli_stand import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 120


def run(*words: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **env},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_runs_by_itself(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=ROOT)
    [wheel] = tmp_path.glob("*.whl")
    home = tmp_path / "installed"
    # Its dependencies are those of this environment, which the lock pins.
    venv.create(home, with_pip=False, system_site_packages=False)
    site = next((home / "lib").glob("python*")) / "site-packages"
    run(sys.executable, "-m", "zipfile", "-e", str(wheel), str(site), cwd=tmp_path)
    here = os.path.dirname(os.path.dirname(pytest.__file__))  # noqa: PTH120
    (site / "dependencies.pth").write_text(here)
    python = str(home / "bin" / "python")
    found = run(python, "-c", "import fluxbase; print(fluxbase.__file__)", cwd=tmp_path)
    assert str(site) in found
    listed = run(python, "-m", "fluxbase", "migrate", "status", "--system", cwd=tmp_path)
    assert "roles" in listed
    script = "from fluxbase.db.queries import queries; print(len(queries()))"
    assert int(run(python, "-c", script, cwd=tmp_path)) > 20


def test_the_wheel_names_its_command_and_its_version(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=ROOT)
    [wheel] = tmp_path.glob("*.whl")
    names = run(sys.executable, "-m", "zipfile", "-l", str(wheel), cwd=tmp_path)
    assert "fluxbase/_sql/migrations/0001_roles.sql" in names
    assert "fluxbase/_sql/queries/keys.sql" in names
    assert "entry_points.txt" in names
    assert "tests/" not in names
