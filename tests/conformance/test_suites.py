"""The official suites pass: all of them with their fixtures, the generic part without any."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from fluxbase.app.rooms import ROOMS, toolbox
from fluxbase.app.server import Server
from fluxbase.auth.keys import NewKey
from tests.conformance import fixtures, rounds
from tests.conformance.fixtures import LEVERS
from tests.conformance.suite import Check, endpoint, run
from tests.conftest import config_for
from tests.world import TABLES, USER1

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from fluxbase.app.backend import Backend

pytestmark = pytest.mark.slow

SUITES: Final[dict[str, tuple[str, ...]]] = {
    "0.1 active": ("0.1", "--suite", "active"),
    "0.1 pending": ("0.1", "--suite", "pending"),
    "0.2 of 2025-11-25": ("0.2", "--requirements", "2025-11-25"),
    "0.2 of 2026-07-28": ("0.2", "--requirements", "2026-07-28"),
}
# The scenarios that ask for no tool, resource or prompt of the suite's own.
_BOTH: Final = {"dns-rebinding-protection", "tools-list", "resources-list", "prompts-list"}
_LEGACY: Final = _BOTH | {
    "server-initialize",
    "ping",
    "logging-set-level",
    "completion-complete",
    "resources-subscribe",
    "resources-unsubscribe",
    "server-sse-multiple-streams",
}
GENERIC: Final[dict[str, set[str]]] = {
    "0.1 active": _LEGACY,
    "0.2 of 2025-11-25": _LEGACY | {"server-session-lifecycle", "server-sse-polling"},
    "0.2 of 2026-07-28": _BOTH
    | {
        "caching",
        "completion-complete",
        "http-header-validation",
        "input-required-result-unsupported-methods",
        "sep-2164-resource-not-found",
        "server-sse-multiple-streams",
        "server-stateless",
    },
}
# What even a generic scenario only looks at through a tool of its own.
NEEDS_TOOLS: Final = frozenset(
    {
        "sep-2575-server-rejects-undeclared-capability",
        "sep-2575-missing-capability-http-400",
        "sep-2575-http-server-no-independent-requests-on-stream",
        "sep-2575-server-no-log-without-loglevel",
        "sep-2575-server-sends-prompts-list-changed-on-subscription",
        "sep-2575-server-sends-tools-list-changed-on-subscription",
    }
)
HOSTS: Final = {"allowed_hosts": ["127.0.0.1", "localhost"]}


@pytest.fixture(scope="module")
async def key(backend: Backend) -> AsyncGenerator[str]:
    """An ordinary client key of nobody else's: the suites leave sessions behind, as tests do."""
    new = NewKey("suite", (*TABLES, "read:schema"), user_id=USER1)
    issued = await backend.keys.create("client_key", new)
    yield issued.key
    await backend.keys.delete("client_key", issued.id)


@pytest.fixture(scope="module")
async def test_build(backend: Backend, home: Path, key: str) -> AsyncGenerator[str]:
    """A server with everything that the suites look for."""

    def config(tools: tuple[str, ...] = (), prompts: tuple[str, ...] = ()) -> Any:
        lists = {"allowed_tools": tools, "allowed_prompts": prompts}
        return config_for(home, mcp=lists, server=HOSTS)

    other = replace(backend, config=config(), postgres=None)
    rooms = (*ROOMS, fixtures, rounds)
    server, box = Server(other, rooms=rooms), toolbox(config(), rooms)
    without: dict[str, tuple[str, ...]] = {
        "tools": tuple(sorted(box.tools.keys() - {"test_comes_and_goes"})),
        "prompts": tuple(sorted(box.prompts.keys() - {"test_prompt_comes_and_goes"})),
    }
    hidden: dict[str, bool] = {"tools": False, "prompts": False}

    def lever(name: str) -> Any:
        def pull() -> None:
            hidden[name] = not hidden[name]
            kept = {n: words if hidden[n] else () for n, words in without.items()}
            server.prepare(config(kept["tools"], kept["prompts"]))()

        return pull

    LEVERS.tools, LEVERS.prompts = lever("tools"), lever("prompts")
    async with server.running(), endpoint(server, key) as url:
        yield url


@pytest.mark.parametrize("suite", SUITES)
async def test_every_required_scenario_passes(test_build: str, tmp_path: Path, suite: str) -> None:
    number, *words = SUITES[suite]
    checks = await run(number, test_build, tmp_path, *words)
    # The suite itself does not score the extension for tasks, which this server does not declare.
    failed = [c for c in checks if not c.passed and not c.scenario.startswith("tasks-")]
    assert not failed, shown(failed)
    assert len({check.scenario for check in checks}) >= (2 if suite == "0.1 pending" else 29)


@pytest.mark.parametrize("suite", GENERIC)
async def test_the_product_passes_all_that_needs_no_fixtures(
    backend: Backend,
    home: Path,
    key: str,
    tmp_path: Path,
    suite: str,
) -> None:
    number, *words = SUITES[suite]
    other = replace(backend, config=config_for(home, server=HOSTS), postgres=None)
    server = Server(other)
    async with server.running(), endpoint(server, key) as url:
        checks = await run(number, url, tmp_path, *words)
    generic = [c for c in checks if c.scenario in GENERIC[suite] and c.name not in NEEDS_TOOLS]
    assert {check.scenario for check in generic} == GENERIC[suite]
    failed = [check for check in generic if not check.passed]
    assert not failed, shown(failed)


def shown(checks: list[Check]) -> str:
    return "\n".join(str(check) for check in checks)
