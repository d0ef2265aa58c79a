"""Draws calls per second as bars in plain SVG, readable on light and dark pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from tests.bench.report import groups
from tests.bench.roster import ENTRIES, GROUPS, OURS

if TYPE_CHECKING:
    from tests.bench.results import Results

_WIDTH: Final = 760
_LABELS: Final = 270  # where the labels end and the bars begin
_LONGEST: Final = 400
_BAR: Final = 16
_STEP: Final = 24
_HEADING: Final = 40
_STYLE: Final = """
  text { font: 13px system-ui, sans-serif; fill: #24292f; }
  .heading { font-weight: 600; }
  .small { font-size: 11px; fill: #57606a; }
  .ours { fill: #1f6feb; }
  .other { fill: #afb8c1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .small { fill: #9198a1; }
    .ours { fill: #58a6ff; }
    .other { fill: #57606a; }
  }
"""


def chart(results: Results, footer: str) -> str:
    """Return the picture: a block for each group of servers, each with its own scale."""
    drawn: list[str] = []
    top = 0
    for group, names in groups(results).items():
        shown = [name for name in names if ENTRIES[name].drawn]
        if not shown:
            continue
        drawn.append(_text(0, top + 24, f"{GROUPS[group]}, calls per second", "heading"))
        top += _HEADING
        drawn += _bars(results, shown, top)
        top += _STEP * len(shown)
    drawn.append(_text(0, top + 20, footer, "small"))
    height = top + 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img">\n'
        f"<title>Calls per second of Fluxbase and its peers; more is better</title>\n"
        f"<style>{_STYLE}</style>\n" + "\n".join(drawn) + "\n</svg>\n"
    )


def _bars(results: Results, names: list[str], top: int) -> list[str]:
    rates = {name: results.middle(name).rate for name in names}
    most = max(rates.values())
    lines: list[str] = []
    for place, (name, rate) in enumerate(sorted(rates.items(), key=lambda pair: -pair[1])):
        entry = ENTRIES[name]
        y = top + place * _STEP
        length = max(1, round(rate / most * _LONGEST))
        # Ours and its variants, told by the label of the one that is compared.
        ours = entry.label.startswith(ENTRIES[OURS["ten"]].label)
        lines += [
            _text(_LABELS - 8, y + 13, entry.label, "", anchor="end"),
            f'<rect class="{"ours" if ours else "other"}" x="{_LABELS}" y="{y}" rx="2" '
            f'width="{length}" height="{_BAR}"/>',
            _text(_LABELS + length + 6, y + 13, f"{rate:,.0f}", ""),
        ]
    return lines


def _text(x: int, y: int, text: str, name: str, *, anchor: str = "start") -> str:
    kind = f' class="{name}"' if name else ""
    return f'<text{kind} x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
