"""Cursors walk through a list once, and only those that were made here."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbase.mcp.paging import Pager
from fluxbase.mcp.wire import ProtocolError


@given(items=st.lists(st.integers(), max_size=30), size=st.integers(1, 10))
def test_pages_give_every_item_once_in_order(items: list[int], size: int) -> None:
    pager, seen, cursor = Pager(size), list[int](), None
    for _ in range(len(items) // size + 1):
        page, cursor = pager.page(items, cursor)
        seen += page
        if cursor is None:
            break
        assert len(page) == size
    assert (seen, cursor) == (items, None)


@given(cursor=st.text() | st.integers() | st.lists(st.text(), max_size=2) | st.booleans())
def test_a_made_up_cursor_is_refused_or_a_place_in_the_list(cursor: Any) -> None:
    page: list[int] = []
    code = -32602
    try:
        page, _ = Pager(2).page([1, 2, 3], cursor)
    except ProtocolError as error:
        code = error.rpc_code
    assert len(page) <= 2
    assert code == -32602


@pytest.mark.parametrize("cursor", ["bzk5OTk5OTk5OTk5OTk5", "bzQ=", "", "bw==", "☃", "\ud800"])
def test_a_cursor_out_of_the_list_is_refused(cursor: str) -> None:
    with pytest.raises(ProtocolError):
        Pager(2).page([1, 2, 3], cursor)
