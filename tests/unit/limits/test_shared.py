"""Several processes hold one limit exactly, and none can hold the others up."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from bisect import bisect_right
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxbase.limits import shared
from fluxbase.limits.shared import SharedWindows, share

if TYPE_CHECKING:
    from collections.abc import Generator

ROOT = Path(__file__).resolve().parents[3]
HITS = """
import sys
from fluxbase.limits.shared import SharedWindows
windows = SharedWindows(int(sys.argv[1]), 60)
print("up", flush=True)
sys.stdin.readline()
print(sum(windows.hit(f"caller {n % 50}", 100).allowed for n in range(10_000)))
"""
HOLDS = """
import fcntl, sys
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX, 1, 0)
print("up", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def number() -> Generator[int]:
    made = share(groups=1)
    yield made
    os.close(made)


def started(program: str, number: int) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(number)],
        cwd=ROOT,
        pass_fds=(number,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    return process


def all_at_once(*numbers: int) -> list[int]:
    """Let one process for each number hit for 50 callers; return what each was allowed."""
    processes = [started(HITS, number) for number in numbers]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    return [int(process.communicate(timeout=30)[0]) for process in processes]


def test_processes_that_share_are_allowed_the_limit_together(number: int) -> None:
    allowed = all_at_once(number, number, number, number)
    assert sum(allowed) == 50 * 100
    assert sum(map(bool, allowed)) > 1, "one ran alone, so nothing was shared"


def test_control_processes_that_do_not_share_are_allowed_it_each() -> None:
    numbers = [share(groups=1) for _ in range(2)]
    assert all_at_once(*numbers) == [5000, 5000]
    for number in numbers:
        os.close(number)


def test_callers_are_counted_by_themselves(number: int) -> None:
    one, two = SharedWindows(number, 60), SharedWindows(number, 60)
    for caller in ("a", "b"):
        got = [(one, two)[n % 2].hit(caller, 5) for n in range(8)]
        assert [hit.allowed for hit in got] == [True] * 5 + [False] * 3
        assert [hit.remaining for hit in got] == [4, 3, 2, 1, 0, 0, 0, 0]
        assert all(0 < hit.wait <= 60.5 for hit in got)


@settings(max_examples=100, deadline=None)
@given(
    most=st.integers(1, 8),
    gaps=st.lists(st.floats(0, 90) | st.floats(0, 2), min_size=1, max_size=120),
)
def test_no_minute_ever_holds_more_than_the_limit_and_none_waits_much_longer(
    most: int, gaps: list[float]
) -> None:
    clock = SimpleNamespace(now=1e6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "time", SimpleNamespace(monotonic=lambda: clock.now))
        number = share(groups=1)
        windows = SharedWindows(number, 60)
        let: list[float] = []
        for gap in gaps:
            clock.now += gap
            recent = [at for at in let if at > clock.now - 60.5]
            hit = windows.hit("caller", most)
            if hit.allowed:
                let.append(clock.now)
                assert len(let) - bisect_right(let, clock.now - 60) <= most
                assert hit.remaining >= most - 1 - len(recent)
            else:
                assert len(recent) >= most
                # Of more calls than the limit the first ones have left the window already.
                assert clock.now + hit.wait <= recent[-most] + 60.5 + 1e-6
        os.close(number)


@pytest.mark.parametrize(("later", "allowed"), [(59.52, False), (59.99, False), (60.02, True)])
def test_a_call_counts_for_a_whole_minute(
    number: int, monkeypatch: pytest.MonkeyPatch, later: float, allowed: bool
) -> None:
    clock = SimpleNamespace(now=1_000_000.49)  # at the end of a cell
    monkeypatch.setattr(shared, "time", SimpleNamespace(monotonic=lambda: clock.now))
    windows = SharedWindows(number, 60)
    windows.hit("caller", 1)
    clock.now += later
    assert windows.hit("caller", 1).allowed is allowed


def test_a_killed_process_leaves_no_lock_behind(number: int) -> None:
    unlocked: list[int] = []
    windows = SharedWindows(number, 60, on_unlocked=lambda: unlocked.append(1))
    holder = started(HOLDS, number)
    holder.kill()
    holder.communicate()
    assert windows.hit("caller", 1).allowed
    assert not unlocked


def test_a_process_that_hangs_with_the_lock_stops_nobody(number: int) -> None:
    unlocked: list[int] = []
    windows = SharedWindows(number, 60, on_unlocked=lambda: unlocked.append(1))
    holder = started(HOLDS, number)
    holder.send_signal(signal.SIGSTOP)
    assert [windows.hit("caller", 2).allowed for _ in range(3)] == [True, True, False]
    assert len(unlocked) == 3
    holder.kill()
    holder.communicate()
    windows.hit("caller", 2)
    assert len(unlocked) == 3


def test_the_lock_keeps_others_out_while_a_call_is_counted(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    lockf = fcntl.lockf

    def noted(file: int, kind: int, length: int, start: int) -> None:
        taken.append(kind)
        lockf(file, kind, length, start)

    monkeypatch.setattr(fcntl, "lockf", noted)
    SharedWindows(number, 60).hit("caller", 1)
    assert taken == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN]


@pytest.mark.parametrize("wrong", [0, 3, 4_000_000_000])
def test_what_a_killed_process_left_half_done_is_mended(number: int, wrong: int) -> None:
    windows = SharedWindows(number, 60)
    for _ in range(5):
        windows.hit("caller", 10)
    with memoryview(os.pread(number, os.fstat(number).st_size, 0)).cast("I") as found:
        head = next(n for n in range(1024, len(found)) if found[n : n + 1][0] == 5)
    # The count is wrong, and the mark says that its change was not finished.
    os.pwrite(number, wrong.to_bytes(4, sys.byteorder) + (1).to_bytes(4, sys.byteorder), 4 * head)
    assert [windows.hit("caller", 10).remaining for _ in range(6)] == [4, 3, 2, 1, 0, 0]


def test_when_there_is_no_place_left_the_longest_idle_caller_is_forgotten(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1e6)
    monkeypatch.setattr(shared, "time", SimpleNamespace(monotonic=lambda: clock.now))
    windows = SharedWindows(number, 60)
    for n in range(64):
        clock.now += 0.6
        assert windows.hit(f"caller {n}", 1).allowed
    assert not windows.hit("caller 0", 1).allowed
    assert windows.hit("one more", 1).allowed
    assert windows.hit("caller 0", 1).allowed
    assert not windows.hit("caller 63", 1).allowed


def test_the_memory_does_not_name_the_callers(number: int) -> None:
    name = "k_4f6d0b1e22aa"
    SharedWindows(number, 60).hit(name, 1)
    assert name.encode() not in os.pread(number, os.fstat(number).st_size, 0)
