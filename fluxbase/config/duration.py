"""Durations as people write them (`3600s`, `15m`, `30d`); it must not know what they time."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "y": 31536000.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|y)")


def seconds(value: object) -> float:
    """Return the seconds of `1h30m`, `3600s`, `500ms`, `30d`, `1y`, or of a plain number.

    Raises:
        ValueError: the text is not a duration.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        if text.isdigit():
            return float(text)
        parts = _PART.findall(text)
        if parts and "".join(n + u for n, u in parts) == text:
            return sum(float(number) * _UNITS[unit] for number, unit in parts)
    raise ValueError("a duration such as 500ms, 30s, 15m, 12h or 30d is expected")


def text(value: float) -> str:
    """Return the shortest duration text of `value` seconds: `3600` is `3600s`, `172800` is `2d`."""
    if value and value < 1:
        return f"{round(value * 1000)}ms"
    if value >= 2 * _UNITS["d"] and value % _UNITS["d"] == 0:
        return f"{int(value // _UNITS['d'])}d"
    return f"{value:f}".rstrip("0").rstrip(".") + "s"


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": "string", "description": "a duration such as 30s, 15m, 12h, 30d"}),
]
