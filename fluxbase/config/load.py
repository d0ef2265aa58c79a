"""Reads the configuration: file, then environment, then flags; it must not act on any value."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from fluxbase.config.model import Config
from fluxbase.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

ENV_PREFIX: Final = "FLUXBASE_"
# Kubernetes describes a service called `fluxbase` to every container in these.
_INJECTED: Final = re.compile(r"^FLUXBASE_(SERVICE_HOST|SERVICE_PORT|PORT)(_\w+)?$")
# Not a configuration key: where the configuration is.
# What commands read themselves.
ENV_RESERVED: Final = frozenset({"FLUXBASE_CONFIG", "FLUXBASE_KEY"})

Tree = dict[str, Any]
Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with the file it came from (`None`: defaults only)."""

    config: Config
    file: Path | None


def load(
    file: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Loaded:
    """Return the configuration of `file`, overridden by `env`, overridden by `flags`.

    Args:
        file: the YAML file; `None` takes `FLUXBASE_CONFIG`, else `fluxbase.yaml` if it exists.
        env: the environment; `FLUXBASE_MCP_BASE_PATH` sets `mcp.base_path`, and lists are
            comma-separated.
        flags: dotted keys to values (`{"server.port": 9000}`).

    Raises:
        ConfigError: every fault found, each with file, line, key and what to do.
    """
    env = os.environ if env is None else env
    file = _find(file, env)
    tree, lines = _read(file) if file else ({}, {})
    sources: dict[Path_, str] = {}
    for key, value, source in (*_from_env(env), *_from_flags(flags or {})):
        _set(tree, key, value)
        sources[key] = source
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(error, file, lines, sources))) from None
    return Loaded(_anchored(config, file), file)


def _find(file: Path | None, env: Mapping[str, str]) -> Path | None:
    if file is None and env.get("FLUXBASE_CONFIG"):
        file = Path(env["FLUXBASE_CONFIG"])
    if file is not None:
        if not file.is_file():
            raise ConfigError(f"{file}: no such configuration file")
        return file
    default = Path("fluxbase.yaml")
    return default if default.is_file() else None


def _read(file: Path) -> tuple[Tree, dict[Path_, int]]:
    try:
        node = yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise ConfigError(f"{where}: not valid YAML: {error.problem}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise ConfigError(f"{file}: cannot be read as UTF-8 YAML") from None
    if node is None:
        return {}, {}
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{file}:1: a mapping of sections is expected")
    lines: dict[Path_, int] = {}
    _mark(node, (), lines, file)
    constructor = yaml.SafeLoader("")
    try:
        tree: Any = constructor.construct_document(node)  # pyright: ignore[reportUnknownMemberType]
        return cast("Tree", tree), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigError(f"{file}:{mark.line + 1 if mark else 1}: {error.problem}") from None
    finally:
        constructor.dispose()


def _mark(node: yaml.Node, path: Path_, lines: dict[Path_, int], file: Path) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in lines:
                raise ConfigError(
                    f"{file}:{key.start_mark.line + 1}: {_dotted(inner)} is given twice"
                )
            lines[inner] = key.start_mark.line + 1
            _mark(value, inner, lines, file)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*path, index), lines, file)


def _from_env(env: Mapping[str, str]) -> Iterable[tuple[Path_, object, str]]:
    known = {ENV_PREFIX + "_".join(p).upper(): (p, t) for p, t in leaves(Config)}
    for name in sorted(n for n in env if n.startswith(ENV_PREFIX) and n not in ENV_RESERVED):
        if name not in known and _INJECTED.match(name):
            continue
        if name not in known:
            close = get_close_matches(name, known, n=1)
            raise ConfigError(
                f"environment: {name} is not a configuration key"
                + (f"; did you mean {close[0]}?" if close else "")
            )
        path, kind = known[name]
        try:
            yield path, _from_text(env[name], kind), f"environment {name}"
        except yaml.YAMLError:
            raise ConfigError(f"environment {name}: not valid YAML") from None


def _from_text(text: str, kind: object) -> object:
    if get_origin(kind) is tuple:
        if text.lstrip().startswith("["):
            return yaml.safe_load(text)
        return [item.strip() for item in text.split(",") if item.strip()]
    if get_origin(kind) is dict:
        return yaml.safe_load(text)
    return text


def _from_flags(flags: Mapping[str, object]) -> Iterable[tuple[Path_, object, str]]:
    for key, value in flags.items():
        yield tuple(key.split(".")), value, f"flag {key}"


def _set(tree: Tree, path: Path_, value: object) -> None:
    for part in path[:-1]:
        inner = tree.get(str(part))
        if not isinstance(inner, dict):
            inner = tree[str(part)] = {}
        tree = cast("Tree", inner)
    tree[str(path[-1])] = value


def leaves(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterable[tuple[Any, Any]]:
    """Yield the path and type of every key that is not itself a section."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, (*path, name))
        else:
            yield (*path, name), kind


def _explain(
    error: ValidationError,
    file: Path | None,
    lines: Mapping[Path_, int],
    sources: Mapping[Path_, str],
) -> Iterable[str]:
    details = error.errors(include_url=False, include_input=False, include_context=False)
    for detail in details:
        # Union branches add their names to the place; the key alone is what people look for.
        place = tuple(p for p in detail["loc"] if isinstance(p, int) or p.isidentifier())
        yield f"{_where(place, file, lines, sources)}{_dotted(place)}: {_reason(detail, place)}"


def _where(
    place: Path_, file: Path | None, lines: Mapping[Path_, int], sources: Mapping[Path_, str]
) -> str:
    for end in range(len(place), -1, -1):
        if place[:end] in sources:
            return f"{sources[place[:end]]}: "
        if place[:end] in lines:
            return f"{file}:{lines[place[:end]]}: "
    return f"{file}: " if file else ""


def _reason(detail: ErrorDetails, place: Path_) -> str:
    if detail["type"] != "extra_forbidden":
        return detail["msg"].removeprefix("Value error, ")
    siblings = _keys(Config, place[:-1])
    word = str(place[-1])
    close = get_close_matches(word, siblings, n=3, cutoff=0.5)
    # Of names that are as near, letters in a wrong order are the likelier slip.
    close.sort(key=lambda name: sorted(name) != sorted(word))
    if close:
        return f"unknown key; did you mean '{close[0]}'?"
    return "unknown key; known here: " + ", ".join(siblings)


def _keys(model: type[BaseModel], path: Path_) -> list[str]:
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if _is_section(t)]
        if not inner:
            return []
        model = cast("type[BaseModel]", inner[0])
    return list(model.model_fields)


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _dotted(path: Path_) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(top level)"


def _anchored(config: Config, file: Path | None) -> Config:
    """Make relative paths relative to the configuration file rather than to the shell."""
    root = (file.parent if file else Path()).resolve()

    def anchor(model: BaseModel) -> BaseModel:
        changed: dict[str, object] = {}
        for name in type(model).model_fields:
            value = getattr(model, name)
            if isinstance(value, Path):
                changed[name] = root / value.expanduser()
            elif isinstance(value, BaseModel):
                changed[name] = anchor(value)
            elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
                changed[name] = tuple(anchor(v) for v in cast("tuple[BaseModel, ...]", value))
        return model.model_copy(update=changed)

    return TypeAdapter(Config).validate_python(anchor(config))
