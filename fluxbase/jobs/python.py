"""Handlers that are Python functions of modules which the configuration names; knows no queue."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import sys
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from fluxbase.errors import ConfigError, FluxbaseError, HandlerFailed, InvalidArgument, Unavailable
from fluxbase.jobs.job import Job, SyncJob
from fluxbase.strict_json import dumps
from fluxbase.toolkit.json_text import JsonValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fluxbase.toolkit import Context
    from fluxbase.toolkit.handlers import Task

log = logging.getLogger(__name__)


class _Loaded(NamedTuple):
    function: Callable[[Any], Any]
    is_async: bool


class PythonHandlers:
    """The functions by their names; `fluxbase.toolkit.handlers.Handler`."""

    def __init__(self, functions: Mapping[str, str], folder: Path | None = None) -> None:
        self._names = functions
        self._folder = folder
        self._loaded: dict[str, _Loaded] = {}

    def load(self) -> None:
        """Import every function.

        Raises:
            ConfigError: one cannot be imported; the message names it.
        """
        if self._names and self._folder is not None:
            folder = str(self._folder.resolve())
            if folder not in sys.path:
                sys.path.insert(0, folder)
        for name in self._names:
            self._function(name)

    async def check(self, ctx: Context, target: str) -> None:
        """See that the configuration has a function of this name.

        Raises:
            InvalidArgument: it has none.
        """
        del ctx
        if target not in self._names:
            known = ", ".join(self._names) or "none"
            raise InvalidArgument(f"handler: jobs.handlers has no such function; known: {known}")

    async def run(self, ctx: Context, target: str, payload: Any, task: Task) -> JsonValue:
        """Call the function, in a thread when it is a plain one.

        Raises:
            FluxbaseError: it raised one, or something else, of which only the kind is told.
        """
        if target not in self._names:  # the configuration of another server may have it
            raise Unavailable("jobs.handlers of the server that ran it has no such function")
        function, is_async = self._function(target)
        job = Job(ctx, payload, task)
        try:
            result = await (function(job) if is_async else _in_a_thread(function, job))
        except FluxbaseError:
            raise
        except Exception as error:
            log.exception("the handler %s of the job %s failed", target, task.id)
            raise HandlerFailed(
                f"the handler raised {type(error).__name__}", hint="the server's log tells more"
            ) from error
        finally:
            job.over = True
        try:
            return JsonValue(dumps(result).decode())
        except (TypeError, ValueError, RecursionError):
            raise HandlerFailed("the handler returned something that is not JSON") from None

    def _function(self, name: str) -> _Loaded:
        if name not in self._loaded:
            function = _imported(name, self._names[name])
            self._loaded[name] = _Loaded(function, inspect.iscoroutinefunction(function))
        return self._loaded[name]


async def _in_a_thread(function: Callable[[Any], Any], job: Job) -> Any:
    """Return what a function gives that blocks, in a thread that no server waits for when it ends.

    Not in the loop's own threads: those are few, and files are read by them.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(result)
        else:
            ended.set_exception(error)

    def work() -> None:
        result: Any = None
        fault: BaseException | None = None
        try:
            result = function(SyncJob(job, loop))
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            fault = error
        with suppress(RuntimeError):  # the server is gone, and with it who asked
            loop.call_soon_threadsafe(settle, result, fault)

    Thread(target=work, name=f"job {job.id}", daemon=True).start()
    return await ended


def _imported(name: str, path: str) -> Callable[[Any], Any]:
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # whatever a module does when it is imported
        log.debug("the module of a handler cannot be imported", exc_info=error)
        raise ConfigError(
            f"jobs.handlers.{name}: the module {module} cannot be imported "
            f"({type(error).__name__})",
            hint="install it, or name its folder by jobs.handlers_dir",
        ) from error
    if not callable(found):
        raise ConfigError(f"jobs.handlers.{name}: {module} has no function {attribute}")
    return found
