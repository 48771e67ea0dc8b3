"""Text from a server on its way to a terminal."""

from __future__ import annotations

import unicodedata

#: Control, surrogate, and the two characters that end lines without being controls.
_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: Characters that reverse the order of what follows, and so make one name look like another (UAX #9).
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """The text on one line and without anything that a terminal would obey."""
    kept = (" " if c in "\t\n\r" else c for c in text)
    return "".join(c for c in kept if unicodedata.category(c) not in _CATEGORIES and c not in _DIRECTIONS)


def clean_lines(text: str) -> str:
    """The same for text of several lines, which stay."""
    return "\n".join(clean(line.expandtabs(4)) for line in text.split("\n"))
