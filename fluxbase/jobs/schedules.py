"""Submits the jobs of schedules when their time comes, each time once; it must not run any.

Postgres' clock decides. A server reads what is due and moves each schedule on from exactly the time
that it read: of several that try, one finds it unmoved, and that one submits the job.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from fluxbase.db.database import Database
    from fluxbase.db.types import Record

# A time that is this late was missed: servers look at least that often.
MISSED_AFTER: Final = timedelta(minutes=2)


def following(cron: str, time_zone: str, after: datetime) -> datetime:
    """Return the first time of a schedule behind another one.

    What a clock that is set forward leaves out runs once, when it has been; of an hour that comes
    twice only times that stand in every hour run again.

    Raises:
        InvalidArgument: the expression or the time zone is wrong, or there is no such time.
    """
    if len(cron.split()) != 5:
        raise InvalidArgument("cron: five fields are needed", hint="30 6 * * MON-FRI")
    try:
        zone = ZoneInfo(time_zone)
    except (OSError, ValueError, LookupError):
        raise InvalidArgument("time_zone: no such one", hint="Europe/Berlin, UTC") from None
    try:
        return next(CronSim(cron, after.astimezone(zone)))
    except CronSimError as error:
        raise InvalidArgument(
            f"cron: {_fault(error)}", hint="minute hour day month weekday"
        ) from None
    except StopIteration:
        raise InvalidArgument("cron: there is no such day in the next fifty years") from None


async def fire(database: Database, at: datetime | None = None) -> int:
    """Submit the jobs of all schedules that are due, and return how many this server submitted.

    Args:
        database: where they are.
        at: the time it is, instead of what Postgres says.

    Raises:
        FluxbaseError: the database is away.
    """
    fired = 0
    for row in await database.admin("due_schedules", at=at):
        fired += await _fire(database, row)
    return fired


async def _fire(database: Database, row: Record) -> int:
    late = row["now"] - row["next_at"] > MISSED_AFTER
    submitted = await database.admin(
        "fire_schedule",
        id=row["id"],
        due=row["next_at"],
        next_at=following(row["cron"], row["time_zone"], row["now"]),
        submits=row["missed"] == "once" or not late,
    )
    return len(submitted)


def _fault(error: CronSimError) -> str:
    # Its words are about the place, such as "Bad minute"; never the text itself.
    known = ("minute", "hour", "day-of-month", "month", "day-of-week")
    for part in known:
        if str(error) == f"Bad {part}":
            return f"the {part} is wrong"
    return "it is wrong"
