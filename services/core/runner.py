"""Runs operations of one file server through its mode's steps, and undoes what fails.

Level-triggered: there is no journal of steps. Killed at any point, the same operations run again from the top, and what is
done is seen as done. One thing written on the way matters: an operation's `error`. From then on it is being undone, and a
restart goes on undoing.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from services.core.claims import StoredClaims
from services.core.codec import SPECS, decode
from services.core.domain.conditions import failed, settled, with_condition
from services.core.domain.file_server import DriftPolicy
from services.core.domain.names import Kind
from services.core.domain.operation import Operation, OperationState, StepProgress, StepState, Verb
from services.core.domain.resource import Condition, Resource, Severity, State
from services.core.errors import Internal, OperationCancelled, PvesmbError
from services.core.ports import Clock, Telemetry, Vault
from services.core.steps import Change, Drift, Mode, Step, Work
from services.core.store import Store, Transaction
from services.core.store.transaction import snapshot_of

log = logging.getLogger(__name__)

CONTENTS = (Kind.SHARE, Kind.USER, Kind.GROUP)


class LeaseLost(Exception):
    """Another worker has taken these operations over: this one stops at once and writes nothing more."""


@dataclass(frozen=True)
class Tools:
    """What it takes to run operations. `owner` is the id under which leases of `lease_seconds` are held."""

    store: Store
    mode: Mode
    vault: Vault
    clock: Clock
    telemetry: Telemetry
    owner: str
    lease_seconds: float = 60.0


@dataclass
class Unit:
    """One operation with the changes that it stands for: one resource of the contents, or a file server with all of them.
    The first error of any of them is the operation's."""

    operation: Operation
    changes: list[Change] = field(default_factory=list)
    error: PvesmbError | None = None

    def collect(self) -> None:
        """Takes over the error of a change that a step failed."""
        self.error = self.error or next((c.error for c in self.changes if c.error is not None), None)

    def fail(self, error: PvesmbError) -> None:
        self.error = self.error or error
        for change in self.changes:
            change.error = change.error or error


