"""How a key's answers show rows, said and changed at the command line."""

from __future__ import annotations

from tests.e2e.cli_stand import place


def test_the_choice_is_kept_shown_changed_and_cleared() -> None:
    with place() as here, here.serving() as server:
        new = ("clientkeys", "create", "--name", "k", "--scopes", "read:tables", "-o", "json")
        assert here.run(*new).json["untrusted_data"] is None
        made = here.run(*new, "--untrusted-data", "wrap").json
        assert made["untrusted_data"] == "wrap"
        assert server.status(made["key"]) == 200
        for word, kept in (("plain", "plain"), ("wrap", "wrap"), ("none", None)):
            words = ("update", made["id"], "--untrusted-data", word, "-o", "json")
            assert here.run("clientkeys", *words).json["untrusted_data"] == kept
            listed = here.run("clientkeys", "list", "-o", "json").json
            assert {k["id"]: k["untrusted_data"] for k in listed}[made["id"]] == kept
            shown = here.run("clientkeys", "get", made["id"], "-o", "json").json
            assert shown["untrusted_data"] == kept
        wrong = here.run(*new, "--untrusted-data", "tags")
        assert wrong.code == 2
        assert "wrap" in wrong.err
        service = here.run("servicekeys", "create", "--name", "s", "--untrusted-data", "wrap")
        assert service.code == 2
        assert "--untrusted-data" in service.err
