"""Fixtures: private smbd instances."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.samba.lab import Lab, make_base, remove_base

NewLab = Callable[..., Lab]


@pytest.fixture
def new_lab() -> Iterator[NewLab]:
    """Makes instances, not yet started, and ends them with all they have."""
    labs: list[Lab] = []

    def make(**settings: Any) -> Lab:
        labs.append(Lab(make_base(), **settings))
        return labs[-1]

    if os.geteuid() != 0:
        pytest.skip("needs root: smbd acts as its users")
    try:
        yield make
    finally:
        for lab in labs:
            lab.stop()
            remove_base(lab.base)


@pytest.fixture
def lab(new_lab: NewLab) -> Lab:
    """A running instance with the users alice, bob and carol."""
    made = new_lab()
    people = [made.user(id, number) for number, id in enumerate(("alice", "bob", "carol"))]
    changes = made.apply(*(made.change(row) for row in people), whole=True)
    assert not any(change.error for change in changes)
    return made
