"""Users and OAuth clients by the command line, on an empty machine and beside a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.cli_stand import Place, place

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="module")
def here() -> Generator[Place]:
    with place() as made:
        yield made


def test_the_life_of_a_user(here: Place) -> None:
    made = here.run("users", "create", "--email", "you@example.com", "--generate", "-o", "json")
    assert made.code == 0, made.err
    assert len(made.json["password"]) >= 20
    assert "shown this once" in made.err
    assert made.json["scopes"] == ["*"]
    again = here.run("users", "create", "--email", "YOU@example.com", "--generate")
    assert again.code != 0
    assert "already" in again.err
    changed = here.run(
        "users", "update", "you@example.com", "--scopes", "read:tables", "--admin", "-o", "json"
    )
    assert changed.json["scopes"] == ["read:tables"]
    assert changed.json["is_admin"] is True
    assert (
        here.run("users", "disable", "you@example.com", "-o", "json").json["status"] == "disabled"
    )
    assert here.run("users", "enable", made.json["id"], "-o", "json").json["status"] == "active"
    secret = here.bash(
        "echo 'another good password' | fluxbase users set-password you@example.com"
        " --password-stdin -o json"
    )
    assert secret.code == 0, secret.err
    assert "another good" not in secret.out + secret.err
    [listed] = here.run("users", "list", "-o", "json").json
    assert "password_hash" not in listed
    assert here.run("users", "delete", "you@example.com").code == 2  # nobody can be asked
    assert here.run("users", "delete", "you@example.com", "--yes").code == 0
    assert here.run("users", "get", "you@example.com").code != 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--email", "nonsense", "--generate"), "email: an address"),
        (("--email", "a@example.com"), "--password-stdin or --generate"),
        (("--email", "a@example.com", "--generate", "--scopes", "read:tabels"), "read:tables"),
        (("--email", "a@example.com", "--generate", "--role", "postgres"), "role"),
    ],
)
def test_what_is_wrong_is_told(here: Place, words: tuple[str, ...], said: str) -> None:
    done = here.run("users", "create", *words)
    assert done.code != 0
    assert said in done.err


def test_a_short_password_is_refused(here: Place) -> None:
    done = here.bash("echo short | fluxbase users create --email a@example.com --password-stdin")
    assert done.code != 0
    assert "10 to 256 characters" in done.err


def test_the_life_of_a_client(here: Place) -> None:
    uri = "https://app.example.com/callback"
    made = here.run(
        "oauthclients", "create", "--name", "Assistant", "--redirect-uri", uri, "-o", "json"
    )
    assert made.code == 0, made.err
    assert made.json["client_secret"].startswith("fbx_")
    public = here.run(
        "oauthclients", "create", "--name", "P", "--redirect-uri", uri, "--public", "-o", "json"
    )
    assert "client_secret" not in public.json
    listed = here.run("oauthclients", "list", "-o", "json").json
    assert {entry["registered_by"] for entry in listed} == {"administrator"}
    assert made.json["client_secret"] not in str(listed)
    wrong = here.run("oauthclients", "create", "--name", "x", "--redirect-uri", "javascript:x")
    assert wrong.code != 0
    assert "redirect URI" in wrong.err
    client = made.json["client_id"]
    assert here.run("oauthclients", "delete", client, "--yes").code == 0
    assert here.run("oauthclients", "delete", client, "--yes").code != 0
