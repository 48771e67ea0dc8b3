"""Creates and updates: forward through the steps, and back where it fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from services.core.codec import SPECS, decode
from services.core.domain.account import GroupSpec
from services.core.domain.conditions import failed, settled
from services.core.domain.names import Kind
from services.core.domain.operation import StepState, Verb
from services.core.domain.resource import State
from services.core.domain.share import PrincipalKind, ShareSpec
from services.core.errors import OperationCancelled, PvesmbError
from services.core.runs.base import Unit, typed, with_problem
from services.core.runs.removal import Removal
from services.core.steps import Contents, Work
from services.core.store import Transaction
from services.core.store.rows import snapshot_of


class Teller:
    """Passes on how far a step is, once a second at most: each time is a write to the store."""

    def __init__(self, tell: Callable[[int, str], None]) -> None:
        self._tell = tell
        self._next = 0.0

    def __call__(self, done: float, text: str) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + 1.0
            self._tell(min(99, int(done * 100)), text)


class Making(Removal):
    """A create that fails is removed again, an update goes back to what was before."""

    def make(self) -> None:
        """Creates or updates. A create that fails is removed again, an update goes back to what was before."""
        for unit in self.units:
            if unit.operation.error is not None:
                unit.error = PvesmbError.from_json(unit.operation.error)
        fresh = [unit for unit in self.units if unit.error is None]
        if fresh:
            self._forward(replace(self._work(fresh), cancelled=self._cancelled), fresh)
        if broken := [unit for unit in self.units if unit.error is not None]:
            with self._writing() as tx:
                for unit in broken:
                    self._note_error(tx, unit)
        creates = [unit for unit in broken if unit.operation.verb is Verb.CREATE]
        if creates:
            self._backward(creates, rollback=True)
        for unit in broken:
            if unit.operation.verb is not Verb.CREATE:
                self._put_back(unit)
        self._settle([unit for unit in self.units if unit.error is None])

    def _forward(self, work: Work, units: Sequence[Unit]) -> None:
        """Runs `ensure` of the steps in order, until all are done or no unit is left that could succeed."""
        steps = self._steps()
        for at, step in enumerate(steps):
            with self._writing() as tx:
                cancelled = tx.cancels([unit.operation.id for unit in units])
                for unit in units:
                    if unit.error is None and unit.operation.id in cancelled:
                        unit.fail(OperationCancelled("the operation was cancelled and undone"))
                live = [unit for unit in units if unit.error is None]
                if not live:
                    return
                self._show(tx, live, steps, at)
            told = replace(work, progress=Teller(partial(self._tell, live, at)))
            try:
                with self._timed(step, "ensure"):
                    step.ensure(told)
            except Exception as exception:
                error = typed(exception)
                for unit in live:
                    unit.fail(error)
            for unit in live:
                unit.collect()

    def _tell(self, units: Sequence[Unit], at: int, percent: int, text: str) -> None:
        """Notes how far the step at this place is."""
        with self._writing() as tx:
            for unit in units:
                steps = list(unit.operation.steps)
                steps[at] = replace(steps[at], percent=percent, detail=text)
                unit.operation = replace(unit.operation, steps=tuple(steps))
            tx.save_steps([unit.operation.id for unit in units], units[0].operation.steps)

    def _cancelled(self) -> bool:
        """Whether all that is not broken yet shall be cancelled."""
        live = {unit.operation.id for unit in self.units if unit.error is None}
        with self._t.store.snapshot() as tx:
            return live <= tx.cancels(list(live))

    def _note_error(self, tx: Transaction, unit: Unit) -> None:
        """From here on the operation is being undone. What it was creating is marked, so that the steps no longer see it
        among the desired contents."""
        assert unit.error is not None
        marked = tuple(
            replace(s, state=StepState.FAILED) if s.state is StepState.RUNNING else s for s in unit.operation.steps
        )
        unit.operation = replace(unit.operation, error=unit.error.to_json(), steps=marked)
        tx.save_operations([unit.operation])
        if unit.operation.verb is Verb.CREATE:
            for resource in tx.occupied_by(unit.operation.id):
                assigned = {**resource.assigned, "removal": {"rollback": True}}
                tx.save(replace(resource, state=State.DELETING, assigned=assigned))

    def _put_back(self, unit: Unit) -> None:
        """Brings back what was in force before an update; if that fails too, the resource is degraded."""
        assert unit.error is not None
        target, problem = unit.operation.target, None
        if unit.operation.previous is not None:
            with self._writing() as tx:
                resource = tx.get(target, lock=True)
                spec = without_missing(decode(SPECS[target.kind], unit.operation.previous), tx.contents(self._server))
                if resource.spec != spec:
                    tx.save(replace(resource, spec=spec, generation=resource.generation + 1))
            again = Unit(replace(unit.operation, verb=Verb.UPDATE, options={}))
            problem = self._repeat(self._work([again]), [again])
        with self._writing() as tx:
            resource = tx.get(target, lock=True)
            if problem is None:
                tx.save(settled(resource))
            else:
                tx.save(failed(resource, "UndoFailed", problem, self._t.clock.now(), State.DEGRADED))
            tx.occupy([target], "")
            self._end(tx, unit, with_problem(unit.error, problem))

    def _settle(self, units: Sequence[Unit]) -> None:
        """Ends what went well."""
        with self._writing() as tx:
            for unit in units:
                resources = {r.name: settled(r) for r in tx.occupied_by(unit.operation.id)}
                for resource in resources.values():
                    tx.save(resource)
                unit.operation = replace(unit.operation, result=snapshot_of(resources[unit.operation.target]))
                self._end(tx, unit, None)
            tx.release([unit.operation.id for unit in units])


def without_missing(spec: Any, contents: Contents) -> Any:
    """A former spec without users and groups that are gone since: whoever gets their name later gets no rights by it."""
    users, groups = contents.named(Kind.USER), contents.named(Kind.GROUP)
    if isinstance(spec, GroupSpec):
        return replace(spec, members=tuple(member for member in spec.members if member in users))
    if isinstance(spec, ShareSpec):
        there = {PrincipalKind.USER: users, PrincipalKind.GROUP: groups}
        kept = tuple(r for r in spec.access if r.kind is PrincipalKind.EVERYONE or r.id in there[r.kind])
        return replace(spec, access=kept)
    return spec
