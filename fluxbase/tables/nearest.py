"""Finds the rows whose vectors are nearest to one, by themselves or together with words.

It is a read like any other: columns, filters and row-level security are those of `query_table`.
What a caller may not see is no candidate, so it neither stands in the answer nor shifts it.
Sources: pgvector, querying and iterative index scans; Cormack, Clarke and Büttcher, 2009
(reciprocal rank fusion).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fluxbase.db.sql import Sql, catalog_type, concat, ident, join, sql
from fluxbase.egress.embed import Embedder, TextRefused
from fluxbase.errors import FluxbaseError, Forbidden, InvalidArgument, Unavailable
from fluxbase.grammar import query
from fluxbase.grammar.conditions import Operand
from fluxbase.grammar.words import wrong
from fluxbase.tables import diagnose, plan
from fluxbase.tables.expressions import table_name
from fluxbase.tables.resolve import Resolver
from fluxbase.tables.rows import Writer
from fluxbase.tables.slots import LIMIT, Slots
from fluxbase.tables.vector_columns import KINDS, text_column, vector_column, written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from fluxbase.db.relation import Column
    from fluxbase.db.vector_index import Metric
    from fluxbase.toolkit import Context

NAME: Final = "similarity"
THRESHOLD: Final = 0.7  # of cosine, unless somebody says otherwise
_OPERATORS: Final[dict[Metric, Sql]] = {
    "cosine": sql(" OPERATOR(extensions.<=>) "),
    "l2": sql(" OPERATOR(extensions.<->) "),
    "inner_product": sql(" OPERATOR(extensions.<#>) "),
    "l1": sql(" OPERATOR(extensions.<+>) "),
}
_CANDIDATES: Final = 4  # times the limit, from each of the two lists that are fused
_FUSED: Final = 60  # of the paper: how little the first places count more than those behind
_ALIKE: Final = 0.45  # of `word_similarity`: one letter wrong in a word of five or more


@dataclass(frozen=True, slots=True)
class Near:
    """What is asked: rows of a table near a vector, near words, or both."""

    table: str
    column: str | None
    vector: Sequence[float] | None
    words: str | None
    text: str | None
    metric: Metric = "cosine"
    threshold: float | None = None
    limit: int = 5
    select: str = "*"
    filter: Mapping[str, Any] | None = None
    language: str = "simple"
    trigrams: str | None = None  # the schema of pg_trgm, for words without a vector


@dataclass(frozen=True, slots=True)
class Nearest:
    """The rows, as the text of a JSON array, and how many they are."""

    text: str
    count: int


async def nearest(ctx: Context, near: Near) -> Nearest:
    """Return the nearest rows that the caller may see, best first, each with its `similarity`.

    Raises:
        FluxbaseError: an argument is wrong, or the database refused; see `search_vectors`.
    """
    sight = await ctx.catalog.sight(ctx.who)
    table = sight.find(near.table)
    ctx.target = table.relation.full_name
    if not table.readable:
        raise Forbidden("this caller may not read any column of the table")
    asked = query.read(near.select, near.filter, known=table.grant.select)
    resolver = Resolver(sight, 0)
    level = resolver.level(table, asked.tree)
    if level.grouped:
        raise wrong("select", "an aggregate has no distance", "select columns, or *")
    slots, operands = Slots(), [*asked.operands]
    search = _Search(Writer(slots), slots, level, near, len(operands))
    if near.vector is not None:
        search.column = vector_column(table, near.column)
        operands.append(Operand(written(near.vector, search.column), "embedding"))
    if near.words is not None:
        search.text, search.words = text_column(table, near.text), len(operands)
        operands.append(Operand(near.words, "query"))
    planned = slots.planned(search.statement(), resolver.binders)
    try:
        row = await ctx.read(planned.bind(operands, {LIMIT: near.limit}))
    except FluxbaseError as error:
        told = await diagnose.explain(ctx, resolver.binders, operands, error)
        raise told from error.__cause__
    ctx.rows = row[2]
    return Nearest(row[1], row[2])


async def vector_of(ctx: Context, words: str, *, needed: bool = True) -> list[float] | None:
    """Return the vector of some words by the server's model; `None` if there is no way, nor need.

    Raises:
        InvalidArgument: there is no model, and the vector is needed.
        Unavailable: the model does not answer, and the vector is needed.
    """
    embedder = ctx.service(Embedder)
    if not (needed or embedder.is_configured):
        return None
    try:
        [vector] = await embedder.embed([words])
    except (Unavailable, TextRefused):
        if needed:
            raise
        return None
    return vector


@dataclass(slots=True)
class _Search:
    """Writes the statement: (role, rows, how many)."""

    writer: Writer
    slots: Slots
    level: plan.Level
    near: Near
    vector: int  # the slot of the vector
    column: Column | None = None
    text: Column | None = None
    words: int = 0

    def statement(self) -> Sql:
        """Return the statement."""
        rows = self._by_vector() if self.text is None else self._fused()
        return concat(
            sql("SELECT current_user::text, '[' || coalesce(string_agg(row_to_json(r.*)::text, "),
            sql("','), '') || ']', count(*) FROM ("),
            rows,
            sql(") r"),
        )

    def _by_vector(self) -> Sql:
        """Return the rows by their distance alone, so that an index can find them."""
        if self.column is None:
            raise InvalidArgument("give query or embedding")
        row = self.writer.alias()
        columns = [*self._outputs(row), concat(self._similarity(row), sql(" AS "), ident(NAME))]
        found = concat(
            sql("SELECT "),
            join(", ", columns),
            self._from(row, self._has_vector(row)),
            sql(" ORDER BY "),
            self._distance(row),
            sql(" LIMIT "),
            self.slots.use(LIMIT),
            sql("::int8"),
        )
        if self.near.threshold is None:
            return found
        least = self.slots.constant(self.near.threshold)
        return concat(
            # A vector of zeros has no direction: its distance is NaN, which is above all numbers.
            sql("SELECT * FROM ("), found, sql(") s WHERE "), ident(NAME), sql(" >= "), least,
            sql("::float8 AND "), ident(NAME), sql(" < 'Infinity'"),
        )  # fmt: skip

    def _fused(self) -> Sql:
        """Return the rows of several lists, by their places in all of them."""
        key = self._key()
        names = join(", ", [ident(name) for name in key])
        lists = [sql("TABLE w")]
        if self.column is not None:
            lists.append(self._places(self._by_distance))
        # A letter more or less changes little of a meaning; without a vector it changes all.
        if self.near.trigrams is not None:
            lists.append(self._places(self._by_likeness))
        row = self.writer.alias()
        same = join(
            " AND ",
            [concat(row, sql("."), ident(n), sql(" = f."), ident(n)) for n in key],
        )
        score = sql("f.s::float8 AS ")
        columns = [*self._outputs(row), concat(score, ident(NAME))]
        return concat(
            sql("WITH w AS MATERIALIZED ("), self._places(self._by_words), sql("), l AS ("),
            join(" UNION ALL ", lists), sql("), f AS (SELECT "), names,
            sql(", sum(1.0 / ("), self.slots.constant(_FUSED), sql("::int8 + n)) AS s FROM l"),
            sql(" GROUP BY "), names, sql(" ORDER BY s DESC, "), names, sql(" LIMIT "),
            self.slots.use(LIMIT),
            sql("::int8) SELECT "), join(", ", columns), sql(" FROM f JOIN "),
            table_name(self.level.table.relation), sql(" AS "), row, sql(" ON "), same,
            sql(" ORDER BY f.s DESC"),
        )  # fmt: skip

    def _places(self, wanted: Callable[[Sql], tuple[Sql, Sql]]) -> Sql:
        row = self.writer.alias()
        condition, order = wanted(row)
        names = [concat(row, sql("."), ident(name)) for name in self._key()]
        return concat(
            sql("(SELECT "), join(", ", [ident(name) for name in self._key()]),
            sql(", row_number() OVER () AS n FROM (SELECT "), join(", ", names),
            self._from(row, condition), sql(" ORDER BY "), order, sql(" LIMIT "),
            self.slots.use(LIMIT), sql("::int8 * "), self.slots.constant(_CANDIDATES),
            sql("::int8) q)"),
        )  # fmt: skip

    def _by_distance(self, row: Sql) -> tuple[Sql, Sql]:
        return self._has_vector(row), self._distance(row)

    def _by_words(self, row: Sql) -> tuple[Sql, Sql]:
        """Return which rows hold any of the words, and their order."""
        if self.text is None:
            raise InvalidArgument("query: words are needed for this")
        config = self.slots.constant(self.near.language)
        text = concat(sql("coalesce("), row, sql("."), ident(self.text.name), sql("::text, '')"))
        document = concat(sql("to_tsvector("), config, sql("::text::regconfig, "), text, sql(")"))
        words = concat(self.slots.use(self.words), sql("::text"))
        # Any of the words counts; how many of them, and how near each other, decides the order.
        asked = concat(
            sql("replace(plainto_tsquery("), config, sql("::text::regconfig, "), words,
            sql(")::text, '&', '|')::tsquery"),
        )  # fmt: skip
        matches = concat(document, sql(" @@ "), asked)
        rank = concat(sql("ts_rank_cd("), document, sql(", "), asked, sql(") DESC"))
        return matches, rank

    def _by_likeness(self, row: Sql) -> tuple[Sql, Sql]:
        """Return which rows hold words like those asked for, when no row holds them as they are."""
        if self.text is None or self.near.trigrams is None:
            raise InvalidArgument("query: words are needed for this")
        text = concat(sql("coalesce("), row, sql("."), ident(self.text.name), sql("::text, '')"))
        alike = concat(
            ident(self.near.trigrams, "word_similarity"), sql("("), self.slots.use(self.words),
            sql("::text, "), text, sql(")"),
        )  # fmt: skip
        least = self.slots.constant(_ALIKE)
        # Asked for the whole statement once, so that texts are compared only then.
        none = sql("NOT EXISTS (SELECT FROM w) AND ")
        return (
            concat(none, alike, sql(" >= "), least, sql("::float8")),
            concat(alike, sql(" DESC")),
        )

    def _outputs(self, row: Sql) -> list[Sql]:
        found = [
            self.writer.output(item, row)
            for item in self.level.items
            if isinstance(item, plan.Output) and not self._is_the_vector(item)
        ]
        if any(name == NAME for name in self.level.names()):
            raise wrong("select", f"a column is called {NAME} already", f"write s:{NAME}")
        return found

    def _is_the_vector(self, item: plan.Output) -> bool:
        """Return whether a value is there for `*` alone: a vector tells a model nothing."""
        return (
            self.near.select.strip() == "*"
            and item.value is not None
            and item.value.column.base in KINDS
        )

    def _from(self, row: Sql, further: Sql) -> Sql:
        where = self.writer.where(self.level, row)
        table = table_name(self.level.table.relation)
        word = sql(" AND ") if where else sql(" WHERE ")
        return concat(sql(" FROM "), table, sql(" AS "), row, where, word, further)

    def _has_vector(self, row: Sql) -> Sql:
        if self.column is None:
            raise InvalidArgument("embedding: a vector is needed for this")
        return concat(row, sql("."), ident(self.column.name), sql(" IS NOT NULL"))

    def _distance(self, row: Sql) -> Sql:
        if self.column is None:
            raise InvalidArgument("embedding: a vector is needed for this")
        operand = concat(
            self.slots.use(self.vector), sql("::text::"), catalog_type(self.column.cast)
        )
        value = concat(row, sql("."), ident(self.column.name))
        return concat(value, _OPERATORS[self.near.metric], operand)

    def _similarity(self, row: Sql) -> Sql:
        distance = self._distance(row)
        if self.near.metric == "cosine":
            return concat(sql("1 - ("), distance, sql(")"))
        if self.near.metric == "inner_product":  # pgvector gives it negative, to sort by
            return concat(sql("-("), distance, sql(")"))
        return concat(sql("1 / (1 + ("), distance, sql("))"))

    def _key(self) -> tuple[str, ...]:
        table = self.level.table
        key = table.relation.primary_key
        if not key or not table.grant.select.issuperset(key):
            raise InvalidArgument(
                "table: two lists are fused by the primary key, which this caller cannot read here",
                hint="search by a vector alone",
            )
        return key
