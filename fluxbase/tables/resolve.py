"""Puts what a call names together with what its caller sees: a tree becomes a plan.

Whatever does not exist for the caller is an error here, so a plan is always about real columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, assert_never

from fluxbase.errors import Forbidden, UnknownColumn
from fluxbase.grammar import tree
from fluxbase.grammar.words import nearest, shown, wrong
from fluxbase.tables import plan
from fluxbase.tables.fitness import check_aggregate, check_operator, check_order, check_truth, typed
from fluxbase.tables.operands import Binder
from fluxbase.tables.relate import relationship

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbase.db.relation import Visible
    from fluxbase.db.sight import Sight

_MOST_EMBEDS: Final = 50
_SHOWN: Final = 200
_COUNT: Final = tree.Field("count")


@dataclass(slots=True)
class Resolver:
    """Resolves one tree; `binders` say by slot how its operands are sent."""

    sight: Sight
    max_depth: int
    binders: dict[int, Binder] = field(default_factory=dict[int, Binder])
    embeds: int = 0

    def level(
        self, table: Visible, query: tree.Query, where: str = "select", path: tuple[str, ...] = ()
    ) -> plan.Level:
        """Return what is asked of one table and of those embedded in it.

        Args:
            table: the table.
            query: what is asked of it.
            where: the argument that the items come from, for errors.
            path: the names under which the table is embedded; none for the one that is asked.

        Raises:
            UnknownColumn, UnknownRelationship: it does not exist for the caller.
            InvalidFilter: an operator, aggregate or cast does not fit its column.
            Forbidden: `*` was asked and the caller may read no column at all.
        """
        embeds = {
            place: self._related(table, item, where, path)
            for place, item in enumerate(query.items)
            if isinstance(item, tree.Embed)
        }
        related: dict[str, plan.Related] = {}
        for item in (*embeds.values(), *_by_target(query, embeds)):
            related.setdefault(item.name, item)
        items = self._items(table, query, embeds, where)
        grouped = any(_aggregates(item) for item in items)
        if grouped:
            check_groups(items, where)
        parts = [self.condition(table, part, related, path) for part in query.where.parts]
        parts += [plan.Exists(r) for r in embeds.values() if r.inner]
        level = plan.Level(
            table,
            items,
            plan.Group("and", tuple(parts)),
            limit=query.limit,
            offset=query.offset,
            grouped=grouped,
        )
        return replace(level, order=self._order(level, query, related, path))

    def value(self, table: Visible, name: tree.Field, where: str) -> plan.Value:
        """Return the value that a field means."""
        column = table.column(name.name)
        if column is None:
            known = (*table.readable, *sorted(table.grant.computed))
            raise UnknownColumn(
                f"{where}: no such column {shown(name.name)}{nearest(name.name, known)}",
                hint="describe_table lists the columns",
            )
        return plan.Value(column, name.path, typed(column, name.path, where))

    def condition(
        self,
        table: Visible,
        node: tree.Condition,
        related: dict[str, plan.Related],
        path: tuple[str, ...] = (),
    ) -> plan.Condition:
        """Return a condition about a table."""
        match node:
            case tree.Is(name) if name.name in related and not name.path:
                return _presence(related[name.name], node, _at("filter", path, name.name))
            case tree.Test(name) if name.name in related and table.column(name.name) is None:
                return _presence(related[name.name], node, _at("filter", path, name.name))
            case tree.Test():
                return self._test(table, node, _at("filter", path, node.field.name))
            case tree.Is(name, truth):
                where = _at("filter", path, name.name)
                value = self.value(table, name, where)
                check_truth(value, truth, where)
                return plan.Is(value, truth)
            case tree.Not(inner):
                return plan.Not(self.condition(table, inner, related, path))
            case tree.Group(word, parts):
                inner_ = tuple(self.condition(table, part, related, path) for part in parts)
                return plan.Group(word, inner_)
            case _:
                assert_never(node)

    def _test(self, table: Visible, node: tree.Test, where: str) -> plan.Test:
        value = self.value(table, node.field, where)
        check_operator(value.type, node.operator, node.quantifier, where)
        self.binders[node.slot] = Binder(value.type, node.operator, node.quantifier)
        return plan.Test(value, node.operator, node.slot, node.quantifier, node.config)

    def _related(
        self, table: Visible, item: tree.Embed, where: str, path: tuple[str, ...]
    ) -> plan.Related:
        place = _place(where, item.at)
        self.embeds += 1
        if len(path) >= self.max_depth:
            raise wrong(
                place,
                f"tables nested more than {self.max_depth} deep",
                "database.max_embed_depth is the limit",
            )
        if self.embeds > _MOST_EMBEDS:
            raise wrong(where, f"more than {_MOST_EMBEDS} related tables")
        found = relationship(self.sight, table, item, place)
        return plan.Related(
            item.name,
            found.join,
            self.level(found.table, item.query, where, (*path, item.name)),
            item.spread,
            item.join == "inner",
        )

    def _items(
        self,
        table: Visible,
        query: tree.Query,
        embeds: dict[int, plan.Related],
        where: str,
    ) -> tuple[plan.Output | plan.Related, ...]:
        found = _Items(where)
        for place, item in enumerate(query.items):
            if isinstance(item, tree.Star):
                if not table.readable:
                    raise Forbidden("this caller may not read any column of the table")
                for name in table.readable:
                    column = table.relation.columns[name]
                    found.add(plan.Output(name, plan.Value(column, (), column)))
            elif isinstance(item, tree.Pick):
                found.add(self._output(table, item, where))
            else:
                found.add(embeds[place])
        return tuple(found.items)

    def _output(self, table: Visible, item: tree.Pick, where: str) -> plan.Output:
        # Without parentheses it is PostgREST's older way to count, which people still write.
        old = item.field == _COUNT and not item.aggregate and table.column("count") is None
        if item.field is None or old:
            cast = item.cast or item.result_cast
            return plan.Output(item.alias or "count", None, None, "count", cast)
        place = _place(where, item.at)
        value = self.value(table, item.field, place)
        if item.aggregate is not None:
            check_aggregate(value.type, item.aggregate, item.cast, place)
        name = item.alias or item.aggregate or _named(item.field)
        return plan.Output(name, value, item.cast, item.aggregate, item.result_cast)

    def _order(
        self,
        level: plan.Level,
        query: tree.Query,
        related: dict[str, plan.Related],
        path: tuple[str, ...],
    ) -> tuple[plan.Sort, ...]:
        where = _at("embed", path, "order") if path else "order"
        return tuple(
            self._sort(level, sort, related, _place(where, sort.at)) for sort in query.order
        )

    def _sort(
        self, level: plan.Level, sort: tree.Sort, related: dict[str, plan.Related], place: str
    ) -> plan.Sort:
        if sort.relation is not None:
            relation = related.get(sort.relation)
            if relation is None:
                raise wrong(
                    place,
                    f"no embedded table {shown(sort.relation)}{nearest(sort.relation, related)}",
                    "embed it in select to sort by it",
                )
            if relation.join.many:
                raise wrong(place, f"{shown(sort.relation)} has many rows for each row")
            if level.grouped:
                raise wrong(place, "an aggregated answer is sorted by its own values")
            value = self.value(relation.level.table, sort.field, place)
            check_order(value.type, place)
            return plan.Sort(value, sort.descending, sort.nulls, relation)
        if level.grouped:
            return plan.Sort(
                None, sort.descending, sort.nulls, output=self._sorted_output(level, sort, place)
            )
        value = self.value(level.table, sort.field, place)
        check_order(value.type, place)
        return plan.Sort(value, sort.descending, sort.nulls)

    def _sorted_output(self, level: plan.Level, sort: tree.Sort, place: str) -> int:
        names = level.names()
        if sort.field.name in names and not sort.field.path:
            return names.index(sort.field.name)
        if level.table.column(sort.field.name) is not None:
            value = self.value(level.table, sort.field, place)
            for item in level.items:
                if isinstance(item, plan.Output) and item.value == value and not item.aggregate:
                    return names.index(item.name)
        raise UnknownColumn(
            f"{place}: no such value {shown(sort.field.name)}{nearest(sort.field.name, names)}",
            hint="an aggregated answer is sorted by the names of its own values",
        )


def check_groups(items: tuple[plan.Output | plan.Related, ...], where: str) -> None:
    """See that rows can be told apart by every value that they are grouped by.

    Raises:
        InvalidFilter: one has no equality.
    """
    for item in items:
        if isinstance(item, plan.Output) and item.value is not None and not item.aggregate:
            check_order(item.value.type, where)


def _aggregates(item: plan.Output | plan.Related) -> bool:
    if isinstance(item, plan.Output):
        return item.aggregate is not None
    # What a spread table aggregates is aggregated over the rows it is spread into.
    return item.spread and not item.join.many and item.level.grouped


@dataclass(slots=True)
class _Items:
    """The items of an answer, each value under a name of its own."""

    where: str
    items: list[plan.Output | plan.Related] = field(
        default_factory=list["plan.Output | plan.Related"]
    )
    taken: dict[str, plan.Output | plan.Related] = field(
        default_factory=dict[str, "plan.Output | plan.Related"]
    )

    def add(self, item: plan.Output | plan.Related) -> None:
        """Add an item; one that is there already changes nothing.

        Raises:
            InvalidFilter: another value has its name.
        """
        names: tuple[str, ...] = (item.name,)
        if isinstance(item, plan.Related):
            spread = item.level.names() if item.spread else names
            names = spread if item.level.items else ()
        for name in names:
            if self.taken.get(name) == item:
                return
            if name in self.taken:
                hint = f"give one an alias: other:{name}"
                raise wrong(self.where, f"two values are called {shown(name)}", hint)
            self.taken[name] = item
        self.items.append(item)


def _by_target(query: tree.Query, embeds: dict[int, plan.Related]) -> Iterator[plan.Related]:
    """Yield embedded tables under their own names, which conditions may call them by too."""
    for place, related in embeds.items():
        item = query.items[place]
        if isinstance(item, tree.Embed):
            yield replace(related, name=item.target)


def _presence(related: plan.Related, node: tree.Test | tree.Is, where: str) -> plan.Condition:
    exists = plan.Exists(related)
    if isinstance(node, tree.Is) and node.truth == "null":
        return plan.Not(exists)
    if isinstance(node, tree.Is) and node.truth == "not_null":
        return exists
    raise wrong(where, "an embedded table is either there or not: is.null, not.is.null")


def _at(argument: str, path: tuple[str, ...], name: str) -> str:
    where = ".".join((argument, *path, name))
    return where if len(where) <= _SHOWN and where.isprintable() else argument


def _named(name: tree.Field) -> str:
    """Return the name of a value in the answer: the last name on its path, as in PostgREST."""
    keys = [step.key for step in name.path if isinstance(step.key, str)]
    return keys[-1] if keys else name.name


def _place(where: str, at: int) -> str:
    return f"{where}, character {at + 1}"
