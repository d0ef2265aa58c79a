"""Which objects are carried where; it knows neither who carries them nor what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

BUCKET: Final = "bench"
THREADS: Final = 4  # that carry at the same time, whoever they are
Way = Literal["put", "get"]
Place = Literal["local", "s3"]
_SIZES: Final = {"64k": (64 * 1024, "64 KiB"), "8m": (8 * 1024**2, "8 MiB")}
_WAYS: Final[dict[Way, str]] = {"put": "uploaded", "get": "downloaded"}
_PLACES: Final[dict[Place, str]] = {"local": "a folder", "s3": "S3"}


@dataclass(frozen=True, slots=True)
class Transfer:
    """Objects of one size, there or back, in one place; sizes are in bytes."""

    way: Way
    size: int
    place: Place
    title: str

    def mb(self, rate: float) -> float:
        """Return megabytes a second, from objects a second."""
        return rate * self.size / 1e6


TRANSFERS: Final = {
    f"{way}-{size}-{place}": Transfer(way, many, place, f"{label} {done}, bytes in {where}")
    for place, where in _PLACES.items()
    for size, (many, label) in _SIZES.items()
    for way, done in _WAYS.items()
}
