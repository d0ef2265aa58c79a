"""Judges at every start what is exposed; it must not change anything."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fluxbase.errors import ConfigError
from fluxbase.schema.lints import lint

if TYPE_CHECKING:
    from fluxbase.db.database import Database
    from fluxbase.schema.lints import Finding

log = logging.getLogger(__name__)


async def judged(database: Database, *, strict: bool) -> list[Finding]:
    """Return and log what `lint` finds, once for each start of a server.

    Raises:
        ConfigError: something is unsafe, and `strict` is set.
        FluxbaseError: the database does not answer.
    """
    findings = await lint(database)
    for finding in findings:
        log.warning("%s: %s", finding.target, finding.text)
    unsafe = [finding for finding in findings if finding.unsafe]
    if strict and unsafe:
        raise ConfigError(
            f"database.strict: {len(unsafe)} unsafe exposures", hint="run `fluxbase doctor`"
        )
    return findings
