"""Output: one JSON document for programs, tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pvesmb.cli._text import clean

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

#: Columns of a table that is read by a program: rich would cut at 80.
_ENDLESS = 10_000


def print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def as_json(message: Message) -> dict[str, Any]:
    """protobuf-JSON of a message. What is in an Any must be known: so all of the contract is imported."""
    from google.protobuf.json_format import MessageToDict

    import pvesmb._resources  # noqa: F401

    document: dict[str, Any] = MessageToDict(message)
    return document


def print_line(text: str) -> None:
    sys.stdout.write(clean(text) + "\n")


def note(text: str) -> None:
    """A line for people, beside the output proper."""
    sys.stderr.write(clean(text) + "\n")
    sys.stderr.flush()


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A table as wide as it needs to be; on a terminal as wide as that."""
    if not rows:
        note(empty)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _ENDLESS, highlight=False, markup=False, emoji=False)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        grid.add_column(header, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(clean(cell)) for cell in row))
    with console.capture() as capture:
        console.print(grid)
    for line in capture.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def fields(rows: Sequence[tuple[str, str]]) -> None:
    """One resource: a line for each field that has a value."""
    shown = [(name, value) for name, value in rows if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        print_line(f"{name.ljust(width)}  {value}")


def word(enum: Any, value: int, prefix: str) -> str:
    """A value of an enum as people write it: `read-write` of ACCESS_LEVEL_READ_WRITE."""
    known = enum.values_by_number.get(value)
    return known.name.removeprefix(prefix).lower().replace("_", "-") if known is not None else str(value)


def state(resource: Any) -> str:
    from pvesmb.v1 import common_pb2

    return word(common_pb2.ResourceState.DESCRIPTOR, resource.state, "RESOURCE_STATE_")


def conditions(resource: Any) -> list[tuple[str, str]]:
    """What is wrong with a resource and what to do, as fields."""
    rows = []
    for condition in resource.conditions:
        rows.append(("condition", f"{condition.type} ({condition.reason}): {condition.message}"))
        if condition.action:
            rows.append(("what to do", condition.action))
    return rows


def moment(timestamp: Timestamp) -> str:
    """A time in UTC; empty for none."""
    if not timestamp.seconds and not timestamp.nanos:
        return ""
    return timestamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")


def labels(resource: Any) -> str:
    return ", ".join(f"{key}={resource.labels[key]}" for key in sorted(resource.labels))


def common(resource: Any) -> list[tuple[str, str]]:
    """The fields that every resource ends with."""
    return [
        ("labels", labels(resource)),
        ("created", moment(resource.create_time)),
        ("changed", moment(resource.update_time)),
        ("generation", _generation(resource)),
        ("etag", resource.etag),
        ("uid", resource.uid),
        *conditions(resource),
    ]


def _generation(resource: Any) -> str:
    if resource.generation == resource.observed_generation:
        return str(resource.generation)
    return f"{resource.generation} (confirmed: {resource.observed_generation})"


def listed(key: str, items: Sequence[Message], unreachable: Sequence[str]) -> None:
    """A list as JSON."""
    print_json({key: [as_json(item) for item in items], "unreachable": list(unreachable)})


def warn_unreachable(unreachable: Sequence[str]) -> None:
    for name in unreachable:
        note(f"Warning: {name} cannot be reached; what it holds is missing here.")
