"""`python -m fluxbase.reference [--check]`: write the generated files, or say which are stale."""

from __future__ import annotations

import sys
from pathlib import Path

from fluxbase.reference.pages import pages


def main(root: Path, *, check: bool) -> int:
    """Write every generated file below `root`; with `check` change nothing, return 1 if stale."""
    stale = [
        name
        for name, text in pages().items()
        if not (root / name).is_file() or (root / name).read_text("utf-8") != text
    ]
    if not check:
        for name in stale:
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(pages()[name], "utf-8")
    for name in stale:
        sys.stdout.write(f"{'stale' if check else 'wrote'} {name}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(Path(), check="--check" in sys.argv[1:]))
