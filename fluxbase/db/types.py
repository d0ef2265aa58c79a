"""The driver's connection type, spelled once; asyncpg's own names are generic over records."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    from fluxbase.db.messages import Row

    Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
else:
    Connection = asyncpg.Connection

Record: TypeAlias = asyncpg.Record
# What a read found, the driver's row or one of a batch: alike in places, names and order.
ReadRow: TypeAlias = "asyncpg.Record | Row"
