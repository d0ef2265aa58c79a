"""Reads which column of which relation each column of a view shows; it must not judge views.

Postgres keeps a view as the tree of its rule, `pg_rewrite.ev_action`, in a text form of its own:
`{NODE :field value …}`, lists in parentheses, a backslash before what would end a word. Each
entry of a query's target list says where its column comes from (`resorigtbl`, `resorigcol`),
with zeros for what is computed.

Source: `src/backend/nodes/outfuncs.c` and `src/include/nodes/primnodes.h` of Postgres.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK: Final = re.compile(r"\\.|[(){}]|:targetList ", re.DOTALL)
_TOP: Final = 2  # "(" of the rule's list and "{" of its one query
_ENTRY: Final = re.compile(
    r":resno \d+ :resname ((?:\\.|[^\s\\])+) :ressortgroupref \d+ "
    r":resorigtbl (\d+) :resorigcol (\d+) :resjunk false\}\Z",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def shown_columns(rule: str) -> dict[str, tuple[int, int]]:
    """Return for each plain column of a view the relation's oid and the column's number there."""
    found: dict[str, tuple[int, int]] = {}
    for entry in _entries(rule):
        parts = _ENTRY.search(entry)
        if parts is not None and parts.group(2) != "0":
            name = _ESCAPED.sub(r"\1", parts.group(1))
            found[name] = (int(parts.group(2)), int(parts.group(3)))
    return found


def _entries(rule: str) -> Iterator[str]:
    """Yield the entries of the outermost target list."""
    depth, listed, start = 0, False, 0
    for mark in _MARK.finditer(rule):
        word = mark.group()
        if word in ("(", "{"):
            if listed and depth == _TOP + 1:
                start = mark.start()
            depth += 1
        elif word in (")", "}"):
            depth -= 1
            if listed and depth == _TOP + 1:
                yield rule[start : mark.end()]
            if listed and depth == _TOP:
                return
        elif word == ":targetList " and depth == _TOP:
            listed = True
