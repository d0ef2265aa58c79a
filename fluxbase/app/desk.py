"""Does work of rooms for an administrator at this machine, recorded like any other call.

It must not know what is asked.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fluxbase.app.rooms import services, toolbox
from fluxbase.db.audit_log import AuditLog
from fluxbase.principal import ALL_SCOPES, Principal
from fluxbase.rpc.running import Executions
from fluxbase.toolkit.request import Request
from fluxbase.toolkit.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fluxbase.app.backend import Backend
    from fluxbase.toolkit import Context

T = TypeVar("T")

# Whoever can start Postgres, or has its owner's address, may do all of this anyway.
ADMINISTRATOR: Final = Principal(
    kind="service_key",
    id="cli",
    name="command line",
    role="service_role",
    claims='{"role":"service_role"}',
    scopes=frozenset({ALL_SCOPES}),
)


async def at_desk(
    backend: Backend,
    action: str,
    arguments: Mapping[str, Any],
    work: Callable[[Context], Awaitable[T]],
) -> T:
    """Return what some work gives that is done as an administrator; raises what it does."""
    config = backend.config
    audit = AuditLog(
        backend.database,
        key=backend.peppers.derive("audit"),
        reads=config.audit.reads,
        retention=config.audit.retention,
        undo_retention=config.audit.undo_retention,
        on_lost=lambda: None,
    )
    executions = Executions(backend.database, config)
    box, rooms = toolbox(config), services(config, backend, executions)
    runner = Runner(box, backend.database, audit, services=rooms)
    request = Request(ADMINISTRATOR, f"cli-{secrets.token_hex(4)}", None)
    try:
        return await runner.run(request, action, arguments, work)
    finally:
        await executions.close()
        await audit.flush()
