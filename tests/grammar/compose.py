"""Composes requests that nobody thought of: a seed makes one, always the same.

It must only compose what PostgREST 12 can answer, and answers in one way: every column once, every
embed with its hint, an order down to the key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

_KINDS: Final[dict[str, str]] = {
    "id": "int",
    "name": "text",
    "country": "text",
    "credit": "num",
    "vip": "bool",
    "since": "date",
    "project_count": "int",
    "budget": "num",
    "active": "bool",
    "starts": "time",
    "meta": "json",
    "priority": "enum",
    "progress": "int",
    "hours": "num",
    "due": "time",
    "labels": "list",
    "finished": "bool",
    "body": "text",
    "likes": "int",
    "color": "text",
    "first_name": "text",
    "last_name": "text",
    "born": "date",
    "full_name": "text",
    "points": "int",
    "bio": "text",
    "total": "num",
    "quantity": "int",
    "paid": "bool",
    "currency": "text",
    "placed_on": "date",
    "city": "text",
    "street": "text",
}
_COLUMNS: Final = {
    "clients": "id name country credit vip since project_count",
    "projects": "id name budget active starts meta",
    "tasks": "id name priority progress hours due labels finished",
    "comments": "id body likes",
    "tags": "id name color",
    "users": "id first_name last_name born full_name",
    "orders": "id total quantity paid currency placed_on",
    "addresses": "id street city",
}
# What may be written before the parentheses, what it leads to, and whether there is one at most.
_RELATIONS: Final[dict[str, tuple[tuple[str, str, bool], ...]]] = {
    "clients": (("projects", "projects", False),),
    "projects": (("clients", "clients", True), ("tasks", "tasks", False)),
    "tasks": (
        ("projects", "projects", True),
        ("comments", "comments", False),
        ("tags", "tags", False),
        ("users!tasks_assignee", "users", True),
        ("users!watchers", "users", False),
        ("tasks!parent_id", "tasks", False),
        ("parent_id", "tasks", True),
    ),
    "comments": (("tasks", "tasks", True), ("users", "users", True)),
    "tags": (("tasks", "tasks", False),),
    "users": (
        ("tasks!tasks_assignee", "tasks", False),
        ("tasks!watchers", "tasks", False),
        ("orders", "orders", False),
        ("comments", "comments", False),
    ),
    "orders": (
        ("users", "users", True),
        ("addresses!orders_billing", "addresses", True),
        ("addresses!shipping_address_id", "addresses", True),
    ),
    "addresses": (
        ("orders!orders_billing", "orders", False),
        ("orders!orders_shipping", "orders", False),
    ),
}
_VALUES: Final = {
    "int": ("0", "1", "2", "3", "5", "102", "-7"),
    "num": ("0", "80", "1000.00", "42.42", "-5.5"),
    "text": ("BE", "bug", "Alpha", "Done (one)", "Birch, Beech %26 Co", "x"),
    "bool": ("true", "false"),
    "date": ("2020-01-15", "1991-12-31", "2026-02-01"),
    "time": ("2026-01-01T08:00:00Z", "2026-02-20 08:00", "2025-01-01"),
    "enum": ("low", "normal", "high", "urgent"),
}
_COMPARE: Final = ("eq", "neq", "gt", "gte", "lt", "lte", "isdistinct")
_PATTERNS: Final = ("*a*", "*o*", "B*", "*e", "*", "D_lta")
_CASTS: Final = {"num": ("text", "int"), "int": ("text", "numeric"), "date": ("text",)}
_QUOTED: Final = frozenset(',.:()"\\ {}')


@dataclass
class _Request:
    """A request while it is composed."""

    dice: Random
    parameters: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def chance(self, of_ten: int) -> bool:
        """Return true about so many times of ten."""
        return self.dice.randrange(10) < of_ten


def compose(seed: int) -> str:
    """Return the request of a seed."""
    request = _Request(Random(seed))  # noqa: S311 - nothing is kept secret with it
    table = request.dice.choice(sorted(_COLUMNS))
    select = _level(request, table, "", 0, many=True)
    query = [("select", select), *request.parameters]
    return f"/{table}?" + "&".join(f"{key}={value}" for key, value in query)


def _level(request: _Request, table: str, path: str, depth: int, *, many: bool) -> str:
    """Return the select of one table, and add what narrows and sorts it to the parameters."""
    prefix = f"{path}." if path else ""
    columns = _COLUMNS[table].split()
    if many and request.chance(2):
        return _grouped(request, columns, prefix)
    items = ["id", *(_column(request, name) for name in columns[1:] if request.chance(3))]
    embeds, to_one = _embeds(request, table, prefix, depth, items)
    for _ in range(request.dice.choice((0, 0, 1, 1, 2))):
        _narrow(request, columns, embeds if depth == 0 else [], prefix)
    if depth == 0 or request.chance(5):
        order = _order(request, columns, to_one if depth == 0 else [])
        request.parameters.append((f"{prefix}order", order))
        if many and request.chance(3):
            request.parameters.append((f"{prefix}limit", str(request.dice.randrange(1, 4))))
        if many and request.chance(2):
            request.parameters.append((f"{prefix}offset", str(request.dice.randrange(2))))
    return ",".join(items)


def _grouped(request: _Request, columns: list[str], prefix: str) -> str:
    """Return a select of groups and what is summed up in them, sorted by the groups."""
    dice = request.dice
    plain = [name for name in columns if _KINDS[name] in ("text", "bool", "enum", "date")]
    groups = dice.sample(plain, dice.randrange(min(3, len(plain))))
    items = [*groups, *(f"m{n}:{_summed(request, columns)}" for n in range(dice.randrange(1, 4)))]
    dice.shuffle(items)
    if request.chance(5):
        _narrow(request, columns, [], prefix)
    if groups:
        order = ",".join(f"{name}{_direction(request)}" for name in groups)
        request.parameters.append((f"{prefix}order", order))
        if request.chance(3):
            request.parameters.append((f"{prefix}limit", str(dice.randrange(1, 4))))
    return ",".join(items)


def _summed(request: _Request, columns: list[str]) -> str:
    name = request.dice.choice(columns)
    kind = _KINDS[name]
    if kind in ("int", "num"):
        cast = request.dice.choice(("", "", "::numeric"))
        result = request.dice.choice(("", "", "::text", "::int"))
        word = request.dice.choice(("sum", "avg", "min", "max", "count"))
        return f"{name}{cast}.{word}(){result}"
    if kind in ("text", "date", "time", "enum"):
        return f"{name}.{request.dice.choice(('min', 'max', 'count'))}()"
    return request.dice.choice(("count()", f"{name}.count()"))


def _embeds(
    request: _Request, table: str, prefix: str, depth: int, items: list[str]
) -> tuple[list[str], list[str]]:
    """Add embeds to what is selected; return the names of all, and of those with one row."""
    embeds: list[str] = []
    to_one: list[str] = []
    spread: set[str] = set()
    for number, (how, target, single) in enumerate(_RELATIONS[table]):
        if depth == 3 or not request.chance(4 - depth):
            continue
        if single and target not in spread and request.chance(2):
            # PostgREST 12 makes two of one name of two spreads of one table.
            spread.add(target)
            items.append(f"...{how}(s{depth}{number}:{_COLUMNS[target].split()[1]})")
            continue
        alias = f"e{depth}{number}"
        join = request.dice.choice(("", "", "", "!inner", "!left"))
        inside = _level(request, target, prefix + alias, depth + 1, many=not single)
        if inside.partition(",")[0] != "id":
            # Of groups it is declared to differ whether they are there.
            items.append(f"{alias}:{how}({inside})")
            continue
        items.append(f"{alias}:{how}{join}({inside})")
        embeds.append(alias)
        if single:
            to_one.append(alias)
    return embeds, to_one


def _column(request: _Request, name: str) -> str:
    kind = _KINDS[name]
    if kind == "json":
        return request.dice.choice(("meta", "meta->team", "meta->team->>lead", "meta->stage"))
    if kind in _CASTS and request.chance(2):
        return f"{name}::{request.dice.choice(_CASTS[kind])}"
    return f"a_{name}:{name}" if request.chance(2) else name


def _narrow(request: _Request, columns: list[str], embeds: list[str], prefix: str) -> None:
    dice = request.dice
    if embeds and request.chance(2):
        alias = dice.choice(embeds)
        request.parameters.append((alias, dice.choice(("is.null", "not.is.null"))))
    elif request.chance(4):
        word = dice.choice(("or", "and", "not.or", "not.and"))
        request.parameters.append((prefix + word, f"({_group(request, columns, 0)})"))
    else:
        name = dice.choice(columns)
        field_, kind = _field(request, name)
        request.parameters.append((prefix + field_, _test(request, kind, quoted=False)))


def _group(request: _Request, columns: list[str], depth: int) -> str:
    parts: list[str] = []
    for _ in range(request.dice.randrange(1, 4)):
        if depth < 2 and request.chance(2):
            word = request.dice.choice(("or", "and", "not.or", "not.and"))
            parts.append(f"{word}({_group(request, columns, depth + 1)})")
        else:
            name, kind = _field(request, request.dice.choice(columns))
            parts.append(f"{name}.{_test(request, kind, quoted=True)}")
    return ",".join(parts)


def _field(request: _Request, name: str) -> tuple[str, str]:
    """Return a column, or a path into it, and what kind of value it has."""
    if _KINDS[name] == "json":
        return request.dice.choice((("meta->>stage", "text"), ("meta->team->size", "jsonb")))
    return name, _KINDS[name]


def _test(request: _Request, kind: str, *, quoted: bool) -> str:
    negated = "not." if request.chance(2) else ""
    if request.chance(2):
        words = ("null", "true", "false", "unknown") if kind == "bool" else ("null",)
        return f"{negated}is.{request.dice.choice(words)}"
    if kind == "jsonb":
        return f"{negated}{request.dice.choice(_COMPARE)}.{request.dice.randrange(12)}"
    if kind == "list":
        value = request.dice.choice(("{plan}", "{first,plan}"))
        return f"{negated}{request.dice.choice(('cs', 'cd', 'ov'))}.{value}"
    return negated + _comparison(request, kind, quoted=quoted)


def _comparison(request: _Request, kind: str, *, quoted: bool) -> str:
    dice, values = request.dice, _VALUES[kind]
    several = ",".join(_item(value) for value in dice.sample(values, 2))
    if request.chance(2):
        return f"in.({several})"
    if request.chance(2):
        return f"{dice.choice(('eq', 'gt', 'lte'))}({dice.choice(('any', 'all'))}).{{{several}}}"
    if kind == "text" and request.chance(4):
        return f"{dice.choice(('like', 'ilike'))}.{dice.choice(_PATTERNS)}"
    value = dice.choice(values)
    # What excludes or bounds leaves more rows than what must be met, so it comes more often.
    operator = dice.choice((*_COMPARE, "neq", "gte", "isdistinct"))
    return f"{operator}.{_item(value) if quoted else value}"


def _item(value: str) -> str:
    return f'"{value}"' if _QUOTED & set(value) else value


def _order(request: _Request, columns: list[str], to_one: list[str]) -> str:
    terms: list[str] = []
    if to_one and request.chance(4):
        terms.append(f"{request.dice.choice(to_one)}(id){_direction(request)}")
    if request.chance(5):
        name = request.dice.choice(columns)
        terms.append(f"{_field(request, name)[0]}{_direction(request)}")
    return ",".join([*terms, f"id{request.dice.choice(('', '.asc', '.desc'))}"])


def _direction(request: _Request) -> str:
    return request.dice.choice(("", ".asc", ".desc")) + request.dice.choice(
        ("", ".nullsfirst", ".nullslast")
    )
