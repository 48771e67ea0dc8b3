"""The quickstart says what really happens: the session is run again and compared line by line."""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.node import template

CLONE = Path(__file__).resolve().parents[2]


def lines(text: str) -> list[str]:
    """Without the width of columns, which depends on the length of a port."""
    return [re.sub(r" +", " ", line) for line in text.splitlines()]


@pytest.mark.parametrize(("mode", "document"), [("native", "quickstart.md"), ("lxc", "quickstart-lxc.md")])
def test_the_quickstart_is_what_happens(mode: str, document: str, tmp_path: Path) -> None:
    if mode == "lxc":
        template()  # from here it reaches no mirror
    made = tmp_path / document
    command = [sys.executable, "-m", "packaging.quickstart", "--mode", mode, "--write", str(made)]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    committed = (CLONE / "docs" / document).read_text()
    difference = "\n".join(difflib.unified_diff(lines(committed), lines(made.read_text()), "committed", "now", n=1))
    assert not difference, f"`make quickstart` writes it anew:\n{difference}"
