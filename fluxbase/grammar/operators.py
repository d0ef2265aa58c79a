"""The operators of a condition and what each of them takes; it must not read any text."""

from __future__ import annotations

from typing import Final, get_args

from fluxbase.grammar.tree import Operator, Truth

TRUTHS: Final[tuple[Truth, ...]] = get_args(Truth)
# `is` and the two opposites that people write as one word; the tree holds what they stand for.
OPERATORS: Final[tuple[str, ...]] = (*get_args(Operator), "is", "isnot", "nin")
QUANTIFIED: Final = frozenset(
    {"eq", "gt", "gte", "lt", "lte", "like", "ilike", "match", "imatch"}
)  # fmt: skip
TEXT_SEARCH: Final = frozenset({"fts", "plfts", "phfts", "wfts"})
PATTERNS: Final = frozenset({"like", "ilike", "match", "imatch"})
PARTS: Final = frozenset({"cs", "cd", "ov"})
RANGES: Final = frozenset({"sl", "sr", "nxr", "nxl", "adj"})
# What people write who think of SQL or of another API.
MEANT: Final = {
    "=": "eq", "==": "eq", "equals": "eq", "equal": "eq", "ne": "neq", "!=": "neq", "<>": "neq",
    "not_eq": "neq", ">": "gt", ">=": "gte", "ge": "gte", "<": "lt", "<=": "lte", "le": "lte",
    "contains": "cs", "contained": "cd", "containedby": "cd", "overlaps": "ov", "overlap": "ov",
    "~": "match", "~*": "imatch", "regex": "match", "search": "wfts", "textsearch": "wfts",
    "starts_with": "like", "startswith": "like",
    "greater": "gt", "greater_than": "gt", "less": "lt", "less_than": "lt",
    "greater_than_or_equal": "gte", "less_than_or_equal": "lte",
    "isnull": "is", "not_in": "nin", "notin": "nin", "between": "gte",
}  # fmt: skip
HINT: Final = (
    "write 'operator.value', such as 'eq.active', 'gte.18', 'in.(a,b)' or 'is.null'; "
    "operators: " + ", ".join(OPERATORS)
)
