"""Pages of lists: sizes, opaque tokens, filters (AIP-158, AIP-160)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from services.core.domain.resource import Resource
from services.core.errors import InvalidField
from services.kit import pages

T = TypeVar("T")

MAX_FILTER = 10_000
#: One term with what follows it. Nothing in it can match one text in two ways, so that a hostile filter costs no more time
#: than its length.
_TERM = re.compile(r'\s*(state|labels\.[a-z0-9._/-]+)\s*=\s*("[^"]*"|[^\s"]+)(\s+AND\s|\s*\Z)')


@dataclass(frozen=True)
class Position:
    """Where a list goes on. `scope` binds the token to one list and filter."""

    scope: str
    after: str

    def token(self) -> str:
        return pages.encode(self.scope, self.after)


def after(token: str, scope: str) -> str:
    """The place that a page token of this list stands for; empty for no token."""
    return pages.decode(token, scope)[0] if token else ""


def after_number(token: str, scope: str) -> int:
    """The same for a list that goes by numbers; 0 for no token."""
    place = after(token, scope)
    if place and re.fullmatch(r"[1-9][0-9]{0,17}", place) is None:
        raise pages.invalid()
    return int(place or 0)


def parse_filter(text: str) -> Callable[[Resource[Any]], bool]:
    """The predicate of a filter: comparisons by `=` of `state` and `labels.KEY`, joined by AND."""
    if len(text) > MAX_FILTER:
        raise InvalidField.of("filter", f"must be at most {MAX_FILTER} characters long")
    terms: list[tuple[str, str]] = []
    at, more = 0, bool(text.strip())
    while more:
        match = _TERM.match(text, at)
        if match is None:
            part = text[at:].strip()[:100]
            raise InvalidField.of("filter", f"{part!r} is not of the form state = VALUE or labels.KEY = VALUE")
        terms.append((match[1], match[2].strip('"')))
        at, more = match.end(), bool(match[3].strip())

    def fits(resource: Resource[Any]) -> bool:
        for field, value in terms:
            found = resource.state.value if field == "state" else resource.spec.labels.get(field.removeprefix("labels."))
            if found != value:
                return False
        return True

    return fits


def fill(
    fetch: Callable[[str, int], Sequence[T]], key: Callable[[T], str], fits: Callable[[T], bool], start: str, size: int
) -> tuple[list[T], str]:
    """Reads on from `start` until `size` rows fit; with them the key to go on after, empty at the end."""
    rows: list[T] = []
    place = start
    while True:
        got = fetch(place, size + 1)
        for i, row in enumerate(got):
            if len(rows) == size:
                return rows, place
            place = key(row)
            if fits(row):
                rows.append(row)
            if i == len(got) - 1 and len(got) <= size:
                return rows, ""
        if not got:
            return rows, ""