class Run:
    """One run over operations of one file server: one operation on the server itself (`whole`), or several on contents."""

    def __init__(self, tools: Tools, operations: Sequence[Operation]) -> None:
        self._t = tools
        self._whole = operations[0].target.kind is Kind.FILE_SERVER
        self._server = operations[0].target.server
        self._verb = operations[0].verb
        self.units = [Unit(operation) for operation in operations]

    # Forward

    def make(self) -> None:
        """Creates or updates. A create that fails is removed again, an update goes back to what was before."""
        for unit in self.units:
            if unit.operation.error is not None:
                unit.error = PvesmbError.from_json(unit.operation.error)
        fresh = [unit for unit in self.units if unit.error is None]
        if fresh:
            self._forward(self._work(fresh), fresh)
        broken = [unit for unit in self.units if unit.error is not None]
        with self._t.store.transaction() as tx:
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
            cancelled = self._hold()
            for unit in units:
                if unit.error is None and unit.operation.id in cancelled:
                    unit.fail(OperationCancelled("the operation was cancelled and undone"))
            live = [unit for unit in units if unit.error is None]
            if not live:
                return
            self._progress(live, steps, at)
            try:
                with self._timed(step, "ensure"):
                    step.ensure(work)
            except Exception as exception:
                error = typed(exception)
                for unit in live:
                    unit.fail(error)
            for unit in live:
                unit.collect()

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
            with self._t.store.transaction() as tx:
                resource = tx.get(target, lock=True)
                spec = decode(SPECS[target.kind], unit.operation.previous)
                if resource.spec != spec:
                    tx.save(replace(resource, spec=spec, generation=resource.generation + 1))
            again = Unit(replace(unit.operation, verb=Verb.UPDATE))
            problem = self._repeat(self._work([again]), [again])
        with self._t.store.transaction() as tx:
            resource = tx.get(target, lock=True)
            if problem is None:
                tx.save(settled(resource))
            else:
                tx.save(failed(resource, "UndoFailed", problem, self._t.clock.now(), State.DEGRADED))
            tx.occupy([target], "")
            self._end(tx, unit, _with_problem(unit.error, problem))

    def _repeat(self, work: Work, units: Sequence[Unit], *, stop: bool = True) -> PvesmbError | None:
        """Runs all steps without looking at cancels; the first error, if any. With `stop` false the error of a single
        change does not end it."""
        for step in self._steps():
            try:
                self._hold()
                with self._timed(step, "ensure"):
                    step.ensure(work)
            except LeaseLost:
                raise
            except Exception as exception:
                return typed(exception)
            for unit in units:
                unit.collect()
                if stop and unit.error is not None:
                    return unit.error
        return next((unit.error for unit in units if unit.error is not None), None)

    def _settle(self, units: Sequence[Unit]) -> None:
        """Ends what went well."""
        with self._t.store.transaction() as tx:
            for unit in units:
                resources = tx.occupied_by(unit.operation.id)
                for resource in resources:
                    tx.save(settled(resource))
                tx.occupy([resource.name for resource in resources], "")
                unit.operation = replace(unit.operation, result=snapshot_of(tx.get(unit.operation.target)))
                self._end(tx, unit, None)

    # Backward

    def remove(self) -> None:
        """Deletes. A removal can be cancelled only before its first step: what is gone cannot be brought back."""
        cancelled = self._hold()
        for unit in self.units:
            if unit.operation.attempts <= 1 and unit.operation.id in cancelled:
                unit.error = OperationCancelled("the removal was cancelled before it began; nothing was removed")
                with self._t.store.transaction() as tx:
                    resources = tx.occupied_by(unit.operation.id)
                    for resource in resources:
                        tx.save(settled(resource))
                    tx.occupy([resource.name for resource in resources], "")
                    self._end(tx, unit, unit.error)
        if live := [unit for unit in self.units if unit.error is None]:
            self._backward(live, rollback=False)

    def _backward(self, units: Sequence[Unit], *, rollback: bool) -> None:
        """Runs `remove` of the steps in reverse. What cannot be removed stays DELETING with a condition that says why; the
        drift check, or another Delete, tries again."""
        problems = {unit.operation.id: unit.error for unit in units}
        again = [Unit(unit.operation) for unit in units]
        work = self._work(again, rollback=rollback, removing=True)
        steps = list(reversed(self._steps()))
        for at, step in enumerate(steps):
            self._hold()
            live = [unit for unit in again if unit.error is None]
            if not live:
                break
            if not rollback:
                self._progress(live, steps, at)
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
            with self._t.store.transaction() as tx:
                self._drop(tx, unit, tried.error)
                cause = problems[unit.operation.id]
                self._end(tx, unit, _with_problem(cause, tried.error) if cause is not None else tried.error)

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

    # Drift

    def repair(self) -> None:
        """Compares what runs with what is desired; by the file server's policy, makes it so or says so. Removals that
        failed are tried again first. A check that finds nothing leaves no operation behind."""
        unit = self.units[0]
        leftovers = self._leftovers()
        if any(r.name == self._server for r in leftovers):
            self._adopt(unit, leftovers)
            self._backward([unit], rollback=False)
            return
        self._remove_leftovers(leftovers)
        work = self._work([unit])
        try:
            drifts = list(self._t.mode.observe(work))
        except Exception as exception:
            self._report(unit, [Drift(self._server, typed(exception).message)], typed(exception))
            return
        if not drifts:
            self._in_order(unit)
        elif work.server.spec.drift_policy is DriftPolicy.REPORT:
            self._t.telemetry.drift(len(drifts), 0)
            self._report(unit, drifts, None)
        else:
            self._mend(unit, work, drifts)

    def _leftovers(self) -> list[Resource[Any]]:
        """What is to be removed, but by no operation."""
        with self._t.store.snapshot() as tx:
            rows = [tx.get(self._server), *tx.members(self._server, *CONTENTS)]
            return [r for r in rows if r.state is State.DELETING and not tx.busy_with(r.name)]

    def _adopt(self, unit: Unit, leftovers: Sequence[Resource[Any]]) -> None:
        server = next(r for r in leftovers if r.name == self._server)
        unit.operation = replace(unit.operation, verb=Verb.DELETE, options=server.assigned.get("removal", {}))
        with self._t.store.transaction() as tx:
            tx.occupy([self._server], unit.operation.id)

    def _remove_leftovers(self, leftovers: Sequence[Resource[Any]]) -> None:
        if not leftovers:
            return
        with self._t.store.snapshot() as tx:
            server, contents = tx.get(self._server), tx.contents(self._server)
        changes = [Change(r, Verb.DELETE, r.assigned.get("removal", {})) for r in leftovers]
        work = Work(server, False, changes, contents, StoredClaims(self._t.store))
        for step in reversed([step for step in self._t.mode.steps if not step.server_only]):
            self._hold()
            try:
                with self._timed(step, "remove"):
                    step.remove(work.only(work.live()))
            except Exception as exception:
                error = typed(exception)
                for change in work.live():
                    change.error = error
        with self._t.store.transaction() as tx:
            for change in work.live():
                tx.drop(change.resource.name)

    def _in_order(self, unit: Unit) -> None:
        with self._t.store.transaction() as tx:
            for name in [self._server, *(r.name for r in tx.members(self._server, *CONTENTS))]:
                resource = tx.get(name, lock=True)
                if resource.state is State.DEGRADED and not tx.busy_with(name):
                    tx.save(settled(resource))
            tx.drop_operation(unit.operation.id)

    def _report(self, unit: Unit, drifts: Sequence[Drift], error: PvesmbError | None) -> None:
        """Raises the condition `Drifted` (or `CheckFailed`) where it belongs, and leaves no operation behind."""
        type, reason = ("Drifted", "DRIFTED") if error is None else ("CheckFailed", error.reason)
        action = error.help if error is not None else "Update the resource, or set drift_policy to repair."
        with self._t.store.transaction() as tx:
            for name in dict.fromkeys(drift.resource for drift in drifts):
                if (resource := tx.find(name, lock=True)) is None:
                    continue
                message = "; ".join(drift.message for drift in drifts if drift.resource == name)
                condition = Condition(type, Severity.ERROR, reason, message, action, self._t.clock.now())
                tx.save(replace(with_condition(resource, condition), state=State.DEGRADED))
            tx.drop_operation(unit.operation.id)

    def _mend(self, unit: Unit, work: Work, drifts: Sequence[Drift]) -> None:
        log.warning("drift found", extra={"target": str(self._server), "drift": [d.message for d in drifts]})
        every = [*work.contents.groups, *work.contents.users, *work.contents.shares]
        unit.changes = [Change(r, Verb.REPAIR, {}, self._secret_of(r.uid)) for r in every if r.state is not State.CREATING]
        unit.error = self._repeat(replace(work, changes=unit.changes), [unit], stop=False)
        errors = {change.resource.name: change.error for change in unit.changes if change.error is not None}
        if unit.error is not None and not errors:
            errors[self._server] = unit.error
        mended = [drift for drift in drifts if drift.resource not in errors and self._server not in errors]
        self._t.telemetry.drift(len(drifts), len(mended))
        with self._t.store.transaction() as tx:
            for name in dict.fromkeys([self._server, *(r.name for r in every)]):
                if (resource := tx.find(name, lock=True)) is None or tx.busy_with(name):
                    continue
                if (error := errors.get(name)) is not None:
                    tx.save(failed(resource, "Drifted", error, self._t.clock.now(), State.DEGRADED))
                elif resource.state is State.DEGRADED or any(drift.resource == name for drift in drifts):
                    tx.save(settled(resource))
            unit.operation = replace(unit.operation, result=snapshot_of(tx.get(self._server)))
            self._end(tx, unit, unit.error)

    # What both need

    def _steps(self) -> list[Step]:
        return [step for step in self._t.mode.steps if self._whole or not step.server_only]

    def _work(self, units: Sequence[Unit], *, rollback: bool = False, removing: bool = False) -> Work:
        """Reads the desired state, and gives each unit its changes."""
        with self._t.store.snapshot() as tx:
            server = tx.get(self._server)
            contents = tx.contents(self._server)
            for unit in units:
                options = {"rollback": True} if rollback else dict(unit.operation.options)
                if self._whole:
                    members = tx.members(self._server, *CONTENTS) if removing else tx.occupied_by(unit.operation.id)
                    resources: Iterable[Resource[Any]] = [m for m in members if m.name.kind is not Kind.FILE_SERVER]
                else:
                    found = tx.find(unit.operation.target)
                    resources = [found] if found is not None else []
                unit.changes = [Change(r, unit.operation.verb, dict(options), self._secret_of(r.uid)) for r in resources]
        changes = [change for unit in units for change in unit.changes]
        return Work(server, self._whole, changes, contents, StoredClaims(self._t.store), options if self._whole else {})

    def _secret_of(self, uid: str) -> Callable[[], str | None]:
        def secret() -> str | None:
            with self._t.store.snapshot() as tx:
                sealed = tx.secret(uid)
            return self._t.vault.open(sealed, uid) if sealed is not None else None

        return secret

    def _hold(self) -> set[str]:
        """Renews the lease, and says which operations shall be cancelled."""
        ids = [unit.operation.id for unit in self.units if not unit.operation.done]
        with self._t.store.transaction() as tx:
            if not tx.renew(ids, self._t.owner, self._t.clock.now() + self._t.lease_seconds):
                raise LeaseLost
            return tx.cancels(ids)

    def _progress(self, units: Sequence[Unit], steps: Sequence[Step], at: int) -> None:
        """Notes that the step at this place runs; those before it are done."""
        states = [StepState.DONE] * at + [StepState.RUNNING] + [StepState.PENDING] * (len(steps) - at - 1)
        shown = tuple(StepProgress(step.name, state) for step, state in zip(steps, states, strict=True))
        with self._t.store.transaction() as tx:
            for unit in units:
                unit.operation = replace(unit.operation, steps=shown)
                tx.save_operations([unit.operation])

    def _end(self, tx: Transaction, unit: Unit, error: PvesmbError | None) -> None:
        op, now = unit.operation, self._t.clock.now()
        done = StepState.DONE if error is None else StepState.UNDONE
        notes = "; ".join(note for change in unit.changes for note in change.notes)
        unit.operation = replace(
            op,
            state=OperationState.DONE,
            end_time=now,
            steps=tuple(_ended(s, done, notes if s is op.steps[-1] else "") for s in op.steps),
            error=error.to_json() if error is not None else None,
        )
        tx.save_operations([unit.operation])
        tx.drop_secrets([op.id])
        outcome = "ok" if error is None else error.reason
        self._t.telemetry.operation_ended(op.verb.value, op.target.kind.value, outcome, now - op.create_time)
        log.info("operation ended", extra={"operation": op.id, "target": str(op.target), "outcome": outcome})

    @contextmanager
    def _timed(self, step: Step, action: str) -> Iterator[None]:
        begun, ok = time.monotonic(), False
        try:
            yield
            ok = True
        finally:
            self._t.telemetry.step_ended(step.name, action, ok, time.monotonic() - begun)


def _ended(step: StepProgress, done: StepState, detail: str) -> StepProgress:
    """How a step stands when its operation has ended."""
    state = step.state
    if state is StepState.RUNNING or (state is StepState.DONE and done is StepState.UNDONE):
        state = done
    return replace(step, state=state, detail=detail or step.detail)


def _with_problem(error: PvesmbError, problem: PvesmbError | None) -> PvesmbError:
    """An error, and that undoing it failed too."""
    if problem is None:
        return error
    data = error.to_json()
    data["message"] += f"; undoing it failed too and will be tried again: {problem.message}"
    return PvesmbError.from_json(data)


def typed(exception: Exception) -> PvesmbError:
    """An error that may be shown; an unexpected one is logged under an incident id, which stands for it."""
    if isinstance(exception, PvesmbError):
        return exception
    if isinstance(exception, LeaseLost):
        raise exception
    incident = uuid.uuid4().hex[:12]
    log.error("unexpected error", exc_info=exception, extra={"incident": incident})
    return Internal.of(incident)
