"""Reads the small words of the grammar off a text; it must not know what they mean together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fluxbase.grammar.tree import Field, Step
from fluxbase.grammar.words import wrong

if TYPE_CHECKING:
    from fluxbase.errors import InvalidFilter

_SPACES: Final = re.compile(r"\s*+")
# A `-` is part of a name unless it begins an arrow; blanks are part of it between its words.
_WORD: Final = r'(?:[^\s"(),.:!*\-]|-(?!>))++'
_NAME: Final = re.compile(rf"{_WORD}(?: ++{_WORD})*+")
_TIGHT: Final = re.compile(_WORD)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ARROW: Final = re.compile(r"\s*+->(>?)\s*+")
_INDEX: Final = re.compile(r"-?\d{1,9}(?![^\s(),.:!*\-])")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_MOST_STEPS: Final = 32
_MOST_ESCAPES: Final = 10_000
_LONGEST_NAME: Final = 63
_LONGEST_KEY: Final = 1_000


class Scanner:
    """A text and the place that reading has come to."""

    __slots__ = ("place", "text", "where")

    def __init__(self, text: str, where: str, place: int = 0) -> None:
        self.text = text
        self.where = where
        self.place = place
        if "\x00" in text:
            raise self.wrong("a NUL character stands in no name", at=text.index("\x00"))

    @property
    def at_end(self) -> bool:
        """True when nothing but blanks is left."""
        self.blanks()
        return self.place >= len(self.text)

    def blanks(self) -> None:
        """Go past blanks."""
        found = _SPACES.match(self.text, self.place)
        if found:
            self.place = found.end()

    def sees(self, mark: str) -> bool:
        """Return whether `mark` is what comes next."""
        return self.text.startswith(mark, self.place)

    def take(self, mark: str) -> bool:
        """Go past `mark` and the blanks before it, if it is what comes next."""
        self.blanks()
        if not self.text.startswith(mark, self.place):
            return False
        self.place += len(mark)
        return True

    def expect(self, mark: str, what: str) -> None:
        """Go past `mark`.

        Raises:
            InvalidFilter: something else comes next.
        """
        if not self.take(mark):
            raise self.wrong(what)

    def matched(self, pattern: re.Pattern[str]) -> str | None:
        """Go past what `pattern` matches here and return it, or `None`."""
        found = pattern.match(self.text, self.place)
        if found is None:
            return None
        self.place = found.end()
        return found.group()

    def name(self, what: str = "a name", *, blanks: bool = True) -> str:
        """Return a name, plain or in double quotes.

        Args:
            what: what the error says is missing.
            blanks: whether a plain name may hold blanks between its words.

        Raises:
            InvalidFilter: there is none here.
        """
        self.blanks()
        start = self.place
        found = self.quoted() if self.sees('"') else self.matched(_NAME if blanks else _TIGHT)
        if found is None:
            raise self.wrong(f"{what} is missing")
        # As long as a name of Postgres can be: it would cut a longer one off without a word.
        if len(found) > _LONGEST_NAME or len(found.encode("utf-8", "replace")) > _LONGEST_NAME:
            raise self.wrong(f"a name of more than {_LONGEST_NAME} bytes", at=start)
        if _CONTROL.search(found):
            raise self.wrong("a control character stands in no name", at=start)
        return found

    def quoted(self) -> str:
        """Return the text between double quotes; a backslash protects what follows it.

        Raises:
            InvalidFilter: the quotes are not closed.
        """
        found = _QUOTED.match(self.text, self.place)
        if found is None:
            raise self.wrong("a quote is not closed")
        text = found.group(1)
        if text.count("\\") > _MOST_ESCAPES:
            raise self.wrong(f"more than {_MOST_ESCAPES} backslashes")
        self.place = found.end()
        return _ESCAPED.sub(r"\1", text) if "\\" in text else text

    def field(self, what: str = "a column", *, blanks: bool = True) -> Field:
        """Return a column with its path: `data->items->0->>name`.

        Raises:
            InvalidFilter: there is none here, or a step is wrong.
        """
        name = self.name(what, blanks=blanks)
        if not (found := _ARROW.match(self.text, self.place)):
            return Field(name)
        steps: list[Step] = []
        while found:
            self.place = found.end()
            text = bool(found.group(1))
            index = self.matched(_INDEX)
            key = int(index) if index is not None else self._key(blanks=blanks)
            steps.append(Step(key, text))
            if len(steps) > _MOST_STEPS:
                raise self.wrong(f"more than {_MOST_STEPS} steps")
            found = _ARROW.match(self.text, self.place)
        if any(step.text for step in steps[:-1]):
            raise self.wrong("'->>' gives text, which has no parts", "use '->' before the last")
        return Field(name, tuple(steps))

    def _key(self, *, blanks: bool) -> str:
        """Return a name within a JSON value, which may be longer than one of Postgres."""
        start = self.place
        found = self.quoted() if self.sees('"') else self.matched(_NAME if blanks else _TIGHT)
        if found is None:
            raise self.wrong("a key is missing")
        if len(found) > _LONGEST_KEY:
            raise self.wrong(f"a key of more than {_LONGEST_KEY} characters", at=start)
        return found

    def wrong(self, what: str, hint: str | None = None, *, at: int | None = None) -> InvalidFilter:
        """Return the error of this text at its present place, or at another one."""
        place = (self.place if at is None else at) + 1
        return wrong(f"{self.where}, character {place}", what, hint)
