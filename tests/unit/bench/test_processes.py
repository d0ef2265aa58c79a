"""What a server costs is counted with all its children, whether they live or not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.bench.processes import Process, cpu_of_tree, resident_mib, settled

if TYPE_CHECKING:
    from collections.abc import Generator

# Keeps a few busy children, each of which soon ends and is followed by another.
RESTLESS = """
import os, sys
sys.stdout.write("ready\\n"); sys.stdout.flush()
living = set()
for n in range(80):
    if len(living) == 4:
        living.discard(os.wait()[0])
    pid = os.fork()
    if pid == 0:
        sum(range(150_000 + 60_000 * (n % 4))); os._exit(0)
    living.add(pid)
while living:
    living.discard(os.wait()[0])
sys.stdout.write("done\\n"); sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def restless() -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", RESTLESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_processor_time_never_falls_while_children_come_and_go(
    restless: subprocess.Popen[str],
) -> None:
    seen = [cpu_of_tree(restless.pid) for _ in range(30)]
    assert seen == sorted(seen)
    assert restless.stdout is not None
    assert restless.stdout.readline() == "done\n"
    assert cpu_of_tree(restless.pid) >= seen[-1] > 0


def test_a_reading_in_which_a_child_was_lost_does_not_count() -> None:
    parent, child = Process(0, 10, 0, 1), Process(1, 500, 0, 1)
    both, lost, heir = {1: parent, 2: child}, {1: parent}, {1: replace(parent, reaped=500)}
    readings = iter([both, lost, heir, heir])
    assert settled(lambda: next(readings)) == heir
    readings = iter([both, both])
    assert settled(lambda: next(readings)) == both


def test_memory_is_that_of_all_below() -> None:
    alone = resident_mib(os.getpid())
    command = [sys.executable, "-c", "import sys; print(); sys.stdout.flush(); sys.stdin.read()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert resident_mib(os.getpid()) > alone + 2
        assert 2 < resident_mib(child.pid) < alone
        child.kill()
