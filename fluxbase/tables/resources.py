"""The resource that holds the rest of an answer which had to be cut off."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final, cast

from fluxbase.errors import FluxbaseError, UnknownResource
from fluxbase.strict_json import loads
from fluxbase.tables.rest import LONGEST
from fluxbase.tables.tools import query_table
from fluxbase.toolkit import Context, resource
from fluxbase.toolkit.json_text import write
from fluxbase.toolkit.signature import Signature

_ARGUMENTS: Final = Signature(query_table)


@resource(
    "fluxbase://rows/{query}",
    scopes=("read:tables",),
    title="Further rows of an answer",
    untrusted=True,
    tool="query_table",
)
async def rows(ctx: Context, query: str) -> str:
    """Read on where an answer of query_table was cut off; such an answer links to its rest."""
    page = await query_table(ctx, **_ARGUMENTS.read(_asked(query)))
    found = page.as_json()
    if ctx.more is not None:
        found["next"] = ctx.more.uri
    return write(found).decode()


def _asked(query: str) -> dict[str, Any]:
    """Return the arguments that a link holds; they are judged like those of any call."""
    unknown = UnknownResource("no such resource", hint="take the link as the answer gave it")
    if len(query) > LONGEST:
        raise unknown
    try:
        plain = base64.b64decode(query + "=" * (-len(query) % 4), altchars=b"-_", validate=True)
        asked = loads(plain)
    except (binascii.Error, ValueError, FluxbaseError):
        raise unknown from None
    if not isinstance(asked, dict):
        raise unknown
    return cast("dict[str, Any]", asked)
