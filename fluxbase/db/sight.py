"""What one caller sees of the catalog; what is not in it does not exist for that caller."""

from __future__ import annotations

from collections import OrderedDict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from fluxbase.errors import UnknownTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fluxbase.db.links import Link, Links
    from fluxbase.db.relation import Visible

_SUGGESTED: Final = 300
_NAME: Final = 130
_PLANS: Final = 512


class Sight:
    """The relations that a caller may see, and the references among them."""

    def __init__(
        self, tables: Mapping[tuple[str, str], Visible], schemas: tuple[str, ...], links: Links
    ) -> None:
        self.tables = tables
        self.by_oid = {table.relation.oid: table for table in tables.values()}
        self._schemas = schemas
        self._links = links
        self._names: dict[str, Visible] = {}
        # What was planned for these relations; it ends with them when the catalog changes.
        self.plans: OrderedDict[Any, Any] = OrderedDict()

    def find(self, name: str) -> Visible:
        """Return the relation that `table` or `schema.table` names.

        Raises:
            UnknownTable: there is none that this caller may see.
        """
        found = self._names.get(name) or self._find(name)
        if found is not None:
            return found
        # Comparing with thousands of names would hold up everybody else.
        few = list(self.tables.values())[:_SUGGESTED] if len(name) <= _NAME else []
        close = get_close_matches(name, [self.short_name(table) for table in few], n=1)
        raise UnknownTable(
            "no such table" + (f"; did you mean '{close[0]}'?" if close else ""),
            hint="list_tables shows the tables this key may use",
        )

    def short_name(self, table: Visible) -> str:
        """Return the name a caller writes: without the schema when it is the first exposed one."""
        relation = table.relation
        return relation.name if relation.schema == self._schemas[0] else relation.full_name

    def references_from(self, table: Visible) -> Iterator[tuple[Link, Visible]]:
        """Yield the references that a table makes, with the relations they lead to."""
        for link in self._links.by_source.get(table.relation.oid, ()):
            if link.target in self.by_oid:
                yield link, self.by_oid[link.target]

    def references_to(self, table: Visible) -> Iterator[tuple[Link, Visible]]:
        """Yield the references to a table, with the relations that make them."""
        for link in self._links.by_target.get(table.relation.oid, ()):
            if link.source in self.by_oid:
                yield link, self.by_oid[link.source]

    def takes_along(self, table: Visible) -> bool:
        """Return whether deleting rows of a table changes rows of others, visible or not."""
        return any(link.follows for link in self._links.by_target.get(table.relation.oid, ()))

    def recall(self, key: Any) -> Any:
        """Return the plan that is remembered under a key, or nothing."""
        plan = self.plans.get(key)
        if plan is not None:
            self.plans.move_to_end(key)
        return plan

    def keep(self, key: Any, plan: Any) -> None:
        """Remember a plan, in place of the one that was of no use for longest."""
        if len(self.plans) >= _PLANS:
            self.plans.popitem(last=False)
        self.plans[key] = plan

    def _find(self, name: str) -> Visible | None:
        for schema in self._schemas:
            if (schema, name) in self.tables:
                self._names[name] = self.tables[schema, name]
                return self._names[name]
        schema, _, bare = name.partition(".")
        return self.tables.get((schema, bare))
