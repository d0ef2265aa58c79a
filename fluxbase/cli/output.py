"""Renders answers as a plain table, JSON or YAML; it must not know what they mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click
import orjson
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

F = TypeVar("F", bound="Callable[..., Any]")

STYLES: Final = ("table", "json", "yaml")
_LABELS: Final = {"base_role": "role", "expires_at": "expires", "last_used_at": "last used"}


def output_option(command: F) -> F:
    """Add `-o table|json|yaml`, passed as `style`."""
    return click.option(
        "--output",
        "-o",
        "style",
        type=click.Choice(STYLES),
        default="table",
        show_default=True,
        help="Form of the answer.",
    )(command)


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], style: str) -> None:
    """Print rows; a table shows only `columns` (key to heading), other forms show all keys."""
    if style == "table":
        lines = [[cell(row[key], key) for key in columns] for row in rows]
        click.echo(table([list(columns.values()), *lines]))
    else:
        show_data([dict(row) for row in rows], style)


def show_one(row: Mapping[str, Any], style: str) -> None:
    """Print one record; a table has a line for each of its keys."""
    if style == "table":
        click.echo(table([[_label(key), cell(value, key)] for key, value in row.items()]))
    else:
        show_data(dict(row), style)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return lines with their columns aligned."""
    if not lines:
        return ""
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    padded = (
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def cell(value: object, key: str = "") -> str:
    """Return a value as a cell: short, on one line, without control characters."""
    if value is None or value == "":
        return "never" if key in ("expires_at", "last_used_at") else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, list | tuple):
        return ",".join(cell(item) for item in cast("list[object]", value)) or "-"
    if isinstance(value, dict):
        return orjson.dumps(value).decode() if value else "-"
    # A name must not be able to move the cursor of who lists it.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def plain(text: str) -> str:
    """Return a line of somebody's text without what moves the cursor of whoever reads it."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _label(key: str) -> str:
    return _LABELS.get(key, key.replace("_", " "))


def show_data(data: object, style: str) -> None:
    """Print data as JSON or YAML."""
    text = orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z)
    if style == "json":
        click.echo(text.decode())
    else:
        plain: object = orjson.loads(text)
        click.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip())
