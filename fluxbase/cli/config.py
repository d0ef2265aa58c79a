"""`fluxbase config`: checks the configuration and shows what holds; it must not change it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import yaml
from pydantic import BaseModel, SecretStr

from fluxbase.app.rooms import toolbox
from fluxbase.cli.allowlists import check_config, every_tool
from fluxbase.cli.output import output_option, show_data, show_rows
from fluxbase.cli.settings import common_options, current
from fluxbase.config import ENV_PREFIX, Config, duration
from fluxbase.config.load import leaves
from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluxbase.config import Loaded


@click.group()
@common_options
def config() -> None:
    """Check the configuration, or show what holds.

    \b
    Example:
      fluxbase config check
    """


@config.command()
@common_options
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> None:
    """Say whether a configuration is right, and if not, where: file, line and key.

    \b
    Example:
      fluxbase config check fluxbase.yaml
    """
    if file is not None:
        current().file = file
    loaded = current().load()
    check_config(loaded, toolbox(every_tool(loaded.config)))
    click.echo(f"{loaded.file or 'defaults (no file)'}: ok")


@config.command()
@common_options
@output_option
def show(style: str) -> None:
    """Show every value that holds, with secrets as ***, and where it comes from.

    The source is shown in the table only; -o yaml prints a file to start from.

    \b
    Example:
      fluxbase config show -o yaml
    """
    loaded = current().load()
    if style == "table":
        columns = {"key": "key", "value": "value", "source": "from"}
        show_rows(list(_rows(loaded)), columns, style)
    else:
        show_data(plain(loaded.config), style)


def _rows(loaded: Loaded) -> Iterable[dict[str, Any]]:
    given = _tree(loaded.file)
    values = plain(loaded.config)
    for path, _ in leaves(Config):
        name = ENV_PREFIX + "_".join(path).upper()
        shown = values
        for part in path:
            shown = shown[part]
        if name in os.environ:
            source = f"${name}"
        else:
            source = str(loaded.file) if _holds(given, path) else "default"
        if isinstance(shown, bool):
            shown = str(shown).lower()
        yield {"key": ".".join(path), "value": shown, "source": source}


def _tree(file: Path | None) -> object:
    try:
        return yaml.safe_load(file.read_text("utf-8")) if file else {}
    except (OSError, yaml.YAMLError):
        raise ConfigError(f"{file}: cannot be read any more") from None


def _holds(tree: object, path: Iterable[str]) -> bool:
    for part in path:
        if not isinstance(tree, dict) or part not in tree:
            return False
        tree = cast("dict[str, object]", tree)[part]
    return True


def plain(value: object) -> Any:
    """Return a value of the configuration as a file would hold it, with `***` for secrets."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {name: _field(getattr(value, name), fields[name].default) for name in fields}
    if isinstance(value, tuple):
        return [plain(item) for item in cast("tuple[object, ...]", value)]
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return {name: plain(entry) for name, entry in entries.items()}
    return _scalar(value)


def _field(value: object, default: object) -> Any:
    # A default stands in the documentation; only what was put in its place is a secret.
    if isinstance(value, SecretStr) and value == default:
        return value.get_secret_value()
    return plain(value)


def _scalar(value: object) -> Any:
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, float):  # every number with a fraction here is a duration
        return duration.text(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)
