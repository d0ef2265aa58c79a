"""The cursor of keyset paging: where the last row of a page stands in the sorting.

It holds values that its caller has seen and a mark of the sorting they are of. It is not signed:
a made-up one only asks for other rows, which the caller could ask for anyway.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING, Final, cast

from fluxbase.errors import FluxbaseError, InvalidFilter
from fluxbase.grammar.words import wrong
from fluxbase.strict_json import loads

if TYPE_CHECKING:
    from fluxbase.tables.plan import Sort

_LONGEST: Final = 8_000_000  # more than the sort values of a row within the largest answer
_MARK: Final = 12
ARGUMENT: Final = "after"
_HINT: Final = "give the next_after of the answer before, with the same table and order"


def mark(table: str, order: tuple[Sort, ...]) -> str:
    """Return what tells one sorting of one table from others."""
    said = [table]
    for sort in order:
        value = sort.value
        if value is not None:
            said.append(f"{value.column.name}{value.path}{sort.descending}{sort.nulls}")
    return hashlib.sha256("\x00".join(said).encode()).hexdigest()[:_MARK]


def write(mark_: str, values: str) -> str:
    """Return the cursor of a row, whose sort values are a JSON array of texts."""
    return base64.urlsafe_b64encode(f"{mark_}{values}".encode()).decode().rstrip("=")


def refused() -> InvalidFilter:
    """Return the error of what is not a cursor."""
    return wrong(ARGUMENT, "this is not a cursor", _HINT)


def read(text: str, mark_: str, many: int) -> list[str | None]:
    """Return the sort values of a cursor.

    Raises:
        InvalidFilter: it is none, or one of another table or sorting.
    """
    if len(text) > _LONGEST:
        raise refused()
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if plain[:_MARK].decode() != mark_:
            raise wrong(ARGUMENT, "this cursor is of another table or order", _HINT)
        values = loads(plain[_MARK:], max_depth=2, max_values=many + 1)
    except (binascii.Error, UnicodeError, ValueError):
        raise refused() from None
    except FluxbaseError as error:
        if error.code == "FLX102":
            raise
        raise refused() from None
    listed = cast("list[object]", values if isinstance(values, list) else [])
    if len(listed) != many or not all(v is None or isinstance(v, str) for v in listed):
        raise refused()
    return cast("list[str | None]", listed)
