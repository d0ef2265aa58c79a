"""What is sealed opens in its own place alone, and with its own pepper alone."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from fluxbase.auth.box import Box, Sealed
from fluxbase.auth.pepper import Peppers
from fluxbase.errors import ConfigError


def peppers(*versions: str) -> Peppers:
    ring = {version: version.encode() * 32 for version in versions}
    return Peppers(MappingProxyType(ring), versions[0])


def box(*versions: str, purpose: str = "a test") -> Box:
    return Box(peppers(*versions), purpose)


def test_what_was_sealed_opens_in_its_place() -> None:
    for text in ("", "x", "ü\0\n" * 30_000):
        assert box("a").open(box("a").seal(text, "one", "two"), "one", "two") == text


@pytest.mark.parametrize("place", [("one",), ("two", "one"), ("onetwo",), ("one", "two", ""), ()])
def test_it_opens_in_no_other_place(place: tuple[str, ...]) -> None:
    sealed = box("a").seal("x", "one", "two")
    with pytest.raises(ConfigError):
        box("a").open(sealed, *place)


def test_a_place_cannot_be_written_as_another_one() -> None:
    sealed = box("a").seal("x", "one,3:two")
    with pytest.raises(ConfigError):
        box("a").open(sealed, "one", "two")


def test_it_opens_for_no_other_purpose_and_with_no_other_pepper() -> None:
    sealed = box("a").seal("x", "one")
    for other in (box("a", purpose="another"), box("b")):
        with pytest.raises(ConfigError) as caught:
            other.open(sealed, "one")
        assert "x" not in caught.value.message.split()
    assert box("b", "a").open(sealed, "one") == "x"


def test_it_is_renewed_unless_the_current_pepper_itself_opens_it() -> None:
    sealed = box("a").seal("x", "one")
    assert box("a", "b").renewed(sealed, "one") is None
    renewed = box("b", "a").renewed(sealed, "one")
    assert renewed is not None
    assert box("b").open(renewed, "one") == "x"
    # The name of the old pepper was given to a new one.
    renamed = Peppers(MappingProxyType({"a": b"b" * 32, "old": b"a" * 32}), "a")
    renewed = Box(renamed, "a test").renewed(sealed, "one")
    assert renewed is not None
    with pytest.raises(ConfigError):
        box("a").open(renewed, "one")
    with pytest.raises(ConfigError):
        box("b").renewed(sealed, "one")


def test_nothing_of_it_can_be_changed() -> None:
    sealed = box("a").seal("some text", "one")
    for place in range(len(sealed.sealed)):
        changed = bytearray(sealed.sealed)
        changed[place] ^= 1
        with pytest.raises(ConfigError):
            box("a").open(sealed._replace(sealed=bytes(changed)), "one")
    for other in (b"", sealed.sealed[:-1], sealed.sealed + b"\0"):
        with pytest.raises(ConfigError):
            box("a").open(sealed._replace(sealed=other), "one")
    with pytest.raises(ConfigError):
        box("a").open(Sealed("a", bytes(12), sealed.sealed), "one")


def test_the_same_text_is_sealed_otherwise_each_time() -> None:
    seals = [box("a").seal("x", "one") for _ in range(100)]
    assert len({seal.nonce for seal in seals}) == 100
    assert len({seal.sealed for seal in seals}) == 100
