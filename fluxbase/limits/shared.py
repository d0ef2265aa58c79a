"""Moving windows in memory that several processes share; it must not know who those are.

A window is a ring of cells of half a second, and a call is counted in its cell until the whole
cell is a minute old: so no minute ever holds more calls than the limit, and a call may leave up to
half a second late. A window costs the same whatever its limit.

Callers are kept by a keyed hash. A lock of the kernel's guards each group of them, which the
kernel takes from a process that dies; the next one then mends what was half done.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import tempfile
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from fluxbase.limits.windows import Hit

if TYPE_CHECKING:
    from collections.abc import Callable

_CELL: Final = 0.5
_RING: Final = 128  # cells of a window; a power of two above those that count
_WAYS: Final = 64  # windows in a group
_GROUPS: Final = 2048  # 131 072 callers in a minute; memory is taken only for those that come
_SECRET: Final = 16  # bytes at the start of the memory
_TAG: Final = 8
_HEAD: Final = 4  # numbers: first cell that counts, newest cell, calls in all, half done
_WINDOW: Final = 4 * (_HEAD + _RING)
_GROUP: Final = _WAYS * (_TAG + _WINDOW)
_START: Final = 4096
_KEPT: Final = 10_000  # names of callers that a process remembers
_NOBODY: Final = bytes(_TAG)
# Seconds to wait for a lock that is held for microseconds: on a busy machine its holder may have
# to wait for a processor, but one that takes longer was stopped, and then nobody waits long again.
_PATIENCE: Final = 0.25
_LITTLE: Final = 0.002
_GIVEN_UP: Final = 5.0


def share(groups: int = _GROUPS) -> int:
    """Return a file of the memory's size that no folder shows; processes map it by its number."""
    if sys.platform == "linux":
        number = os.memfd_create("fluxbase-limits")
    else:
        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.ftruncate(number, _START + groups * _GROUP)
    os.pwrite(number, os.urandom(_SECRET), 0)
    return number


class SharedWindows:
    """When each caller called in the last `seconds`, in whichever process of those that share."""

    def __init__(
        self, number: int, seconds: float, *, on_unlocked: Callable[[], None] = lambda: None
    ) -> None:
        """Map the file of `share`; `on_unlocked` is told of a call counted without the lock."""
        self._file = number
        self._live = int(seconds / _CELL)
        if self._live >= _RING:
            raise ValueError("the ring is too short")
        self._memory = mmap.mmap(number, 0)
        self._numbers = memoryview(self._memory).cast("I")
        self._secret = self._memory[:_SECRET]
        self._groups = (len(self._memory) - _START) // _GROUP
        self._known: dict[str, tuple[int, bytes]] = {}
        self._given_up: dict[int, float] = {}
        self._on_unlocked = on_unlocked

    def hit(self, key: str, most: int) -> Hit:
        """Count one call of `key` unless its window holds `most` already."""
        group, tag = self._known.get(key) or self._name(key)
        locked = self._lock(group)
        try:
            # Monotonic, and the same clock in every process of a machine.
            return self._count(self._find(_START + group * _GROUP, tag), most, time.monotonic())
        finally:
            if locked:
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, group)

    def _count(self, window: int, most: int, now: float) -> Hit:
        numbers, head, ring = self._numbers, window // 4, window // 4 + _HEAD
        first, newest, total, half_done = numbers[head : head + _HEAD]
        if half_done:
            first, total = max(0, newest - _RING + 1), sum(numbers[ring : ring + _RING])
        numbers[head + 3] = 1
        cell = int(now / _CELL)
        oldest = cell - self._live
        if newest < oldest:
            self._memory[ring * 4 : (ring + _RING) * 4] = bytes(4 * _RING)
            first = newest = cell
            total = 0
        while first < oldest:
            place = ring + first % _RING
            total -= numbers[place]
            numbers[place] = 0
            first += 1
        allowed = total < most
        if allowed:
            # Another process may have looked at the clock later and had the lock sooner.
            newest = max(cell, newest)
            numbers[head + 1] = newest
            numbers[ring + newest % _RING] += 1
            total += 1
        while first < newest and not numbers[ring + first % _RING]:
            first += 1
        numbers[head], numbers[head + 1], numbers[head + 2] = first, newest, total
        numbers[head + 3] = 0
        wait = (first + self._live + 1) * _CELL - now
        return Hit(allowed, wait, max(0, most - total))

    def _name(self, key: str) -> tuple[int, bytes]:
        """Return the group and the tag of a caller, which are dear to make and cheap to keep."""
        digest = blake2b(key.encode(), digest_size=_TAG + 4, key=self._secret).digest()
        tag = digest[:_TAG]
        if tag == _NOBODY:
            tag = b"\1" * _TAG
        if len(self._known) >= _KEPT:
            self._known.clear()
        name = self._known[key] = int.from_bytes(digest[_TAG:]) % self._groups, tag
        return name

    def _find(self, group: int, tag: bytes) -> int:
        """Return where the window of a caller is; a new one takes a place of its own."""
        tags = self._memory[group : group + _WAYS * _TAG]
        way = _place(tags, tag)
        if way is None:
            way = _place(tags, _NOBODY)
            if way is None:
                way = min(range(_WAYS), key=lambda other: self._newest(group, other))
            window = _window(group, way)
            # Cleared before it is named: a half-made window is nobody's.
            self._memory[group + way * _TAG : group + (way + 1) * _TAG] = _NOBODY
            self._memory[window : window + _WINDOW] = bytes(_WINDOW)
            self._memory[group + way * _TAG : group + (way + 1) * _TAG] = tag
        return _window(group, way)

    def _newest(self, group: int, way: int) -> int:
        return self._numbers[_window(group, way) // 4 + 1]

    def _lock(self, group: int) -> bool:
        """Keep other processes out of a group, but never wait for one that does not run."""
        if self._try(group):
            return True
        now = time.monotonic()
        end = now + (_PATIENCE if now > self._given_up.get(group, 0.0) else _LITTLE)
        pause = 0.0
        while time.monotonic() < end:
            time.sleep(pause)  # at first only lets others run
            pause = min(pause + 0.00005, 0.001)
            if self._try(group):
                return True
        # Counted all the same, though two at once may then count as one.
        self._given_up[group] = time.monotonic() + _GIVEN_UP
        self._on_unlocked()
        return False

    def _try(self, group: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, group)
        except (BlockingIOError, PermissionError):  # systems differ in what they say
            return False
        return True


def _place(tags: bytes, tag: bytes) -> int | None:
    at = tags.find(tag)
    while at >= 0 and at % _TAG:
        at = tags.find(tag, at + 1)
    return at // _TAG if at >= 0 else None


def _window(group: int, way: int) -> int:
    return group + _WAYS * _TAG + way * _WINDOW
