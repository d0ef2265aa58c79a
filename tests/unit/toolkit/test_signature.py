"""A signature is a schema, and a wrong argument is told by name and never by value."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import Field

from fluxbase.config import Config
from fluxbase.errors import ConfigError, InvalidArgument
from fluxbase.toolkit import Context, resource, tool
from fluxbase.toolkit.resource import resources_of
from fluxbase.toolkit.signature import Signature
from fluxbase.toolkit.tool import tools_of
from fluxbase.toolkit.toolbox import Toolbox


@dataclass(frozen=True)
class Given:
    many: int


async def sample(
    ctx: Context,
    table: Annotated[str, Field(description="Which")],
    schema: str | None = None,
    json: dict[str, Any] | None = None,
    copy: Annotated[int, Field(ge=1)] = 5,
) -> Given:
    """Take arguments of the names that models refuse."""
    raise NotImplementedError


SIGNATURE = Signature(sample)


def complaint(**arguments: object) -> str:
    with pytest.raises(InvalidArgument) as refused:
        SIGNATURE.read(arguments)
    return refused.value.message


def test_the_schema_is_that_of_the_signature_without_noise() -> None:
    assert SIGNATURE.input_schema == {
        "type": "object",
        "additionalProperties": False,
        "required": ["table"],
        "properties": {
            "table": {"type": "string", "description": "Which"},
            "schema": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "json": {
                "anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}],
                "default": None,
            },
            "copy": {"type": "integer", "minimum": 1, "default": 5},
        },
    }
    assert SIGNATURE.output_schema == {
        "type": "object",
        "properties": {"many": {"type": "integer"}},
        "required": ["many"],
    }


def test_defaults_are_filled_in() -> None:
    assert SIGNATURE.read({"table": "t"}) == {
        "table": "t",
        "schema": None,
        "json": None,
        "copy": 5,
    }


def test_faults_are_told_by_name() -> None:
    assert complaint() == "'table' is required"
    assert "unknown argument 'tabel'; did you mean 'table'?" in complaint(table="t", tabel="t")
    assert "unknown argument 'zzz'; known: table, schema" in complaint(table="t", zzz=1)
    assert complaint(table=5) == "'table': should be a valid string"
    assert complaint(table="t", copy=0) == "'copy': should be greater than or equal to 1"


def test_a_fault_never_repeats_the_value() -> None:
    assert "hunter2" not in complaint(table=["hunter2"], copy="hunter2", json="hunter2")
    assert "(unprintable)" in complaint(table="t", **{"\x1b[2J": 1})


def module(**members: Any) -> ModuleType:
    made = ModuleType("made_for_a_test")
    for name, member in members.items():
        member.__module__ = made.__name__
        setattr(made, name, member)
    sys.modules.pop(made.__name__, None)
    return made


def test_an_unknown_scope_is_refused_at_import() -> None:
    with pytest.raises(ValueError, match="read:everything"):
        tool(scopes=("read:everything",), title="x")
    with pytest.raises(ValueError, match="read:everything"):
        resource("x://", scopes=("read:everything",), title="x")


def test_a_tool_without_a_docstring_is_refused() -> None:
    @tool(scopes=("read:tables",), title="x")
    async def bare(ctx: Context) -> Given:
        raise NotImplementedError

    with pytest.raises(ValueError, match="docstring"):
        tools_of(module(bare=bare))


def test_a_resource_without_a_docstring_is_refused() -> None:
    @resource("x://y", scopes=("read:tables",), title="x")
    async def bare(ctx: Context) -> str:
        raise NotImplementedError

    with pytest.raises(ValueError, match="docstring"):
        resources_of(module(bare=bare))


def test_two_tools_of_one_name_are_refused() -> None:
    @tool(scopes=("read:tables",), title="x")
    async def same(ctx: Context) -> Given:
        """Do something."""
        raise NotImplementedError

    first, second = module(same=same), module(same=same)
    with pytest.raises(ValueError, match="same"):
        Toolbox([first, second])


def test_an_allowlist_that_names_nothing_stops_the_start() -> None:
    from fluxbase.app.rooms import toolbox

    config = Config.model_validate({"mcp": {"allowed_tools": ["query_tabel"]}})
    with pytest.raises(ConfigError, match="did you mean 'query_table'"):
        toolbox(config)
