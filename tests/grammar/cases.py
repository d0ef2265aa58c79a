"""The cases: what is asked, and what PostgREST answered when it was last recorded.

A file of `cases/` or `refusals/` is a mapping of names to requests, or to objects that say more.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import yaml

HERE: Final = Path(__file__).resolve().parent
RECORDED: Final = HERE / "recorded"
TENANTS: Final = ("user1", "user2")


@dataclass(frozen=True, slots=True)
class Case:
    """One request, and how its answer is to be read."""

    name: str
    ask: str
    unordered: bool = False  # its order leaves ties
    count: bool = False
    only: str | None = None  # why PostgREST's version of the tests cannot answer it
    rows: dict[str, Any] = field(default_factory=dict[str, Any])  # then written by hand
    says: str | None = None  # of a refusal: what the message must contain, a regular expression

    @property
    def group(self) -> str:
        """The file it stands in."""
        return self.name.partition(": ")[0]

    @property
    def limited(self) -> bool:
        """Whether it asks for a part of the rows only."""
        return "limit" in dict(parameters(self.ask))


@dataclass(frozen=True, slots=True)
class Difference:
    """Where Fluxbase answers other than PostgREST on purpose, and why."""

    name: str
    postgrest: str
    fluxbase: str
    reason: str
    # The cases it concerns: `refused`, or what each tenant is given instead.
    cases: dict[str, Any]


class Duplicates(yaml.SafeLoader):
    """Loads YAML and refuses a key that comes twice, which would lose a case."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [str(key.value) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"comes twice: {sorted(twice)}")
        return super().construct_mapping(node, deep)


def _load(path: Path) -> dict[str, Any]:
    # A loader derived from the safe one is as safe.
    return yaml.load(path.read_text("utf-8"), Loader=Duplicates) or {}  # noqa: S506


@cache
def cases(folder: str = "cases") -> dict[str, Case]:
    """Return the cases of a folder by name, in the order they are written in."""
    found: dict[str, Case] = {}
    for path in sorted((HERE / folder).glob("*.yaml")):
        for name, what in _load(path).items():
            said: dict[str, Any] = {"ask": what} if isinstance(what, str) else what
            full = f"{path.stem}: {name}"
            found[full] = Case(name=full, **said)
    return found


@cache
def differences() -> tuple[Difference, ...]:
    """Return the declared differences."""
    return tuple(
        Difference(name=name, **what) for name, what in _load(HERE / "differences.yaml").items()
    )


def differing(name: str) -> Difference | None:
    """Return the difference that a case belongs to."""
    return next((d for d in differences() if name in d.cases), None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: rows as exact JSON, or a refusal."""

    rows: Any
    total: int | None = None
    refusal: str | None = None


def exact(text: str | bytes) -> Any:
    """Return JSON with its fractions as they are written, so that 1.50 is not 1.5."""
    return json.loads(text, parse_float=lambda number: f"number {number}")


def wanted(case: Case, tenant: str) -> Answer:
    """Return what Fluxbase is to answer: what PostgREST did, unless the two part on purpose."""
    apart = differing(case.name)
    if apart is not None:
        instead = apart.cases[case.name]
        if instead == "refused":
            return Answer(None, refusal=apart.fluxbase)
        told = instead[tenant] if case.count else {"rows": instead[tenant]}
        return Answer(exact(json.dumps(told["rows"])), told.get("total"))
    if case.only is not None:
        return Answer(exact(json.dumps(case.rows[tenant])))
    kept = _recorded(case.group)[case.name][tenant]
    return Answer(kept["rows"], kept.get("total"))


@cache
def _recorded(group: str) -> dict[str, Any]:
    return exact((RECORDED / f"{group}.json").read_text("utf-8"))


_EMBED: Final = re.compile(r'(?:([^,():!.]+|"[^"]*"):)?([^,():!.]+|"[^"]*")(?:![^,()]+)*\(')


def comparable(case: Case, rows: Any) -> Any:
    """Return rows in a form that is equal when the answers are.

    Where nothing was said of the order there is none: rows are sorted, also embedded ones.
    """
    query = dict(parameters(case.ask))
    names = {(alias or name).strip('"') for alias, name in _EMBED.findall(query.get("select", ""))}
    sorted_paths = {key.removesuffix(".order") for key in query if key.endswith(".order")}
    ordered = "order" in query and not case.unordered
    return _sorted(rows, "", names, sorted_paths | ({""} if ordered else set()))


def parameters(ask: str) -> list[tuple[str, str]]:
    """Return the parameters of a request, each as often as it comes."""
    return parse_qsl(ask.partition("?")[2], keep_blank_values=True)


def _sorted(value: Any, path: str, names: set[str], ordered: set[str]) -> Any:
    if isinstance(value, dict):
        row = cast("dict[str, Any]", value)
        return {
            key: _sorted(inner, f"{path}.{key}".lstrip("."), names, ordered)
            if key in names
            else inner
            for key, inner in row.items()
        }
    if isinstance(value, list):
        rows = [_sorted(row, path, names, ordered) for row in cast("list[Any]", value)]
        return rows if path in ordered else sorted(rows, key=_key)
    return value


def _key(row: Any) -> str:
    return json.dumps(row, sort_keys=True)
