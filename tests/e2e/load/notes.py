"""What a client notes, and what it knows of a resource."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pvesmb

_OUTPUT = ("create_time", "update_time", "etag", "generation", "observed_generation", "state", "conditions")


@dataclass
class Tally:
    """What was called and answered. Every line of `wrong` is a disagreement with the model."""

    calls: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @contextmanager
    def expecting(self, what: str, *allowed: type[pvesmb.PvesmbError], must: bool = False) -> Iterator[None]:
        """A call that may fail with these errors, or with `must` has to."""
        self.calls[what] += 1
        try:
            yield
        except pvesmb.PvesmbError as error:
            self.errors[f"{error.code_name} {error.reason}"] += 1
            if not isinstance(error, allowed) or not error.reason or not error.help:
                self.wrong.append(f"{what}: {type(error).__name__} {error} {error.reason}")
        else:
            if must:
                self.wrong.append(f"{what}: accepted, but it had to be refused with {allowed}")

    def same(self, what: str, seen: object, wanted: object) -> None:
        if seen != wanted:
            self.wrong.append(f"{what}: {seen} instead of {wanted}"[:3000])


@dataclass
class Known:
    """A resource as the model has it: what can be set, with name and uid; its generation; and the etag of that."""

    kind: str
    message: Any
    generation: int
    etag: str
    former_etag: str = ""
    password: int = 1


def plain(message: Any) -> Any:
    """A resource without what changes by itself."""
    copy = type(message)()
    copy.CopyFrom(message)
    for name in _OUTPUT:
        copy.ClearField(name)
    return copy


def only(message: Any, name: str) -> Any:
    """A message with one field of another."""
    copy = type(message)()
    copy.CopyFrom(message)
    for descriptor, _ in message.ListFields():
        if descriptor.name != name:
            copy.ClearField(descriptor.name)
    return copy
