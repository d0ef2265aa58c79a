"""Keeps who submitted a job for the time when it runs; it must not know how keys are checked."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from typing import Any, cast

import orjson

from fluxbase.principal import Principal


def kept(who: Principal) -> str:
    """Return a caller as JSON."""
    return orjson.dumps({**asdict(who), "scopes": sorted(who.scopes)}).decode()


@lru_cache(maxsize=256)  # most jobs of a moment are of a few callers
def restored(text: str) -> Principal:
    """Return the caller that was kept."""
    values: dict[str, Any] = orjson.loads(text)
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(cast("list[Any]", value))
    values["scopes"] = frozenset(values["scopes"])
    values["settings"] = tuple((name, value) for name, value in values["settings"])
    return Principal(**values)
