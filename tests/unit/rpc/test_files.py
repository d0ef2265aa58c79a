"""Files of procedures are read strictly: what is meant for whom is never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluxbase.errors import InvalidArgument
from fluxbase.rpc.files import read

if TYPE_CHECKING:
    from pathlib import Path

BODY = "CREATE OR REPLACE FUNCTION x() RETURNS int LANGUAGE sql AS 'SELECT 1';\n"


def put(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_folders_are_namespaces_and_comments_are_rules(tmp_path: Path) -> None:
    put(
        tmp_path,
        "zero.sql",
        f"-- Some words.\n-- @public\n\n{BODY}-- @timeout 9s is no rule here\n",
    )
    put(
        tmp_path,
        "orders/close.sql",
        "--@roles authenticated, staff\n-- @scopes read:tables\n-- @timeout 1m30s\n"
        f"-- @max-rows 7\n-- @read-only true\n-- @cache 60s\n{BODY}",
    )
    put(tmp_path, "notes.txt", "not SQL")
    close, zero = read(tmp_path)
    assert (zero.namespace, zero.name, zero.rules) == ("default", "zero", {"public": True})
    assert (close.namespace, close.name, close.path) == ("orders", "close", "orders/close.sql")
    assert close.rules == {
        "roles": ["authenticated", "staff"],
        "scopes": ["read:tables"],
        "timeout": 90.0,
        "max_rows": 7,
        "read_only": True,
        "cache": 60.0,
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.sql", BODY, "a.sql: nobody may call it"),
        ("a.sql", f"-- @publik\n{BODY}", "a.sql, line 1: no such annotation"),
        ("a.sql", f"\n-- @public\n-- @timeout soon\n{BODY}", "a.sql, line 3: @timeout"),
        ("a.sql", f"-- @public\n-- @timeout 2h\n{BODY}", "@timeout"),
        ("a.sql", f"-- @public\n-- @max-rows 0\n{BODY}", "@max-rows"),
        ("a.sql", f"-- @public\n-- @cache 60s\n{BODY}", "a.sql: @cache is for procedures that are"),
        ("a.sql", f"-- @public\n-- @read-only\n-- @cache 25h\n{BODY}", "@cache"),
        ("a.sql", f"-- @public maybe\n{BODY}", "@public"),
        ("a.sql", f"-- @public\n-- @scopes nothing:here\n{BODY}", "@scopes"),
        ("a b.sql", f"-- @public\n{BODY}", "name has"),
        ("Big/a.sql", f"-- @public\n{BODY}", "namespace has"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    put(tmp_path, name, text)
    with pytest.raises(InvalidArgument) as caught:
        read(tmp_path)
    assert said in caught.value.message


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no such folder"):
        read(tmp_path / "none")
