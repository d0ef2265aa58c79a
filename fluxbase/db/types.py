"""The driver's connection type, spelled once; asyncpg's own names are generic over records."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
else:
    Connection = asyncpg.Connection

Record: TypeAlias = asyncpg.Record
