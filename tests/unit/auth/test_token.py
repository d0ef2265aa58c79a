from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbase.auth import token as tokens
from fluxbase.auth.token import ID_ALPHABET, KeyKind, Token, mac, matches, new, parse

PEPPER = bytes(range(32))
EXAMPLE = Token("client_key", "abcd2345", "A" * 32)


@pytest.mark.parametrize(("kind", "prefix"), [("client_key", "fbk"), ("service_key", "fbs")])
def test_a_new_key_has_the_published_form_and_reads_back(kind: KeyKind, prefix: str):
    token = new(kind)
    assert re.fullmatch(prefix + r"_[a-km-np-z2-9]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}", token.text)
    assert parse(token.text) == token
    assert token.kind == kind


def test_keys_do_not_repeat():
    made = [new("client_key") for _ in range(200)]
    assert len({token.id for token in made}) == len({token.secret for token in made}) == 200


def test_the_checksum_never_changes_between_versions():
    assert EXAMPLE.text == "fbk_abcd2345_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA_3YaTLu"


def test_the_id_fits_a_postgres_role_name_and_confuses_nobody():
    assert not set(ID_ALPHABET) & set("lo01")
    assert ID_ALPHABET.islower()
    assert len(set(ID_ALPHABET)) == len(ID_ALPHABET)


def test_neither_repr_nor_str_shows_the_secret():
    assert EXAMPLE.secret not in f"{EXAMPLE} {EXAMPLE!r}"
    assert EXAMPLE.id in repr(EXAMPLE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fbk",
        "fbk_abcd2345",
        EXAMPLE.text + "\n",
        " " + EXAMPLE.text,
        EXAMPLE.text.upper(),
        EXAMPLE.text.replace("fbk", "fbs"),
        EXAMPLE.text.replace("fbk", "fba"),
        EXAMPLE.text.replace("abcd", "abcl"),
        EXAMPLE.text.replace("2345", "２345"),  # noqa: RUF001 - a digit of another script
        EXAMPLE.text[:-1],
        EXAMPLE.text + "0",
        EXAMPLE.text * 1000,
        "\x00" * 52,
        "\ud800" * 52,
    ],
)
def test_what_is_no_key_is_none(text: str):
    assert parse(text) is None


@given(
    st.integers(0, len(EXAMPLE.text) - 1),
    st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"),
)
def test_every_single_typing_error_is_caught(place: int, letter: str):
    text = EXAMPLE.text[:place] + letter + EXAMPLE.text[place + 1 :]
    assert (parse(text) is not None) == (text == EXAMPLE.text)


def test_a_key_matches_its_own_mac_only():
    stored = mac(PEPPER, EXAMPLE)
    assert len(stored) == 32
    assert matches(PEPPER, EXAMPLE, stored)
    assert not matches(bytes(32), EXAMPLE, stored)
    for other in (
        Token("service_key", EXAMPLE.id, EXAMPLE.secret),
        Token("client_key", "abcd2346", EXAMPLE.secret),
        Token("client_key", EXAMPLE.id, "A" * 31 + "B"),
    ):
        assert not matches(PEPPER, other, stored)


def test_an_unknown_id_never_matches_and_does_the_same_work(monkeypatch: pytest.MonkeyPatch):
    compared: list[int] = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append(len(first) + len(second))
        return True

    assert not matches(PEPPER, EXAMPLE, None)
    monkeypatch.setattr(tokens.hmac, "compare_digest", compare)
    # Even a comparison that says yes cannot make an unknown id a match.
    assert not matches(PEPPER, EXAMPLE, None)
    assert matches(PEPPER, EXAMPLE, mac(PEPPER, EXAMPLE))
    assert compared == [64, 64]
