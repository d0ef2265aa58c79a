"""What the catalog knows of one table; frozen, without any connection to Postgres."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from fluxbase.db.view_rule import shown_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["table", "partitioned_table", "view", "materialized_view", "foreign_table"]
KINDS: Final[dict[str, Kind]] = {
    "r": "table",
    "p": "partitioned_table",
    "v": "view",
    "m": "materialized_view",
    "f": "foreign_table",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `type` is Postgres' own spelling and `category` that of `pg_type.typcategory`.

    `cast` is the base type with its schema and without its length: SQL that names it means the
    same on every search path, and never cuts a value off to make it fit.
    """

    name: str
    type: str
    base: str
    cast: str
    category: str
    is_array: bool
    nullable: bool
    default: str | None
    generated: bool
    identity: bool
    comment: str | None
    values: tuple[str, ...]
    # The quoted name of the function that computes it from the row; a stored column has none.
    function: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference from `columns` to `foreign_columns` of the relation with oid `foreign`.

    A partition inherits those of its table. `follows` tells that rows change or go with the ones
    that they refer to (`ON DELETE CASCADE`, `SET NULL`, `SET DEFAULT`).
    """

    name: str
    columns: tuple[str, ...]
    foreign: int
    foreign_columns: tuple[str, ...]
    inherited: bool = False
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """One index and what it is on."""

    name: str
    columns: tuple[str, ...]
    unique: bool
    method: str


@dataclass(frozen=True, slots=True)
class Policy:
    """One row-level security policy; no roles means everybody."""

    name: str
    command: str
    permissive: bool
    roles: tuple[str, ...]
    using: str | None
    check: str | None


@dataclass(frozen=True, slots=True)
class Relation:
    """One table, view or foreign table."""

    oid: int
    schema: str
    name: str
    kind: Kind
    comment: str | None
    rls: bool
    invoker: bool
    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]
    uniques: tuple[tuple[str, ...], ...]
    foreign_keys: tuple[ForeignKey, ...]
    indexes: tuple[Index, ...]
    policies: tuple[Policy, ...]
    # Columns that functions of the row compute, by name; those of stored columns are left out.
    computed: Mapping[str, Column] = field(default_factory=dict[str, Column])
    # Of a view: the relation and the number of the column that each of its columns shows.
    origins: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    numbers: Mapping[int, str] = field(default_factory=dict[int, str])
    # Other tables inherit from it, for whose rows its keys do not hold.
    has_heirs: bool = False

    @property
    def full_name(self) -> str:
        """Return `schema.name`."""
        return f"{self.schema}.{self.name}"

    @property
    def protected(self) -> bool:
        """True when Postgres decides row by row: by its own policies, or by those it reads."""
        if self.kind == "view":
            return self.invoker
        return self.rls and self.kind in ("table", "partitioned_table")


@dataclass(frozen=True, slots=True)
class Grant:
    """What one role may do with one relation; the column sets already hold whole-table rights."""

    select: frozenset[str] = frozenset()
    insert: frozenset[str] = frozenset()
    update: frozenset[str] = frozenset()
    delete: bool = False
    computed: frozenset[str] = frozenset()

    @property
    def columns(self) -> frozenset[str]:
        """Return the columns on which any privilege is held: those the caller may know of."""
        return self.select | self.insert | self.update

    @property
    def names(self) -> list[str]:
        """Return the privileges held on at least one column, in Postgres' order."""
        held = (
            ("select", self.select),
            ("insert", self.insert),
            ("update", self.update),
            ("delete", self.delete),
        )
        return [name for name, value in held if value]


@dataclass(frozen=True, slots=True)
class Visible:
    """A relation as one caller sees it."""

    relation: Relation
    grant: Grant
    # Everything readable, in the table's order: what `*` means to this caller.
    readable: tuple[str, ...] = field(default=())

    def column(self, name: str) -> Column | None:
        """Return a column that the caller may read, stored or computed."""
        if name in self.grant.select:
            return self.relation.columns[name]
        return self.relation.computed[name] if name in self.grant.computed else None


def relation(data: Mapping[str, Any]) -> Relation:
    """Return the relation that one row of the query `load_tables` tells of."""
    constraints = data["constraints"]
    keys = [k for k in constraints if k["type"] == "p"]
    return Relation(
        oid=data["oid"],
        schema=data["schema"],
        name=data["name"],
        kind=KINDS[data["kind"]],
        comment=data["comment"],
        rls=data["rls"],
        invoker=data["invoker"],
        columns={c["name"]: _column(c) for c in data["columns"]},
        primary_key=tuple(keys[0]["columns"]) if keys else (),
        uniques=tuple(tuple(k["columns"]) for k in constraints if k["type"] == "u"),
        foreign_keys=tuple(
            ForeignKey(
                k["name"],
                tuple(k["columns"]),
                k["foreign"],
                tuple(k["foreign_columns"]),
                k["inherited"],
                k["follows"],
            )
            for k in constraints
            if k["type"] == "f"
        ),
        indexes=tuple(
            Index(i["name"], tuple(i["columns"] or ()), i["unique"], i["method"])
            for i in data["indexes"]
        ),
        policies=tuple(
            Policy(
                name=p["name"],
                command=p["command"],
                permissive=p["permissive"],
                roles=tuple(p["roles"] or ()),
                using=p["using"],
                check=p["check"],
            )
            for p in data["policies"]
        ),
        computed={c["name"]: _column(c) for c in data["computed"]},
        origins=shown_columns(data["rule"]) if data["rule"] else {},
        has_heirs=data["heirs"],
        numbers={c["number"]: c["name"] for c in data["columns"]},
    )


def _column(data: Mapping[str, Any]) -> Column:
    return Column(
        name=data["name"],
        type=data["type"],
        base=data["base"],
        cast=data["cast"],
        category=data["category"],
        is_array=data["element"],
        nullable=not data.get("not_null"),
        default=data.get("default"),
        generated=data.get("generated", True),
        identity=data.get("identity", False),
        comment=data["comment"],
        values=tuple(data["values"] or ()),
        function=data.get("function"),
    )
