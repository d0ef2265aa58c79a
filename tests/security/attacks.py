"""What test_injection sends: SQL in every place of a call where a text can stand.

Names may be shown in an error, values may not; so each carries a mark of its own.
"""

from __future__ import annotations

from typing import Any, Final

import hypothesis.strategies as st

VALUE: Final = "zqvalue"
NAME: Final = "zqname"
ATTACKS: Final = [
    f"'; DROP TABLE public.canary; --{VALUE}",
    f'"; DELETE FROM public.canary; --{VALUE}',
    f"{VALUE}'; UPDATE public.canary SET body = 'gone' WHERE ''='",
    f"1); TRUNCATE public.canary; SELECT ({VALUE}",
    f"$${VALUE}$$; DROP TABLE public.canary; $$",
    f"\\'; DROP TABLE public.canary; -- {VALUE}",
    f"{VALUE} UNION SELECT body FROM hidden.vault",
    f"(SELECT secret FROM public.notes LIMIT 1) AS {VALUE}",
    f"id,(SELECT body FROM hidden.vault) AS {VALUE}",
    f"null) OR true OR (id = 1 -- {VALUE}",
    f"{VALUE}\x00; DROP TABLE public.canary",
    f"{VALUE}/**/OR/**/1=1",
    f"id::text || {VALUE}",
    f"set_config('role','service_role',true) {VALUE}",
    f"pg_sleep(10) {VALUE}",
    f"{VALUE}\u02bc; DROP TABLE public.canary",
    f"{VALUE}\uff07 OR 1=1",
    f"%s %({VALUE})s {{}} $1 :{VALUE}",
    f"\u202e{VALUE}\u2066",
    f"{VALUE}\\",
    VALUE * 4000,
]
_OPERATORS: Final = [
    "eq", "neq", "gt", "gte", "lt", "lte", "like", "ilike", "is", "isnot", "in", "nin", "cs", "cd",
    "ov", "not.eq", "not.in", "not.is", "fts", "EQ",
]  # fmt: skip
_COLUMNS: Final = [
    "id", "user_id", "title", "body", "rank", "price", "mood", "tags", "meta", "done", "seen_at",
    "secret", "shout", "ctid", "xmin",
]  # fmt: skip
_TABLES: Final = [
    "notes", "comments", "news", "my_notes", "inbox", 'odd "name" ☃', "auth.api_keys", "canary",
]  # fmt: skip
Texts = st.SearchStrategy[str]
Anything = st.SearchStrategy[Any]


def _with(mark: str) -> Texts:
    planted = [text.replace(VALUE, mark) for text in ATTACKS]
    free = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    return st.sampled_from(planted) | free.map(mark.__add__)


def _joined(*parts: Texts) -> Texts:
    return st.tuples(*parts).map("".join)


def _json(leaf: Texts) -> Anything:
    numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    leaves: Anything = leaf | numbers | st.booleans() | st.none()
    return st.recursive(leaves, _deeper, max_leaves=4)


def _deeper(inner: Anything) -> Anything:
    return st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=2)


def _call(
    tool: str, needed: dict[Any, Any], optional: dict[Any, Any] | None = None
) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(tool), st.fixed_dictionaries(needed, optional=optional or {}))


_NAMES: Final = _with(NAME)
_VALUES: Final = _with(VALUE)
_value: Final = _json(_VALUES)
_plain: Final[Anything] = _VALUES | st.none() | st.booleans() | st.integers(-(2**53), 2**53)
_column: Final = st.sampled_from(_COLUMNS) | _NAMES
_dotted: Final = st.sampled_from([f"{operator}." for operator in _OPERATORS])
_condition: Final[Anything] = st.one_of(
    _joined(_dotted, _VALUES),
    _joined(
        st.sampled_from(["in.(", "nin.(", 'in.("']), _VALUES, st.sampled_from([")", '")', ",1)"])
    ),
    _joined(st.sampled_from(["cs.{", "cd.{", 'ov.{"']), _VALUES, st.sampled_from(["}", '"}'])),
    st.dictionaries(st.sampled_from(_OPERATORS) | _NAMES, _value, min_size=1, max_size=2),
    # Where an operator is expected, what stands there is a name.
    _json(_NAMES),
)
_filters: Final = st.dictionaries(_column, _condition, max_size=3)
_rows: Final = st.dictionaries(_column, _value, max_size=4)
_table: Final = st.sampled_from(_TABLES) | _NAMES
_listing: Final[Texts] = st.one_of(
    st.lists(_column, min_size=1, max_size=3).map(",".join),
    st.just("*"),
    _NAMES,
    _joined(st.sampled_from([f"{column}." for column in _COLUMNS]), _NAMES),
)

CALLS: Final[Anything] = st.one_of(
    _call(
        "query_table",
        {"table": _table},
        {
            "select": _listing, "filter": _filters, "order": _listing, "count": _VALUES,
            "limit": _plain, "offset": _plain,
        },
    ),
    _call("count_records", {"table": _table, "filter": _filters}),
    _call(
        "insert_record",
        {"table": _table, "data": _rows | st.lists(_rows, max_size=2)},
        {
            "returning": _listing, "on_conflict": _listing,
            "on_conflict_action": _VALUES | st.just("ignore"),
        },
    ),
    _call(
        "update_record",
        {"table": _table, "data": _rows, "filter": _filters},
        {"returning": _listing, "dry_run": _VALUES | st.booleans()},
    ),
    _call(
        "delete_record",
        {"table": _table, "filter": _filters},
        {"returning": _listing, "max_affected": _plain},
    ),
    _call("list_tables", {}, {"schema": _VALUES, "limit": _plain, "offset": _plain}),
    _call("describe_table", {"table": _table}),
    st.tuples(_VALUES, st.dictionaries(_NAMES, _value, max_size=2)),
)  # fmt: skip
_offset: Final = _VALUES | st.sampled_from(["²", "٣", "-1", "1e9"])
URIS: Final[Texts] = st.one_of(
    _VALUES,
    _joined(st.just("fluxbase://schema/tables?offset="), _offset),
    _joined(st.just("fluxbase://schema/tables/public/"), _VALUES),
    _joined(st.just("fluxbase://schema/tables/"), _VALUES, st.just("/notes")),
)
