"""People return to the address that was registered, to the letter; only loopback ports vary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbase.oauth.redirects import host, is_local, is_safe, matches


@pytest.mark.parametrize(
    ("registered", "asked", "good"),
    [
        ("https://a.example/cb", "https://a.example/cb", True),
        ("https://a.example/cb", "https://a.example:443/cb", False),
        ("https://a.example/cb", "https://a.example/cb/", False),
        ("https://a.example/cb", "https://a.example/CB", False),
        ("https://a.example/cb", "https://b.a.example/cb", False),
        ("https://a.example/cb", "http://a.example/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5555/cb", True),
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:65535/cb", True),
        ("http://localhost/cb", "http://localhost:5555/cb", True),
        ("http://[::1]/cb", "http://[::1]:5555/cb", True),
        ("http://127.0.0.1/cb", "http://localhost:5555/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5555/other", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5555/cb?x=1", False),
        ("http://127.0.0.1/cb", "https://127.0.0.1:5555/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", False),
        ("http://127.0.0.1/cb", "http://u@127.0.0.1:5555/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:5555@evil.example/cb", False),
        ("cursor://x/cb", "cursor://x/cb", True),
        ("cursor://x/cb", "cursor://x:1/cb", False),
    ],
)
def test_an_address_matches_or_not(registered: str, asked: str, good: bool) -> None:
    assert matches(registered, asked) is good


@given(st.text())
def test_nothing_but_itself_matches_an_https_address(asked: str) -> None:
    registered = "https://a.example/cb"
    assert matches(registered, asked) is (asked == registered)


@given(st.text())
def test_any_text_is_safe_or_not_and_nothing_breaks(uri: str) -> None:
    if is_safe(uri):
        assert not uri.lower().startswith(("javascript:", "data:", "file:", "vbscript:"))
        assert "\n" not in uri
        assert host(uri) is not None


def test_what_is_shown_of_an_address() -> None:
    assert host("http://127.0.0.1:5555/cb") == "127.0.0.1:5555"
    assert host("cursor://anysphere.cursor-mcp/oauth/callback") == "cursor:"
    assert is_local("cursor://anysphere.cursor-mcp/oauth/callback")
    assert not is_local("https://a.example/cb?x=1")
