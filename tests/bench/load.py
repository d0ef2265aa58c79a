"""Puts load on a contestant for some seconds and says what came of it; it judges nothing."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from tests.bench.processes import PYTHON, cpu_of_tree, resident_mib
from tests.bench.sample import Sample
from tests.programs import ROOT, environment, program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.transfers import Transfer
    from tests.bench.world import Address

T = TypeVar("T")

CONNECTIONS: Final = 16
_SCRIPT: Final = Path(__file__).with_name("wrk.lua")
_SPACE: Final = "\\ "  # inside one of libpq's options
_UNPACKED: Final = ROOT / ".tools" / "bench" / "root" / "usr"


@dataclass(frozen=True, slots=True)
class Http:
    """A server that wrk asks, with the file of its requests and the size of a right answer.

    Where calls write, `written` counts the rows there are.
    """

    pid: int
    port: int
    requests: Path
    answer_bytes: int
    postmaster: int
    written: Callable[[], int] | None = None

    def measure(self, seconds: float) -> Sample:
        """Warm up, then measure."""
        self._run(1.0)
        rows = self.written() if self.written else 0
        cpu, database = cpu_of_tree(self.pid), cpu_of_tree(self.postmaster)
        said = self._run(seconds)
        cpu, database = cpu_of_tree(self.pid) - cpu, cpu_of_tree(self.postmaster) - database
        added = self.written() - rows if self.written else None
        errors = wrong_answers(said, self.answer_bytes, added)
        return _sample(said, errors, cpu, database, resident_mib(self.pid))

    def _run(self, seconds: float) -> dict[str, Any]:
        wrk, env = _wrk()
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s"]
        command += ["-s", str(_SCRIPT), f"http://127.0.0.1:{self.port}/", str(self.requests)]
        return _last_line(command, env, seconds)


@dataclass(frozen=True, slots=True)
class Loop:
    """Coroutines on asyncpg, in a process of their own."""

    world: Path
    mode: str
    postmaster: int

    def measure(self, seconds: float) -> Sample:
        """Measure; the process warms up by itself."""
        command = [PYTHON, "-m", "tests.bench.peers.loop", str(self.world), self.mode, str(seconds)]
        said, _, database = _counted(
            lambda: _last_line(command, dict(os.environ), seconds), self.postmaster
        )
        calls = said["requests"]
        # What Postgres did for the warm-up counts as if all calls had shared it.
        share = seconds / (seconds + min(1.0, seconds))
        return _sample(said, 0, said["cpu_us"] * calls / 1e6, database * share, 0.0)


@dataclass(frozen=True, slots=True)
class Pgbench:
    """Postgres' own load generator with prepared statements, of several scripts one by chance.

    `settings` are those of its sessions, `variables` what its scripts take as parameters.
    """

    address: Address
    scripts: Sequence[str]
    role: str | None
    home: Path
    postmaster: int
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    variables: Sequence[str] = ()

    def measure(self, seconds: float) -> Sample:
        """Warm up, then measure and read the latencies from pgbench's log."""
        logs = self.home / "pgbench-logs"
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir()
        host, env = _libpq(self.address, self.role, self.settings)
        command = [program("pgbench"), "-n", "-M", "prepared", f"-c{CONNECTIONS}", "-j1"]
        for number, text in enumerate(self.scripts):
            script = self.home / f"pgbench-{number}.sql"
            script.write_text(text, "utf-8")
            command += ["-f", str(script)]
        command += [word for variable in self.variables for word in ("-D", variable)]
        _run([*command, "-T1", *host], env, 1.0)
        command += [f"-T{max(1, round(seconds))}", "-l", f"--log-prefix={logs}/log", *host]
        done, cpu, database = _counted(lambda: _run(command, env, seconds), self.postmaster)
        lines = [line for log in logs.iterdir() for line in log.read_text("utf-8").splitlines()]
        taken = sorted(int(line.split()[2]) / 1000 for line in lines)
        tps = next(line.split()[2] for line in done.splitlines() if line.startswith("tps = "))
        failed = next(line for line in done.splitlines() if "failed transactions" in line)
        said = {
            "requests": len(taken),
            "seconds": len(taken) / float(tps),
            "p50_ms": taken[len(taken) // 2],
            "p99_ms": taken[len(taken) * 99 // 100],
        }
        return _sample(said, int(failed.split(":")[1].split()[0]), cpu, database, 0.0)


@dataclass(frozen=True, slots=True)
class Stdio:
    """A server on the standard streams of a process of our own, which counts for itself."""

    command: Sequence[str]
    call: str
    user_id: str
    postmaster: int

    def measure(self, seconds: float) -> Sample:
        """Measure; the process warms up by itself and looks at the first answer."""
        wanted = json.dumps({"call": self.call, "user_id": self.user_id})
        command = [PYTHON, "-m", "tests.bench.peers.stdio", wanted, str(self.postmaster)]
        said = _last_line([*command, str(seconds), *self.command], dict(os.environ), seconds)
        return _sample(said, said["errors"], said["cpu"], said["database"], said["rss_mib"])


@dataclass(frozen=True, slots=True)
class Carrying:
    """Threads that carry objects, in a process of their own, which counts for itself.

    `at` says how `kind` is reached; `pid` is that of the server, 0 where there is none.
    """

    kind: str
    at: Mapping[str, Any]
    transfer: Transfer
    pid: int
    postmaster: int

    def measure(self, seconds: float) -> Sample:
        """Measure; the process warms up by itself and looks at every answer."""
        names = ("kind", "at", "pid", "postmaster")
        wanted = {name: getattr(self, name) for name in names}
        wanted |= {"way": self.transfer.way, "size": self.transfer.size}
        command = [PYTHON, "-m", "tests.bench.peers.objects", json.dumps(wanted), str(seconds)]
        said = _last_line(command, dict(os.environ), seconds)
        return _sample(said, said["errors"], said["cpu"], said["database"], said["rss_mib"])


class Contestant(Protocol):
    """Whoever can be put under load."""

    def measure(self, seconds: float) -> Sample:
        """Warm up, then measure."""
        ...


def wrong_answers(said: dict[str, Any], answer_bytes: int, added: int | None) -> int:
    """Return how many of wrk's calls did not do what they should.

    Args:
        said: what wrk counted.
        answer_bytes: the length of a right answer, head and all.
        added: the rows that the calls left behind, where each should leave one.
    """
    calls = int(said["requests"])
    # A refusal can come as a 200 too; then the answers have another length.
    if abs(said["bytes"] / max(1, calls) / answer_bytes - 1) > 0.1:
        return max(1, calls)
    return int(said["errors"]) + max(0, calls - (calls if added is None else added))


def _sample(said: dict[str, Any], errors: int, cpu: float, database: float, rss: float) -> Sample:
    calls = max(1, said["requests"])
    return Sample(
        rate=said["requests"] / said["seconds"],
        p50_ms=said["p50_ms"],
        p99_ms=said["p99_ms"],
        errors=errors,
        cpu_us=cpu / calls * 1e6,
        db_us=database / calls * 1e6,
        rss_mib=rss,
    )


def _counted(work: Callable[[], T], postmaster: int) -> tuple[T, float, float]:
    """Return the result, and the processor time of what it started and of Postgres."""
    before, database = _cpu_waited_for(), cpu_of_tree(postmaster)
    result = work()
    return result, _cpu_waited_for() - before, cpu_of_tree(postmaster) - database


def _cpu_waited_for() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(command: Sequence[str], env: dict[str, str], seconds: float) -> str:
    done = subprocess.run(
        command,
        check=False,
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds + 30,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}"[-2000:])
    return done.stdout


def _last_line(command: Sequence[str], env: dict[str, str], seconds: float) -> dict[str, Any]:
    return json.loads(_run(command, env, seconds).splitlines()[-1])


def _wrk() -> tuple[str, dict[str, str]]:
    unpacked = _UNPACKED / "bin" / "wrk"
    if not unpacked.exists():
        found = shutil.which("wrk")
        if found is None:
            sys.exit("wrk is missing: run scripts/bench-needs.sh")
        return found, dict(os.environ)
    libraries = [str(path) for path in (_UNPACKED / "lib").glob("*-linux-gnu")]
    return str(unpacked), {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def _libpq(
    at: Address, role: str | None, settings: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    wanted = {"jit": "off", **settings, **({"role": role} if role else {})}
    options = " ".join(f"-c {k}={v.replace(' ', _SPACE)}" for k, v in wanted.items())
    env = {**environment(), "PGPASSWORD": at.password, "PGOPTIONS": options}
    return ["-h", at.directory, "-p", at.port, "-U", at.user, at.database], env
