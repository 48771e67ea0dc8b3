"""Runs operations of one file server through its mode's steps, and undoes what fails.

Level-triggered: there is no journal of steps. Killed at any point, the same operations run again from the top, and what is
done is seen as done. One thing written on the way matters: an operation's `error`. From then on it is being undone, and a
restart goes on undoing.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.core.domain.operation import Operation, Verb
from services.core.runs.base import LeaseLost, Tools
from services.core.runs.making import Making
from services.core.runs.removal import Removal
from services.core.runs.repair import Repair

__all__ = ["LeaseLost", "Tools", "execute"]


def execute(tools: Tools, operations: Sequence[Operation]) -> None:
    """Brings all these operations, which are of one file server and one direction, to their end."""
    match operations[0].verb:
        case Verb.REPAIR:
            Repair(tools, operations).repair()
        case Verb.DELETE:
            Removal(tools, operations).remove()
        case _:
            Making(tools, operations).make()
