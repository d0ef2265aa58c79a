"""Every room, and what each has for its calls; it must not know how they are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbase.egress.embed import Embedder
from fluxbase.functions import admin_tools as function_admin_tools
from fluxbase.functions import invoke, registry, secret_tools
from fluxbase.functions import resources as function_resources
from fluxbase.functions import tools as function_tools
from fluxbase.functions.handler import FunctionHandler
from fluxbase.functions.secrets import Secrets
from fluxbase.functions.service import Functions
from fluxbase.http.files.entry import Rooms
from fluxbase.http.files.routes import file_routes
from fluxbase.http.functions import FunctionsEndpoint, Made, Sent
from fluxbase.jobs import admin_tools as job_admin_tools
from fluxbase.jobs import resources as job_resources
from fluxbase.jobs import tools as job_tools
from fluxbase.jobs.ledger import JobRules
from fluxbase.jobs.news import News
from fluxbase.jobs.python import PythonHandlers
from fluxbase.rpc import execution_tools
from fluxbase.rpc import resources as rpc_resources
from fluxbase.rpc import tools as rpc_tools
from fluxbase.rpc.answers import Answers
from fluxbase.rpc.handler import RpcHandler
from fluxbase.rpc.running import Executions
from fluxbase.schema import admin_tools, alter_tools, ddl_tools
from fluxbase.schema import prompts as schema_prompts
from fluxbase.schema import resources as schema_resources
from fluxbase.schema import tools as schema_tools
from fluxbase.sql import tools as sql_tools
from fluxbase.sql.tools import SqlRules
from fluxbase.storage import bucket_tools
from fluxbase.storage import resources as storage_resources
from fluxbase.storage import tools as storage_tools
from fluxbase.storage.service import Storage, storage
from fluxbase.tables import resources as tables_resources
from fluxbase.tables import tools as tables_tools
from fluxbase.tables import vector_tools
from fluxbase.toolkit.handlers import Handlers
from fluxbase.toolkit.toolbox import Toolbox
from fluxbase.vectors import tools as collection_tools
from fluxbase.vectors.purse import DayPurse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from starlette.routing import Route

    from fluxbase.app.backend import Backend
    from fluxbase.config import Config
    from fluxbase.db.database import Database
    from fluxbase.http.gate import Gate
    from fluxbase.observe import Observer
    from fluxbase.toolkit import Context
    from fluxbase.toolkit.runner import Runner

_REST: Final = 1.0  # seconds of a request's time that are not waited for a job
ROOMS: Final = (
    tables_tools,
    tables_resources,
    vector_tools,
    collection_tools,
    rpc_tools,
    execution_tools,
    rpc_resources,
    function_tools,
    function_admin_tools,
    secret_tools,
    function_resources,
    job_tools,
    job_admin_tools,
    job_resources,
    storage_tools,
    bucket_tools,
    storage_resources,
    sql_tools,
    schema_tools,
    admin_tools,
    ddl_tools,
    alter_tools,
    schema_resources,
    schema_prompts,
)


def toolbox(config: Config, rooms: tuple[ModuleType, ...] = ROOMS) -> Toolbox:
    """Return every tool and resource under the configuration's allowlists.

    Raises:
        ConfigError: an allowlist names something that does not exist.
    """
    closed: list[ModuleType] = []
    if not config.storage.enabled:
        closed += [storage_tools, bucket_tools, storage_resources]
    if not config.sql.enabled:
        closed.append(sql_tools)
    if not config.functions.enabled:
        closed += [function_tools, function_admin_tools, secret_tools, function_resources]
    if not config.jobs.enabled:
        closed += [job_tools, job_admin_tools, job_resources]
    return Toolbox(
        [room for room in rooms if room not in closed],
        allowed_tools=config.mcp.allowed_tools,
        allowed_resources=config.mcp.allowed_resources,
        allowed_prompts=config.mcp.allowed_prompts,
    )


def services(
    config: Config,
    backend: Backend,
    executions: Executions | None = None,
    news: News | None = None,
) -> Mapping[type, object]:
    """Return what the rooms have for all their calls, by its type.

    Args:
        config: what holds for them.
        backend: what they work on.
        executions: of procedures in the background, in a server.
        news: of jobs, in a server, which hears of them and runs them.

    Raises:
        ConfigError: a server cannot import a function that handles jobs.
    """
    key = backend.peppers.derive("signed url")
    python = PythonHandlers(config.jobs.handlers, config.jobs.handlers_dir)
    if news is not None:  # a command need not be able to run what jobs run
        python.load()
    return {
        Storage: storage(config, backend.database, backend.store, key),
        SqlRules: SqlRules(config.sql.max_cost),
        Functions: backend.functions,
        Secrets: backend.secrets,
        Embedder: embedder(config, backend.database),
        Answers: Answers(config.rpc.cache_bytes),
        Executions: executions or Executions(backend.database, config),
        JobRules: _job_rules(config, news or News()),
        Handlers: Handlers({"rpc": RpcHandler(), "function": FunctionHandler(), "python": python}),
    }


def _job_rules(config: Config, news: News) -> JobRules:
    # An answer has to leave before the request's own time is over.
    longest = max(config.server.request_timeout - _REST, 0.0)
    return JobRules(config.jobs.max_pending_per_key, config.jobs.max_payload, longest, news)


def embedder(config: Config, database: Database) -> Embedder:
    """Return the model of a configuration."""
    embeddings = config.vectors.embeddings
    most = embeddings.max_tokens_per_day
    purse = None if most is None else DayPurse(database, most)
    return Embedder(embeddings, purse, database.works.embed_by)


def open_functions(
    config: Config, gate: Gate, runner: Runner, observer: Observer, backend: Backend
) -> list[Route]:
    """Return the routes by which functions are invoked over plain HTTP."""
    if not config.functions.enabled:
        return []
    room = backend.functions

    async def run(ctx: Context, sent: Sent) -> Made:
        function = await registry.find(ctx, room.registry, sent.namespace, sent.name)
        asked = invoke.Asked(sent.method, sent.url, sent.headers, sent.body)
        done = await invoke.invoke(ctx, room, function, asked)
        return Made(done.status, done.headers, done.body, done.execution)

    endpoint = FunctionsEndpoint(gate, runner, observer, run, room.config.max_request)
    return endpoint.routes(config.server.api_path)


def open_files(
    config: Config,
    gate: Gate,
    runner: Runner,
    observer: Observer,
    rooms: Mapping[type, object],
) -> list[Route]:
    """Return the routes by which files come and go."""
    room = rooms[Storage]
    if not config.storage.enabled or not isinstance(room, Storage):
        return []
    doors = Rooms(gate, runner, observer, room)
    return file_routes(doors, config.server.api_path, config.storage.max_file_size)
