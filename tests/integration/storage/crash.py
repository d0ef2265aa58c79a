"""A program that keeps, replaces or deletes an object and kills itself on the way.

Arguments: the home of the test, a key, the deed (`put` or `delete`), and the step to die at.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluxbase.app.backend import open_backend
from fluxbase.app.rooms import services, toolbox
from fluxbase.auth.authenticate import Authenticator
from fluxbase.auth.credential import Credential
from fluxbase.db import session
from fluxbase.db.audit_log import AuditLog
from fluxbase.db.database import Database
from fluxbase.storage.local import LocalStore
from fluxbase.storage.service import Storage
from fluxbase.toolkit.request import Request
from fluxbase.toolkit.runner import Runner
from tests.conftest import config_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SIZE = 3 * 1024 * 1024
STEPS = {
    "put": (
        "before add_blob",
        "after add_blob",
        "in the source",
        "before fsync",
        "after fsync",
        "before link",
        "after link",
        "before seal_blob",
        "after seal_blob",
        "before commit",
        "after commit",
    ),
    "delete": ("before commit", "after commit"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(step: str, when: str, what: str, real: Any) -> Any:
    """Return a function that dies before or after it does what it should, at its step."""

    @wraps(real)
    def call(*arguments: Any, **named: Any) -> Any:
        if step == f"before {what}" and when == "now":
            die()
        done = real(*arguments, **named)
        if step == f"after {what}" and when == "now":
            die()
        return done

    return call


async def source(step: str) -> AsyncGenerator[bytes]:
    for n in range(SIZE // 65_536):
        if step == "in the source" and n == 30:
            die()
        yield bytes([n]) * 65_536


def arm(step: str) -> None:
    os.fsync = dying(step, "now", "fsync", os.fsync)
    os.link = dying(step, "now", "link", os.link)
    admin = Database.admin

    async def asked(self: Database, name: str, /, **arguments: object) -> Any:
        if step == f"before {name}":
            die()
        found = await admin(self, name, **arguments)
        if step == f"after {name}":
            die()
        return found

    Database.admin = asked
    commit: Any = getattr(session, "_commit")  # noqa: B009 - the very step to die at

    async def committed(*arguments: Any) -> None:
        if step == "before commit":
            die()
        await commit(*arguments)
        if step == "after commit":
            die()

    setattr(session, "_commit", committed)  # noqa: B010


async def main(home: Path, key: str, deed: str, step: str) -> None:
    config = config_for(home)
    async with open_backend(config, notify=lambda _: None) as backend:
        auth = Authenticator(
            backend.database, backend.peppers, live=5, jwt=config.auth.jwt, verifier=None
        )
        who = await auth.authenticate(Credential("x-client-key", key), None)
        audit = AuditLog(
            backend.database,
            key=b"k",
            reads=False,
            retention=1,
            undo_retention=1,
            on_lost=lambda: None,
        )
        rooms = services(config, backend)
        runner = Runner(toolbox(config), backend.database, audit, services=rooms)
        room = rooms[Storage]
        assert isinstance(room, Storage)
        assert isinstance(backend.store, LocalStore)

        async def work(ctx: Any) -> None:
            if deed == "put":
                await room.objects.put(ctx, "files", "crash", source(step))
            else:
                await room.objects.delete(ctx, "files", "crash")

        arm(step)
        await runner.run(Request(who, "crash", None), "crash", {}, work)
        sys.stdout.write("done\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:5]))
