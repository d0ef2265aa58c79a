"""A folder is read as functions: where they lie says their names, comments say for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluxbase.errors import InvalidArgument
from fluxbase.functions.files import read

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = "// @public\nexport default () => new Response()\n"


def put(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_ts", ".ts")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_files_and_folders_are_functions_and_folders_of_them_namespaces(tmp_path: Path) -> None:
    put(
        tmp_path, a_ts=PUBLIC, b__index_ts=PUBLIC, b__more_ts="", shop__c_ts=PUBLIC,
        shop__d__index_ts=PUBLIC, shop__d__x_ts="",
    )  # fmt: skip
    (tmp_path / "_shared").mkdir()
    (tmp_path / "_shared" / "s.ts").write_text("")
    (tmp_path / "_shared" / "fluxbase.d.ts").write_text("")
    (tmp_path / "notes.txt").write_text("")
    found = {(s.namespace, s.name): (s.path, set(s.files)) for s in read(tmp_path, 30)}
    shared = {"_shared/s.ts"}
    assert found == {
        ("default", "a"): ("a.ts", {"a.ts"} | shared),
        ("default", "b"): ("b/index.ts", {"b/index.ts", "b/more.ts"} | shared),
        ("shop", "c"): ("shop/c.ts", {"shop/c.ts"} | shared),
        ("shop", "d"): ("shop/d/index.ts", {"shop/d/index.ts", "shop/d/x.ts"} | shared),
    }


def test_comments_before_the_code_are_its_rules(tmp_path: Path) -> None:
    rules = "// @roles a, b\n// Of no account.\n// @scopes read:tables\n// @timeout 5s\n"
    more = "// @runs-as service\n// @isolation shared\n// @description Says hello.\n"
    put(tmp_path, a_ts=rules + more + "export default 1\n// @public\n", b_ts=PUBLIC)
    first, second = read(tmp_path, 7)
    assert first.rules.roles == ("a", "b")
    assert first.rules.scopes == ("read:tables",)
    assert (first.rules.timeout, second.rules.timeout) == (5, 7)
    assert (first.rules.runs_as, first.rules.isolation) == ("service", "shared")
    assert first.rules.description == "Says hello."
    assert (first.rules.public, second.rules.public) == (False, True)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a_ts": "export default 1"}, "a.ts: nobody may invoke it"),
        ({"a_ts": "// @pubic"}, "a.ts, line 1: no such annotation"),
        ({"a_ts": "\n// @timeout 2h"}, "a.ts, line 2: @timeout has a value"),
        ({"a_ts": "// @runs-as root"}, "a.ts, line 1: @runs-as"),
        ({"a_ts": "// @scopes read:table"}, "a.ts, line 1: @scopes"),
        ({"a_ts": PUBLIC, "a__index_ts": PUBLIC}, "default.a: there are two"),
        ({"Shop__a_ts": PUBLIC}, "Shop: a namespace has"),
        ({"a.b_ts": PUBLIC}, "a.b.ts: a function's name has"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    put(tmp_path, **files)
    with pytest.raises(InvalidArgument) as caught:
        read(tmp_path, 30)
    assert caught.value.message.startswith(reason)


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no such folder"):
        read(tmp_path / "absent", 30)
