"""The configuration says what is wrong, where, and what was probably meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbase.config import Config, load
from fluxbase.config.duration import seconds, text
from fluxbase.errors import ConfigError
from fluxbase.reference.settings import sample_file

if TYPE_CHECKING:
    from collections.abc import Callable

SEED = """mcp:
  enabled: true
  base_path: /mcp
  session_timeout: 3600s
  max_message_size: 10485760  # 10MB
  rate_limit_per_min: 100
  allowed_tools: []      # Empty = all tools enabled
  allowed_resources: []  # Empty = all resources enabled
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def to_file(content: str) -> Path:
        file = tmp_path / "fluxbase.yaml"
        file.write_text(content, "utf-8")
        return file

    return to_file


def complaint(file: Path, **env: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(file, env=env)
    return refused.value.message


def test_the_block_people_know_loads(write: Callable[[str], Path]) -> None:
    mcp = load(write(SEED), env={}).config.mcp
    assert (mcp.enabled, mcp.base_path, mcp.session_timeout) == (True, "/mcp", 3600)
    assert (mcp.max_message_size, mcp.rate_limit_per_min) == (10485760, 100)
    assert (mcp.allowed_tools, mcp.allowed_resources) == ((), ())


def test_the_defaults_are_those_of_the_block_but_off() -> None:
    mcp = Config().mcp
    assert mcp.enabled is False
    assert (mcp.base_path, mcp.session_timeout, mcp.max_message_size) == ("/mcp", 3600, 10485760)
    assert (mcp.rate_limit_per_min, mcp.allowed_tools, mcp.allowed_resources) == (100, (), ())


def test_an_empty_file_is_all_defaults(write: Callable[[str], Path]) -> None:
    assert load(write(""), env={}).config.server.port == 8080


def test_the_sample_file_is_all_defaults_but_on(write: Callable[[str], Path]) -> None:
    config = load(write(sample_file()), env={}).config
    assert config.mcp == Config().mcp.model_copy(update={"enabled": True})
    assert config.limits == Config().limits


def test_every_default_in_the_sample_file_can_be_uncommented(
    write: Callable[[str], Path],
) -> None:
    lines: list[str] = []
    for line in sample_file().splitlines():
        key = line.lstrip().removeprefix("# ").partition(":")[0]
        is_key = line.lstrip().startswith("# ") and key.replace("_", "").isalnum() and key.islower()
        known = is_key and " " not in key and ":" in line
        lines.append(line.replace("# ", "", 1) if known else line)
    content = "\n".join(lines).replace("kid: null", "")
    assert "\n  port: 8080" in content
    assert load(write(content), env={}).config.server == Config().server


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("mcp:\n  base_pth: /mcp\n", ":2: mcp.base_pth: unknown key; did you mean 'base_path'?"),
        ("mpc: {}\n", ":1: mpc: unknown key; did you mean 'mcp'?"),
        ("mcp:\n  enabled: true\n  rate_limit_per_min: lots\n", ":3: mcp.rate_limit_per_min: "),
        ("server:\n  port: 99999\n", ":2: server.port: "),
        ("mcp:\n  session_timeout: soon\n", ":2: mcp.session_timeout: a duration such as"),
        ("mcp:\n  base_path: mcp\n", ":2: mcp.base_path: a path such as /mcp"),
        ("mcp:\n  base_path: /livez\n", ":2: mcp.base_path: this path is taken"),
        ("database:\n  url: mysql://x/y\n", ":2: database.url: an address such as postgresql://"),
        ("mcp:\n  enabled: true\n  enabled: false\n", ":3: mcp.enabled is given twice"),
        ("mcp: [\n", ":2: not valid YAML"),
        ("- 1\n", ":1: a mapping of sections"),
        ("mcp: 5\n", ":1: mcp: "),
        ("database:\n  embedded:\n    datadir: x\n", ":3: database.embedded.datadir: unknown key"),
        (
            "database:\n  exposed_schemas: [public, auth]\n",
            ":2: database.exposed_schemas: internal",
        ),
        (
            "auth:\n  jwt:\n    keys:\n      - alg: HS256\n        file: a\n",
            ":4: auth.jwt.keys[0].alg",
        ),
        ("mcp: !!python/object:os.system {}\n", ":1: "),
    ],
)
def test_a_fault_is_told_with_file_line_key_and_advice(
    write: Callable[[str], Path], content: str, expected: str
) -> None:
    file = write(content)
    assert f"{file}{expected}" in complaint(file)


def test_every_fault_is_told_at_once(write: Callable[[str], Path]) -> None:
    message = complaint(write("mcp:\n  a: 1\nserver:\n  b: 2\n"))
    assert "mcp.a" in message
    assert "server.b" in message


def test_a_secret_value_is_never_shown_in_a_fault(write: Callable[[str], Path]) -> None:
    assert "hunter2" not in complaint(write("limits:\n  storage: hunter2://x\n"))


def test_the_environment_wins_over_the_file_and_flags_over_both(
    write: Callable[[str], Path],
) -> None:
    file = write("server: {port: 1, host: a}\nmcp: {allowed_tools: [x]}\n")
    env = {"FLUXBASE_SERVER_PORT": "2", "FLUXBASE_MCP_ALLOWED_TOOLS": "count_*, query_table"}
    config = load(file, env=env, flags={"server.port": 3}).config
    assert (config.server.port, config.server.host) == (3, "a")
    assert config.mcp.allowed_tools == ("count_*", "query_table")


def test_a_wrong_variable_is_refused_by_name(write: Callable[[str], Path]) -> None:
    file = write("")
    assert "did you mean FLUXBASE_SERVER_PORT?" in complaint(file, FLUXBASE_SERVER_PROT="1")
    assert "environment FLUXBASE_SERVER_PORT" in complaint(file, FLUXBASE_SERVER_PORT="x")


def test_paths_are_relative_to_the_file(write: Callable[[str], Path]) -> None:
    file = write("migrations: {dir: mine}\n")
    config = load(file, env={}).config
    assert config.migrations.dir == file.parent / "mine"
    assert config.database.embedded.data_dir == file.parent / ".fluxbase" / "pgdata"


def test_a_missing_file_is_told() -> None:
    assert "no such configuration file" in complaint(Path("/nowhere/fluxbase.yaml"))


def test_the_file_is_found_by_variable_and_by_name(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("server: {port: 7}\n")
    assert load(env={"FLUXBASE_CONFIG": str(file)}).config.server.port == 7
    monkeypatch.chdir(file.parent)
    assert load(env={}).config.server.port == 7


@pytest.mark.parametrize(
    ("words", "value"),
    [("3600s", 3600), ("1h30m", 5400), ("500ms", 0.5), ("30d", 2592000), ("90", 90), (5, 5)],
)
def test_durations_are_read_as_written(words: object, value: float) -> None:
    assert seconds(words) == value


@pytest.mark.parametrize("words", ["", "s", "5 parsecs", "-5s", True, None, "1h1", [1]])
def test_what_is_not_a_duration_is_refused(words: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(words)


@given(st.integers(min_value=1, max_value=10**8))
def test_a_written_duration_reads_back(value: int) -> None:
    assert seconds(text(value)) == value
