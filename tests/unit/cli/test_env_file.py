"""Files of `NAME=value` lines are read as they are meant, and errors tell no value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fluxbase.cli.env_file import read
from fluxbase.errors import InvalidArgument

if TYPE_CHECKING:
    from pathlib import Path


def put(folder: Path, text: str) -> Path:
    path = folder / ".env"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A = b c ", "b c"),
        ("A=", ""),
        ("A=b#c", "b#c"),
        ("A=b # comment", "b"),
        ("A=#comment", ""),
        ("A=b=c==", "b=c=="),
        ("A='b # \"c\" \\n' # comment", 'b # "c" \\n'),
        ('A="b # \\"c\\"\\n\\\\"', 'b # "c"\n\\'),
        ('A=""', ""),
        ("A=''", ""),
        ("\ufeffA=b\r", "b"),
    ],
)
def test_a_line_means_its_value(tmp_path: Path, line: str, value: str) -> None:
    assert read(put(tmp_path, f"{line}\n\n# comment\n  # another\nB=2\n")) == {
        "A": value,
        "B": "2",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\ncanary\n", "line 2: NAME=value"),
        ('A="canary\n', "line 1: NAME=value"),
        ("A='canary' canary\n", "line 1: NAME=value"),
        ("1A=canary\n", "line 1: NAME=value"),
        ("A=canary\nA=canary\n", "line 2: its name came before"),
    ],
)
def test_what_is_no_line_is_told_by_its_number_alone(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(put(tmp_path, text))
    assert said in caught.value.message
    assert "canary" not in caught.value.message


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"A=\xff")
    for name in ("bad", "none"):
        with pytest.raises(InvalidArgument, match="--env-file"):
            read(tmp_path / name)
