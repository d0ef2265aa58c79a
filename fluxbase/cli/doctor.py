"""`fluxbase doctor`: what is wrong or unsafe, and what mends it; it changes nothing of yours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from fluxbase.app.backend import open_backend
from fluxbase.app.capacity import capacity
from fluxbase.app.rooms import toolbox
from fluxbase.cli.allowlists import check_config, every_tool
from fluxbase.cli.output import cell, output_option, show_rows, table
from fluxbase.cli.settings import common_options, current, run_quietly
from fluxbase.cli.turn import turn
from fluxbase.db.prepare import MIN_VERSION
from fluxbase.errors import FluxbaseError
from fluxbase.functions.sandbox import NoSandbox
from fluxbase.schema.lints import Finding, lint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbase.app.backend import Backend
    from fluxbase.config import Config, Loaded

OK: Final = "ok"
NOTE: Final = "note"
UNSAFE: Final = "unsafe"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing looked at: its name, how it is, in words, and what mends it."""

    check: str
    status: str
    detail: str
    fix: str | None = None


@click.command(epilog="Exit codes: 0 all is well, 1 something is unsafe or broken, 2 config wrong.")
@common_options
@output_option
@click.option("--strict", is_flag=True, help="Exit with 1 for harmless notes too.")
def doctor(style: str, strict: bool) -> None:
    """Look at the configuration and the database, and say what is unsafe and how to mend it.

    \b
    Example:
      fluxbase doctor --strict -o json
    """
    loaded = current().load()
    check_config(loaded, toolbox(every_tool(loaded.config)))
    lines = [_of_config(loaded), *run_quietly(_examine(loaded.config))]
    if style == "table":
        _show(lines)
    else:
        show_rows([asdict(line) for line in lines], {}, style)
    tolerated = {OK} if strict else {OK, NOTE}
    if any(line.status not in tolerated for line in lines):
        raise click.exceptions.Exit(1)


async def _examine(config: Config) -> list[Line]:
    # A database of somebody else's is not migrated by a mere look at it.
    migrate = config.database.url is None and config.migrations.at_start
    try:
        async with turn(config), open_backend(config, migrate=migrate) as backend:
            facts = [*await _facts(backend), *await _connections(backend)]
            functions = await _functions(backend)
            return [*facts, *functions, *_findings(await lint(backend.database))]
    except FluxbaseError as error:
        return [Line("database", FAILED, error.message, error.hint)]


def _of_config(loaded: Loaded) -> Line:
    return Line("configuration", OK, str(loaded.file) if loaded.file else "defaults, no file")


async def _facts(backend: Backend) -> Iterable[Line]:
    facts = (await backend.database.admin("doctor_facts"))[0]
    return [
        Line("database", OK, f"PostgreSQL {facts['version']}")
        if facts["version_number"] >= MIN_VERSION
        else Line(
            "database", FAILED, f"PostgreSQL {facts['version']} is too old", "use 15 or later"
        ),
        Line("extension vector", OK, facts["vector"])
        if facts["vector"]
        else Line("extension vector", FAILED, "not installed", "CREATE EXTENSION vector;"),
        Line("roles", FAILED, f"missing: {cell(facts['missing_roles'])}", "fluxbase migrate up")
        if facts["missing_roles"]
        else Line("roles", OK, "all there"),
        Line("event trigger", OK, "schema changes are announced")
        if backend.announced
        else Line(
            "event trigger",
            NOTE,
            "absent, since only a superuser may make it: servers look for changes every second",
            "run sql/event_trigger.sql once as a superuser",
        ),
    ]


async def _connections(backend: Backend) -> Iterable[Line]:
    found = await capacity(backend.config, backend.database)
    if found is None:
        return []
    if found.fits:
        return [Line("connections", OK, found.text)]
    return [Line("connections", NOTE, found.text, found.fix)]


async def _functions(backend: Backend) -> list[Line]:
    if not backend.config.functions.enabled:
        return []
    try:
        found = await backend.functions.pool.sandbox()
    except NoSandbox as error:
        return [Line("functions", NOTE, error.message, error.hint)]
    if found.bubblewrap is not None:
        return [Line("functions", OK, "Deno without a permission, inside bubblewrap")]
    return [
        Line(
            "functions",
            UNSAFE,
            "functions.sandbox: deno, so Deno's permissions are all that holds code: whoever may "
            "deploy a function can read files of the server by importing them, and a fault in Deno "
            "opens the machine",
            "install bubblewrap and set functions.sandbox: bubblewrap",
        )
    ]


def _findings(findings: list[Finding]) -> Iterable[Line]:
    if not findings:
        return [Line("exposure", OK, "nothing unsafe is exposed")]
    return [
        Line(finding.lint, UNSAFE if finding.unsafe else NOTE, _words(finding), finding.fix)
        for finding in findings
    ]


def _words(finding: Finding) -> str:
    return f"{finding.target}: {finding.text}"


def _show(lines: list[Line]) -> None:
    shown = table([[line.status, line.check, cell(line.detail)] for line in lines])
    for text, line in zip(shown.splitlines(), lines, strict=True):
        click.echo(text)
        if line.fix:
            click.echo(f"        fix: {cell(line.fix)}")
