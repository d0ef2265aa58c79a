"""Owns or shares a Postgres until told to stop: the process which tests kill.

`python driver.py DATA_DIR [uvloop]`; prints one JSON object per line: what it is told, then the
endpoint, then (after SIGTERM) that it stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from fluxbase.embedded import EmbeddedPostgres, Endpoint


def say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def show(endpoint: Endpoint) -> None:
    say(
        event="ready",
        socket_dir=endpoint.socket_dir,
        port=endpoint.port,
        password=endpoint.password,
        owned=endpoint.owned,
        loop=type(asyncio.get_running_loop()).__module__,
        pid=os.getpid(),
    )


async def main(data_dir: str) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    postgres = EmbeddedPostgres(
        Path(data_dir), notify=lambda sentence: say(event="notice", text=sentence)
    )
    show(await postgres.start())
    watch = asyncio.create_task(postgres.supervise())
    await told.wait()
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    await postgres.stop()
    say(event="stopped")


if __name__ == "__main__":
    if sys.argv[2:] == ["uvloop"]:
        import uvloop

        uvloop.run(main(sys.argv[1]))
    else:
        asyncio.run(main(sys.argv[1]))
