"""The tables of a document."""

from __future__ import annotations

import pytest

from tests.figures import Figures

DOCUMENT = "# A\n<!-- figures: kills -->\nold\n<!-- end -->\nprose\n<!-- figures: fuzz -->\nkept\n<!-- end -->\n"


def test_replaces_its_own_table_only() -> None:
    figures = Figures()
    figures.put("kills", "survived", 49)
    figures.put("kills", "survived", 50)
    figures.put("kills", r"back\slash", "a | b")
    text = figures.written_into(DOCUMENT)
    assert "| survived | 50 |\n" in text and r"| back\slash |" in text
    assert "old" not in text and "kept" in text and text.count("<!-- end -->") == 2
    assert figures.written_into(text) == text


def test_a_section_without_a_place() -> None:
    figures = Figures()
    figures.put("nowhere", "x", 1)
    with pytest.raises(KeyError, match="nowhere"):
        figures.written_into(DOCUMENT)


def test_figures_of_somebody_are_lines_of_their_own() -> None:
    figures = Figures()
    figures.put("load", "calls", 1)
    figures.of("lxc").put("load", "calls", 2)
    figures.of("lxc").count("load", "calls", 3)
    text = figures.written_into("<!-- figures: load -->\n<!-- end -->")
    assert "| calls | 1 |" in text and "| lxc: calls | 5 |" in text
