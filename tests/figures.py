"""Figures for a document: tables between marks, written by the run that has seen them.

A table stands between `<!-- figures: SECTION -->` and `<!-- end -->`; a run replaces those tables that it has figures for.
"""

from __future__ import annotations

import re


class Figures:
    """What was seen, by section, in the order in which it was seen first."""

    def __init__(self) -> None:
        self._sections: dict[str, dict[str, str]] = {}

    def put(self, section: str, what: str, figure: object) -> None:
        """One line; a second figure for the same line replaces the first."""
        self._sections.setdefault(section, {})[what] = str(figure)

    def count(self, section: str, what: str, more: int = 1) -> None:
        """So many more than were counted on this line before."""
        before = self._sections.get(section, {}).get(what, "0")
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
