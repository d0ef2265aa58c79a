"""The files that deploy it speak of things that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from fluxbase.config import load

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def test_the_environment_in_compose_is_a_valid_configuration(tmp_path: Path) -> None:
    environment = COMPOSE["services"]["fluxbase"]["environment"]
    filled = {
        name: re.sub(r"\$\{FLUXBASE_AUTH_PEPPERS[^}]*\}", "v1:" + "A" * 44, str(value))
        for name, value in environment.items()
    }
    file = tmp_path / "fluxbase.yaml"
    file.write_text("")
    config = load(file, env=filled).config
    assert config.mcp.enabled
    assert config.server.host == "0.0.0.0"  # noqa: S104
    assert config.database.url is not None
    assert config.limits.storage.get_secret_value().startswith("redis://redis:")


def test_every_service_in_compose_says_how_it_is() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["healthcheck"]["test"], name
        for needed in service.get("depends_on", {}):
            assert needed in COMPOSE["services"]


def test_no_secret_of_compose_has_a_default() -> None:
    text = (ROOT / "compose.yaml").read_text("utf-8")
    for name in re.findall(r"\$\{(\w+)", text):
        assert f"${{{name}:?" in text, name


def test_what_the_dockerfile_copies_exists() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source


def test_locked_requirements_have_hashes_and_no_addresses() -> None:
    for file in (ROOT / "requirements").glob("*.txt"):
        text = file.read_text("utf-8")
        assert "://" not in text, file
        pinned = re.findall(r"^[A-Za-z0-9_.\[\]-]+==", text, re.MULTILINE)
        assert len(pinned) <= text.count("--hash=sha256:"), file
