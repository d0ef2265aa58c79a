"""Rows and sortings for the tests of keyset paging: odd values, many nulls, many equals."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

TEXTS = [
    "", " ", "a", "A", "b", "é", "e\u0301", "ß", "☃", "😀", "\u2028", "'", '"', "\\", '\\"', "\n",
    "null", "NaN", "1", "10", "2", "a,b", "[]", "{}", "a\tb", "%", "_", "\x01", "ﬀ", "i", "İ",
]  # fmt: skip
FLOATS = [float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 0.1, 0.30000000000000004, 1e300, -1]
MANY = 200


def one(number: int, luck: random.Random) -> dict[str, Any]:
    """Return a row with many nulls, many equals and all odd values."""

    def some(values: list[Any], nulls: float = 0.3) -> Any:
        return None if luck.random() < nulls else luck.choice(values)

    meta: list[Any] = [
        {}, {"k": None}, {"k": "x"}, {"k": "10"}, {"k": 2}, {"n": 1}, {"n": 1.5}, {"n": [1]},
        {"k": "☃", "n": {"a": 1}}, {"k": '"', "n": "1"}, 5, [1, 2],
    ]  # fmt: skip
    return {
        "id": number,
        "grade": some([1, 2, 3]),
        "rank": luck.choice([1, 2, 2, 3]),
        "label": some(TEXTS),
        "coded": luck.choice(TEXTS),
        "weight": some(["NaN", "Infinity", "1", "1.0", "1.000000000000000000001", "-5", "1e40"]),
        "ratio": some([str(value) for value in FLOATS]),
        "slim": some(["0.1", "3.4e38", "NaN", "1e-40"]),
        "seen": some(
            ["2026-01-01T00:00:00.000001Z", "2026-01-01T00:00:00Z", "infinity", "-infinity",
             "0044-03-15T00:00:00Z BC", "2026-01-01T01:00:00+01:00"]
        ),
        "day": some(["2026-01-01", "infinity", "0001-01-01 BC"]),
        "mark": some([str(uuid.UUID(int=n)) for n in (0, 1, 2**127)]),
        "sort": some(["small", "large", "odd"]),
        "flag": some([True, False]),
        "span": some(["1 mon", "30 days", "-1 day", "720:00:00"]),
        "bits": some(["\\x", "\\x00", "\\xff00"]),
        "tags": some([[], [1], [1, None], [2]]),
        "net": some(["10.0.0.1", "10.0.0.0/8", "::1"]),
        "meta": some(meta),
        "raw": some(meta),
    }  # fmt: skip


SORTED = {
    "grade": "grade", "rank": "rank", "label": "label", "coded": "coded", "weight": "weight",
    "ratio": "ratio", "slim": "slim", "seen": "seen", "day": "day", "mark": "mark",
    "sort": "sort", "flag": "flag", "span": "span", "bits": "bits", "tags": "tags", "net": "net",
    "meta": "meta", "meta->>k": "meta ->> 'k'", "meta->n": "meta -> 'n'", "id": "id",
    "meta->n->>0": "meta -> 'n' ->> 0", "raw->k": "raw::jsonb -> 'k'", "bulk": "bulk(t)",
    "raw->>k": "raw ->> 'k'",
}  # fmt: skip
WAYS = ["", ".asc", ".desc", ".nullsfirst", ".desc.nullslast", ".desc.nullsfirst", ".nullslast"]
SQL_WAYS = {
    "": "", ".asc": "", ".desc": " DESC", ".nullsfirst": " NULLS FIRST",
    ".desc.nullslast": " DESC NULLS LAST", ".desc.nullsfirst": " DESC NULLS FIRST",
    ".nullslast": " NULLS LAST",
}  # fmt: skip
