"""What the commands read and write, without any database."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from fluxbase.cli import fields, greeting, output
from fluxbase.cli.root import cli, report
from fluxbase.errors import InvalidArgument, Unavailable
from fluxbase.principal import SCOPES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without a configuration: no test here may find the repository's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLUXBASE_CONFIG", raising=False)


def run(*words: str, **options: Any) -> Result:
    return CliRunner().invoke(cli, list(words), prog_name="fluxbase", **options)


def commands(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterable[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", [path for path, _ in commands(cli)], ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...]) -> None:
    done = run(*path, "--help")
    assert done.exit_code == 0
    assert "Example" in done.output
    assert "  " + " ".join(("fluxbase", *path)) in done.output


def test_every_option_says_what_it_does() -> None:
    for path, command in commands(cli):
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (path, parameter.name)


def test_every_example_names_options_that_exist() -> None:
    for path, command in commands(cli):
        known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        for line in (command.help or "").splitlines():
            if line.strip().startswith(" ".join(("fluxbase", *path)) + " ") and path:
                used = {word for word in line.split() if word.startswith("--")}
                assert isinstance(command, click.Group) or used <= known, (path, used - known)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2592000), ("12h", 43200), ("1h30m", 5400), ("90s", 90)]
)
def test_an_expiry_may_be_a_duration(text: str, seconds: int) -> None:
    when = fields.expiry(text)
    assert when is not None
    assert abs(when - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=5)


def test_an_expiry_may_be_a_time_or_never() -> None:
    assert fields.expiry("never") is None
    assert fields.expiry("2027-01-31T14:00:00+02:00") == datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["soon", "", "-1d", "30", "2027-01-31T12:00:00", "2027-13-01T00:00:00Z", "99999y"]
)
def test_an_expiry_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--expires"):
        fields.expiry(text)


def test_claims_come_from_words_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "claims.json"
    file.write_text('{"org": 7}')
    assert fields.claims('{"org": 7}') == fields.claims(f"@{file}") == {"org": 7}
    assert fields.claims("") == {}
    for wrong in ("[1]", "{", "7", "@nosuch", '{"a": "' + "x" * 9000 + '"}'):
        with pytest.raises(InvalidArgument, match="--claims"):
            fields.claims(wrong)


def test_only_what_was_given_is_changed() -> None:
    given: dict[str, Any] = {"name": None, "rate_limit": "", "allow_schemas": "a, b,", "role": ""}
    found = fields.read(given, new=False)
    assert found == {"rate_limit": None, "allowed_schemas": ("a", "b"), "role": None}
    with pytest.raises(InvalidArgument, match="--scopes"):
        fields.read({"scopes": " , "}, new=False)


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5", str(2**31)])
def test_a_limit_that_is_no_count_is_refused(value: str) -> None:
    done = run("clientkeys", "create", "--name", "x", "--scopes", "*", "--rate-limit", value)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: Invalid value for '--rate-limit'")


def test_an_unknown_scope_is_refused_with_the_nearest_before_any_database_starts() -> None:
    done = run("clientkeys", "create", "--name", "x", "--scopes", "read:tabel")
    assert done.exit_code == 2
    assert "unknown scope 'read:tabel'; did you mean 'read:tables'?" in done.stderr


def test_an_unknown_tool_is_refused_and_a_glob_is_not() -> None:
    assert fields.read({"allow_tools": "list_*,query_table"}, new=True)
    with pytest.raises(InvalidArgument, match="did you mean 'query_table'"):
        fields.read({"allow_tools": "query_tables"}, new=True)
    with pytest.raises(InvalidArgument, match="--allow-resources"):
        fields.read({"allow_resources": "fluxbase://nothing"}, new=True)


def test_scopes_complete_after_a_comma(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "fluxbase clientkeys create --scopes read:tables,wr"
    monkeypatch.setenv("_FLUXBASE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", "4")
    done = CliRunner().invoke(cli, [], prog_name="fluxbase")
    assert done.output.split() == [
        f"plain,read:tables,{scope}" for scope in SCOPES if scope.startswith("wr")
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_one_that_its_shell_can_read(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert "_FLUXBASE_COMPLETE" in done.output
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.output.encode(), check=True)


def test_the_configuration_may_stand_before_or_after_the_command(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("mcp: {base_path: /here}\n")
    for words in (("-c", str(file), "config", "show"), ("config", "show", "-c", str(file))):
        line = next(line for line in run(*words).output.splitlines() if "base_path" in line)
        assert line.split() == ["mcp.base_path", "/here", str(file)]


def test_show_hides_secrets_and_says_where_values_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fluxbase.yaml").write_text("auth: {jwt: {secret: a-hidden-word}}\n")
    monkeypatch.setenv("FLUXBASE_DATABASE_URL", "postgresql://u:a-hidden-word@h/x")
    for style in output.STYLES:
        done = run("config", "show", "-o", style)
        assert done.exit_code == 0
        assert "hidden" not in done.output
    lines = [line.split() for line in run("config", "show").output.splitlines()]
    assert ["database.url", "***", "$FLUXBASE_DATABASE_URL"] in lines
    assert ["auth.jwt.secret", "***", "fluxbase.yaml"] in lines
    assert ["server.port", "8080", "default"] in lines
    assert ["server.drain_timeout", "30s", "default"] in lines


def test_what_show_prints_as_yaml_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "shown.yaml"
    file.write_text(run("config", "show", "-o", "yaml").output)
    assert run("config", "check", str(file)).output == f"{file}: ok\n"
    assert json.loads(run("config", "show", "-o", "json").output) == yaml.safe_load(
        file.read_text()
    )


def test_an_unknown_tool_in_the_environment_has_no_line() -> None:
    done = run("config", "check", env={"FLUXBASE_MCP_ALLOWED_TOOLS": "query_tabel"})
    assert done.exit_code == 2
    assert done.stderr.startswith("error: mcp.allowed_tools[0]: 'query_tabel' matches nothing")


def test_a_file_that_is_not_there_is_named() -> None:
    done = run("config", "check", "nosuch.yaml")
    assert (done.exit_code, done.stderr) == (2, "error: nosuch.yaml: no such configuration file\n")


def test_version_is_told_in_three_ways() -> None:
    plain = run("--version").output.split()[1]
    assert json.loads(run("version", "-o", "json").output)["version"] == plain
    assert yaml.safe_load(run("version", "-o", "yaml").output)["version"] == plain


def test_an_unknown_command_is_a_usage_error_and_none_shows_help() -> None:
    done = run("clientkyes")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, "hint: fluxbase --help")
    bare = run()
    assert (bare.exit_code, bare.stdout) == (2, "")
    assert bare.stderr.startswith("Usage: ")


def test_an_unexpected_failure_is_one_line_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert report(ValueError("postgresql://u:word@h/x")) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: unexpected ValueError: postgresql://u:***@h/x",
        "hint: run it again with -v for the details",
    ]
    assert report(Unavailable("the database is gone")) == 1
    assert report(click.Abort()) == 130


def test_a_table_is_aligned_and_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [
        {"name": "a\x1b[2J", "on": True, "at": None, "tags": ["x", "y"]},
        {"name": "long name", "on": False, "at": datetime(2027, 1, 1, tzinfo=UTC), "tags": []},
    ]
    output.show_rows(rows, {"name": "name", "on": "on", "at": "at", "tags": "tags"}, "table")
    assert capsys.readouterr().out.splitlines() == [
        "name       on   at                    tags",
        "a\N{REPLACEMENT CHARACTER}[2J      yes  -                     x,y",
        "long name  no   2027-01-01 00:00:00Z  -",
    ]


def test_json_and_yaml_hold_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"key": "k", "at": datetime(2027, 1, 1, tzinfo=UTC), "tags": ("a",), "none": None}
    output.show_one(row, "json")
    shown = json.loads(capsys.readouterr().out)
    output.show_one(row, "yaml")
    assert yaml.safe_load(capsys.readouterr().out) == shown
    assert shown == {"key": "k", "at": "2027-01-01T00:00:00Z", "tags": ["a"], "none": None}


def test_the_greeting_survives_a_shell_whatever_the_path_is() -> None:
    line = greeting.curl("http://127.0.0.1:1/it's", "fbk_x")
    echoed = subprocess.run(
        ["bash", "-c", line.replace("curl", "printf '%s\\n'", 1)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert "http://127.0.0.1:1/it's" in echoed
    assert "X-Client-Key: fbk_x" in echoed
    assert json.loads(echoed[-1])["params"]["name"] == "query_table"
