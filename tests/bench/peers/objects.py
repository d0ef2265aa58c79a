"""Carries objects to a server, a folder or S3 and back on some threads, and counts for itself.

`python -m tests.bench.peers.objects WANTED SECONDS`. A folder is written as our store does it, the
checksum apart.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final, Protocol

from fluxbase.config.storage import S3
from tests.bench.processes import cpu_of_tree, resident_mib
from tests.bench.transfers import BUCKET, THREADS
from tests.s3_servers import client_of

_NAMES: Final = 2  # of each thread, written in turn
_PIECE: Final = 1024 * 1024


class Door(Protocol):
    """Where objects go and come from; one thread's own."""

    def put(self, name: str, data: bytes) -> bool:
        """Keep an object; say whether that was confirmed."""
        ...

    def get(self, name: str, data: bytes) -> bool:
        """Fetch an object; say whether it is what it should be."""
        ...


class HttpDoor:
    """Our plain HTTP, over one kept connection."""

    def __init__(self, port: int, path: str, key: str) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=30)
        self._path = path
        self._head = {"X-Client-Key": key}

    def put(self, name: str, data: bytes) -> bool:
        return self._ask("PUT", name, data)[0] in (200, 201)

    def get(self, name: str, data: bytes) -> bool:
        return self._ask("GET", name, None) == (200, data)

    def _ask(self, method: str, name: str, body: bytes | None) -> tuple[int, bytes]:
        self._http.request(method, f"{self._path}/{BUCKET}/{name}", body, self._head)
        response = self._http.getresponse()
        return response.status, response.read()


class FileDoor:
    """Files of a folder, which are on the disk before they have their name."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) / "blobs"
        self._folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, data: bytes) -> bool:
        passing = self._folder.parent / name
        with passing.open("wb", buffering=0) as file:
            left = memoryview(data)
            while left:
                left = left[file.write(left[:_PIECE]) :]
            os.fsync(file.fileno())
        passing.replace(self._folder / name)
        for folder in (self._folder, self._folder.parent):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(descriptor)
            os.close(descriptor)
        return True

    def get(self, name: str, data: bytes) -> bool:
        return (self._folder / name).read_bytes() == data


class S3Door:
    """The official client of S3."""

    def __init__(self, s3: dict[str, Any]) -> None:
        self._client = client_of(S3.model_validate(s3))
        self._bucket = s3["bucket"]

    def put(self, name: str, data: bytes) -> bool:
        self._client.put_object(Bucket=self._bucket, Key=f"raw/{name}", Body=data)
        return True

    def get(self, name: str, data: bytes) -> bool:
        answer = self._client.get_object(Bucket=self._bucket, Key=f"raw/{name}")
        return bool(answer["Body"].read() == data)


_DOORS: Final = {"http": HttpDoor, "file": FileDoor, "s3": S3Door}


def _carry(door: Door, way: str, names: list[str], data: bytes, until: float) -> list[float]:
    """Carry until it is time; return how long each took, and what was wrong as negative."""
    carry = door.put if way == "put" else door.get
    taken: list[float] = []
    while (started := time.perf_counter()) < until:
        right = carry(names[len(taken) % len(names)], data)
        spent = time.perf_counter() - started
        taken.append(spent if right else -spent)
    return taken


def _all_carry(doors: list[Door], way: str, data: bytes, seconds: float) -> list[float]:
    until = time.perf_counter() + seconds
    with ThreadPoolExecutor(THREADS) as threads:
        runs = [
            threads.submit(_carry, door, way, _names(n), data, until)
            for n, door in enumerate(doors)
        ]
        return [spent for run in runs for spent in run.result()]


def _names(thread: int) -> list[str]:
    return [f"{thread}-{n}" for n in range(_NAMES)]


def main(wanted: dict[str, Any], seconds: float) -> None:
    """Warm up, measure and print what came of it."""
    kind, pid, postmaster = wanted["kind"], wanted["pid"], wanted["postmaster"]
    doors: list[Door] = [_DOORS[kind](**wanted["at"]) for _ in range(THREADS)]
    data = random.Random(1).randbytes(wanted["size"])  # noqa: S311 - made-up data
    for n, door in enumerate(doors):
        if not all(door.put(name, data) for name in _names(n)):
            raise SystemExit("an upload was refused")
    measured = partial(_all_carry, doors, wanted["way"], data)
    measured(min(1.0, seconds))
    cpu, database = _cpu(pid), cpu_of_tree(postmaster)
    started = time.perf_counter()
    taken = measured(seconds)
    spent = time.perf_counter() - started
    cpu, database = _cpu(pid) - cpu, cpu_of_tree(postmaster) - database
    ordered = sorted(abs(one) * 1000 for one in taken)
    said = {
        "requests": len(taken),
        "seconds": spent,
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[len(ordered) * 99 // 100],
        "errors": sum(one < 0 for one in taken),
        "cpu": cpu,
        "database": database,
        "rss_mib": resident_mib(pid) if pid else 0.0,
    }
    sys.stdout.write(json.dumps(said) + "\n")


def _cpu(pid: int) -> float:
    """Return the processor time of the server, or of this process where there is none."""
    return cpu_of_tree(pid) if pid else time.process_time()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), float(sys.argv[2]))
