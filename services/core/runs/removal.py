"""Deletes, and the undoing of creates: backward through the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.core.domain.conditions import failed, kept
from services.core.domain.names import CONTENTS
from services.core.domain.resource import State
from services.core.errors import OperationCancelled, PvesmbError
from services.core.runs.base import Run, Unit, typed, with_problem
from services.core.store import Transaction


class Removal(Run):
    """What cannot be removed stays DELETING, with a condition that says why, and is tried again by the drift check."""

    def remove(self) -> None:
        """Deletes. A removal can be cancelled only before its first step: what is gone cannot be brought back. One that
        an earlier operation had begun cannot be cancelled at all."""
        cancelled = self._hold()
        for unit in self.units:
            if unit.operation.attempts <= 1 and unit.operation.id in cancelled:
                with self._writing() as tx:
                    self._keep(tx, unit)
        if live := [unit for unit in self.units if unit.error is None]:
            self._backward(live, rollback=False)

    def _keep(self, tx: Transaction, unit: Unit) -> None:
        resources = tx.occupied_by(unit.operation.id)
        if any(resource.assigned["removal"].get("begun") for resource in resources):
            return
        for resource in resources:
            tx.save(kept(resource))
        tx.occupy([resource.name for resource in resources], "")
        unit.error = OperationCancelled("the removal was cancelled before it began; nothing was removed")
        self._end(tx, unit, unit.error)

    def _backward(self, units: Sequence[Unit], *, rollback: bool) -> None:
        """Runs `remove` of the steps in reverse. What cannot be removed stays DELETING with a condition that says why; the
        drift check, or another Delete, tries again."""
        problems = {unit.operation.id: unit.error for unit in units}
        again = [Unit(unit.operation) for unit in units]
        work = self._work(again, rollback=rollback, removing=True)
        steps = list(reversed(self._steps()))
        for at, step in enumerate(steps):
            live = [unit for unit in again if unit.error is None]
            if not live:
                break
            with self._writing() as tx:
                if not rollback:
                    self._show(tx, live, steps, at)
            try:
                with self._timed(step, "remove"):
                    step.remove(work.only(work.live()))
            except Exception as exception:
                error = typed(exception)
                for unit in live:
                    unit.fail(error)
            for unit in live:
                unit.collect()
        for unit, tried in zip(units, again, strict=True):
            unit.operation = replace(tried.operation, steps=unit.operation.steps if rollback else tried.operation.steps)
            unit.changes = tried.changes
            with self._writing() as tx:
                self._drop(tx, unit, tried.error)
                cause = problems[unit.operation.id]
                self._end(tx, unit, with_problem(cause, tried.error) if cause is not None else tried.error)

    def _drop(self, tx: Transaction, unit: Unit, problem: PvesmbError | None) -> None:
        occupied = tx.occupied_by(unit.operation.id)
        if problem is None:
            rest = tx.members(self._server, *CONTENTS) if self._whole else []
            for resource in [*occupied, *rest]:
                tx.drop(resource.name)
            return
        for resource in occupied:
            tx.save(failed(resource, "RemovalFailed", problem, self._t.clock.now(), State.DELETING))
        tx.occupy([resource.name for resource in occupied], "")
