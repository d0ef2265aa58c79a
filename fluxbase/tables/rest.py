"""Makes the link to the rest of an answer that had to be cut off; it must not read rows."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from fluxbase.strict_json import dumps
from fluxbase.toolkit.request import Link

if TYPE_CHECKING:
    from fluxbase.tables.reading import Found, Wanted

LONGEST: Final = 8_192  # characters of a link; who asks with more reads on by offset or cursor


def link(wanted: Wanted, found: Found) -> Link | None:
    """Return the link to the rows that a call asked for and did not get."""
    left = _arguments(wanted)
    left["limit"] = wanted.limit - found.kept
    if wanted.after is not None:
        left["after"] = found.next_after
    else:
        left["offset"] = wanted.offset + found.kept
    query = base64.urlsafe_b64encode(dumps(left)).decode().rstrip("=")
    if len(query) > LONGEST:
        return None
    told = f"The answer was cut off after {found.kept} rows; this is the rest of what was asked."
    return Link(f"fluxbase://rows/{query}", "Further rows", told)


def _arguments(wanted: Wanted) -> dict[str, Any]:
    """Return the arguments of a call as they would be sent, those left out that say nothing."""
    said: dict[str, Any] = {
        "table": wanted.table,
        "select": wanted.select,
        "filter": wanted.filter,
        "order": wanted.order,
        "output": wanted.output,
        "max_bytes": wanted.max_bytes,
    }
    if wanted.embed:
        said["embed"] = {
            path: {name: value for name, value in asdict(given).items() if value is not None}
            for path, given in wanted.embed.items()
        }
    return {name: value for name, value in said.items() if value is not None}
