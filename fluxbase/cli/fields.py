"""The options that say what a key shall be, and how their words are read; it makes no keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from fluxbase.cli.allowlists import check_option
from fluxbase.config import duration
from fluxbase.errors import InvalidArgument
from fluxbase.principal import SCOPES, parse_scopes

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    from fluxbase.auth.token import KeyKind

if TYPE_CHECKING:
    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

DEFAULT_EXPIRY: Final = "90d"
_NEVER: Final = "never"
_MAX_CLAIMS: Final = 8192
_EMPTY: Final = ("", "none")


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        try:
            return duration.seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Count(click.ParamType[Any]):
    """A number of at least 1, or `none` for no number of the key's own."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or an empty text for `none`."""
        if value in _EMPTY:
            return ""
        try:
            number = int(value)
        except ValueError:
            number = 0
        if not 1 <= number < 2**31:
            self.fail("a number of at least 1, or 'none', is expected", param, ctx)
        return number


DURATION: Final = _Duration()
_COUNT: Final = _Count()


def _complete_scopes(
    _ctx: click.Context, _param: click.Parameter, incomplete: str
) -> list[str | CompletionItem]:
    done, comma, last = incomplete.rpartition(",")
    return [done + comma + scope for scope in (*SCOPES, "*") if scope.startswith(last)]


def options(kind: KeyKind, *, new: bool) -> Decorator:
    """Add the options of `create` (`new`) or `update`."""
    client = kind == "client_key"
    scopes_default = "" if client else "  [default: *]"
    wanted: list[Decorator] = [
        click.option("--name", required=new, help="Name for people, 1 to 200 characters."),
        click.option(
            "--scopes",
            required=new and client,
            shell_complete=_complete_scopes,
            help=f"What it may do, comma-separated: {', '.join(SCOPES)}, or *.{scopes_default}",
        ),
        click.option(
            "--expires",
            default=DEFAULT_EXPIRY if new else None,
            show_default=new,
            help="Duration from now (30d, 12h), a time (2027-01-31T12:00:00Z), or never.",
        ),
        click.option("--rate-limit", type=_COUNT, help="Requests a minute; none: the server's."),
        *(_of_clients() if client else ()),
        click.option("--claims", help="JSON object for auth.jwt(), or @FILE."),
        click.option("--app-id", help="Application it belongs to."),
        click.option("--read-only/--no-read-only", default=None, help="Refuse every write."),
        click.option(
            "--max-rows", type=_COUNT, help="Most rows of one answer; none: the server's."
        ),
        *_lists(),
    ]

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(wanted):
            command = option(command)
        return command

    return add


def _of_clients() -> tuple[Decorator, ...]:
    return (
        click.option("--user-id", help="UUID that auth.uid() returns for the key."),
        click.option("--role", help="Postgres role whose rights it has.  [default: authenticated]"),
        click.option(
            "--untrusted-data",
            type=click.Choice(["wrap", "plain", "none"]),
            help="How answers show rows: between tags, or bare; none: the server's.",
        ),
        click.option(
            "--confirm",
            type=click.Choice(["destructive", "nothing", "none"]),
            help="Before which calls a person is asked, if the client can; none: the server's.",
        ),
    )


def _lists() -> tuple[Decorator, ...]:
    return (
        click.option("--allow-tools", help="Tools it may see: names or globs, comma-separated."),
        click.option("--allow-resources", help="Resources it may see: URIs or globs."),
        click.option("--allow-schemas", help="Schemas it may reach: names or globs."),
        click.option("--allow-tables", help="Tables it may reach: table, schema.table or globs."),
        click.option(
            "--allow-cidrs", help="Networks it may come from: 192.0.2.0/24,2001:db8::/32."
        ),
    )


def read(given: dict[str, Any], *, new: bool) -> dict[str, Any]:
    """Return the fields of a key for the options that were given.

    Raises:
        InvalidArgument: a value cannot be read, or names something that does not exist.
    """
    found: dict[str, Any] = {}
    for option, value in given.items():
        if value is not None:
            field, convert = _FIELDS[option]
            found[field] = convert(value)
    if not new and found.get("scopes") == ():
        raise InvalidArgument("--scopes: at least one is needed")
    if "allowed_tools" in found or "allowed_resources" in found:
        _check_lists(found)
    return found


def _check_lists(found: dict[str, Any]) -> None:
    # Here, because the rooms take a while to load and most keys have no such list.
    from fluxbase.app.rooms import toolbox  # noqa: PLC0415
    from fluxbase.config import Config  # noqa: PLC0415

    box = toolbox(Config())
    check_option("--allow-tools", found.get("allowed_tools", ()), box.tools)
    check_option("--allow-resources", found.get("allowed_resources", ()), box.resources)


def expiry(text: str) -> datetime | None:
    """Return the time that `30d`, an RFC 3339 time or `never` (`None`) means.

    Raises:
        InvalidArgument: it is neither.
    """
    if text == _NEVER:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return _from_now(text)
    if when.tzinfo is None:
        raise InvalidArgument(
            "--expires: the time has no zone", hint="end it with Z or +02:00, as in RFC 3339"
        )
    return when.astimezone(UTC)


def _from_now(text: str) -> datetime:
    try:
        # A bare number is seconds elsewhere, but here most likely meant as days: a unit is needed.
        seconds = duration.seconds("" if text.isdigit() else text)
        return datetime.now(UTC) + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            "--expires: a duration such as 30d, a time such as 2027-01-31T12:00:00Z, or never is "
            "expected"
        ) from None


def claims(text: str) -> dict[str, Any]:
    """Return the claims of a JSON object, or of the file after `@`.

    Raises:
        InvalidArgument: it is not a JSON object, too long, or the file cannot be read.
    """
    content = _content(text)
    if len(content) > _MAX_CLAIMS:
        raise InvalidArgument(f"--claims: at most {_MAX_CLAIMS} characters fit")
    try:
        found: object = json.loads(content or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidArgument("--claims: a JSON object is expected", hint="""'{"org": 7}'""")
    return cast("dict[str, Any]", found)


def _content(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidArgument("--claims: the file cannot be read") from None


def _items(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())


def _or_none(value: Any) -> Any:
    return None if value in _EMPTY else value


def _same(value: Any) -> Any:
    return value


# Option to field of the key, and how its words become a value.
_FIELDS: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "name": ("name", _same),
    "scopes": ("scopes", parse_scopes),
    "expires": ("expires_at", expiry),
    "rate_limit": ("rate_limit", _or_none),
    "untrusted_data": ("untrusted_data", _or_none),
    "confirm": ("confirm", _or_none),
    "user_id": ("user_id", _or_none),
    "role": ("role", _or_none),
    "claims": ("claims", claims),
    "app_id": ("app_id", _or_none),
    "read_only": ("read_only", _same),
    "max_rows": ("max_rows", _or_none),
    "allow_tools": ("allowed_tools", _items),
    "allow_resources": ("allowed_resources", _items),
    "allow_schemas": ("allowed_schemas", _items),
    "allow_tables": ("allowed_tables", _items),
    "allow_cidrs": ("allowed_cidrs", _items),
}
