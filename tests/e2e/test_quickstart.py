"""The quickstart says what really happens: the session is run again and compared line by line."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]


def lines(text: str) -> list[str]:
    """Without the width of columns, which depends on the length of a port."""
    return [re.sub(r" +", " ", line) for line in text.splitlines()]


def test_the_quickstart_is_what_happens(tmp_path: Path) -> None:
    made = tmp_path / "quickstart.md"
    command = [sys.executable, "-m", "packaging.quickstart", "--write", str(made)]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    committed = (CLONE / "docs" / "quickstart.md").read_text()
    difference = "\n".join(difflib.unified_diff(lines(committed), lines(made.read_text()), "committed", "now", n=1))
    assert not difference, f"`make quickstart` writes it anew:\n{difference}"
