"""What is printed: tables and details for people, JSON for programs. Text from the server is cleaned first."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

#: Harmless in JSON for a program, but not on a terminal: DEL, C1 controls, line separators, changes of direction.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """The text without control characters, so that a name or comment cannot steer the terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text)


def line(text: str = "") -> None:
    """One line on standard output."""
    print(clean(text))


def note(text: str) -> None:
    """One line for people, on standard error."""
    print(clean(text), file=sys.stderr)


def document(value: Any, *, error: bool = False) -> None:
    """One JSON document."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    safe = _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    print(safe, file=sys.stderr if error else sys.stdout)


def as_dict(message: Any) -> dict[str, Any]:
    """A message in protobuf's JSON mapping: camelCase, 64-bit numbers as strings, sizes in bytes."""
    from google.protobuf.json_format import MessageToDict

    result: dict[str, Any] = MessageToDict(message)
    return result


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """A table; where there is nothing, a sentence on standard error, so that standard output is empty too."""
    found = [[clean(cell) for cell in row] for row in rows]
    if not found:
        note(empty)
        return
    if not sys.stdout.isatty():
        _plain([list(columns), *found])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    pretty = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        pretty.add_column(column, overflow="fold")
    for row in found:
        pretty.add_row(*(Text(cell) for cell in row))
    Console().print(pretty)


def details(rows: Iterable[tuple[str, str]]) -> None:
    """Labels and values, one a line."""
    found = list(rows)
    width = max((len(label) for label, _ in found), default=0)
    for label, value in found:
        line(f"{label + ':':<{width + 1}} {value}")


def _plain(rows: Sequence[Sequence[str]]) -> None:
    """Columns set apart by two spaces at least, never cut: this is read by programs and pagers."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
