"""Figures for a document: tables between marks, written by the run that has seen them.

A table stands between `<!-- figures: SECTION -->` and `<!-- end -->`; a run replaces those tables that it has figures for.
"""

from __future__ import annotations

import re


class Figures:
    """What was seen, by section, in the order in which it was seen first."""

    def __init__(self, sections: dict[str, dict[str, str]] | None = None, before: str = "") -> None:
        self._sections = {} if sections is None else sections
        self._before = before

    def of(self, whom: str) -> Figures:
        """The same, for lines that begin with somebody's name."""
        return Figures(self._sections, f"{whom}: ")

    def put(self, section: str, what: str, figure: object) -> None:
        """One line; a second figure for the same line replaces the first."""
        self._sections.setdefault(section, {})[self._before + what] = str(figure)

    def count(self, section: str, what: str, more: int = 1) -> None:
        """So many more than were counted on this line before."""
        before = self._sections.get(section, {}).get(self._before + what, "0")
        self.put(section, what, int(before) + more)

    def written_into(self, document: str) -> str:
        """The document with its tables replaced. `KeyError` names a section that it has no place for."""
        for section, rows in self._sections.items():
            table = "".join(f"| {what} | {figure} |\n" for what, figure in rows.items())
            mark = f"<!-- figures: {section} -->\n"
            whole = f"{mark}| what | seen |\n|---|---|\n{table}".replace("\\", r"\\")
            document, places = re.subn(re.escape(mark) + r".*?(?=<!-- end -->)", whole, document, flags=re.S)
            if places != 1:
                raise KeyError(section)
        return document
