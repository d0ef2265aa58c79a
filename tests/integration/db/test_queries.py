"""Every named block of SQL is one that Postgres takes, with the parameters its header names."""

from __future__ import annotations

from typing import Any

import pytest

from fluxbase.db.queries import parse, queries


@pytest.mark.parametrize("name", sorted(queries()))
async def test_postgres_prepares_every_block_with_the_parameters_of_its_header(
    name: str, owner: Any
) -> None:
    query = queries()[name]
    statement = await owner.prepare(query.sql)
    assert len(statement.get_parameters()) == len(query.parameters)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT 1\n-- a()\nSELECT 2", "before the first"),
        ("-- a()\n-- only words\n", "has no statement"),
        ("SELECT 1", "before the first"),
    ],
)
def test_a_malformed_file_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(text)


def test_a_call_with_other_parameters_than_the_header_names_is_refused() -> None:
    with pytest.raises(TypeError, match="find_key: missing or unknown parameters: id, key"):
        queries()["find_key"].bind({"key": 1})
