"""Lists that fetch their pages as they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Listing(Generic[T]):
    """All items of a list, over all its pages, fetched as they are needed; each iteration begins anew.

    `unreachable` names the backends that could not be asked, as far as the pages have been read: what they hold is
    missing.
    """

    def __init__(self, fetch: Callable[[str], tuple[Sequence[T], str, Sequence[str]]]) -> None:
        self._fetch = fetch
        self.unreachable: list[str] = []

    def pages(self) -> Iterator[Sequence[T]]:
        """The pages as the gateway cuts them."""
        token = ""
        while True:
            items, token, unreachable = self._fetch(token)
            self.unreachable += [name for name in unreachable if name not in self.unreachable]
            yield items
            if not token:
                return

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page
