"""What every run over operations needs: the work to hand to steps, leases, progress, ends."""

from __future__ import annotations

import errno
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from services.core.claims import StoredClaims
from services.core.domain.names import CONTENTS, ROOTS, Kind
from services.core.domain.operation import Operation, OperationState, StepProgress, StepState
from services.core.domain.resource import Resource
from services.core.errors import FeatureNotAvailable, Internal, PvesmbError, StorageFull
from services.core.ports import Clock, Telemetry, Vault
from services.core.steps import Change, Mode, Step, Work
from services.core.store import Store, Transaction

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another worker has taken these operations over: this one stops at once and writes nothing more."""


@dataclass(frozen=True)
class Tools:
    """What it takes to run operations. `owner` is the id under which leases of `lease_seconds` are held; `templates` makes
    templates, in a mode that needs some."""

    store: Store
    mode: Mode
    vault: Vault
    clock: Clock
    telemetry: Telemetry
    owner: str
    lease_seconds: float = 60.0
    templates: Mode | None = None

    def mode_for(self, kind: Kind) -> Mode:
        """What makes resources of this kind."""
        if kind is not Kind.TEMPLATE:
            return self.mode
        if self.templates is None:
            raise FeatureNotAvailable.of("templates", "are not what this backend makes any more")
        return self.templates


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
    """One run over operations of one file server or template: one operation on it itself (`whole`), or several on the
    contents of a file server."""

    def __init__(self, tools: Tools, operations: Sequence[Operation]) -> None:
        self._t = tools
        self._whole = operations[0].target.kind in ROOTS
        self._mode = tools.mode_for(operations[0].target.kind)
        self._server = operations[0].target.server
        self.units = [Unit(operation) for operation in operations]
        self._notes: list[str] = []

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

    def _steps(self) -> list[Step]:
        return [step for step in self._mode.steps if self._whole or not step.server_only]

    def _work(self, units: Sequence[Unit], *, rollback: bool = False, removing: bool = False) -> Work:
        """Reads the desired state, and gives each unit its changes."""
        with self._t.store.snapshot() as tx:
            server = tx.get(self._server)
            contents = tx.contents(self._server)
            for unit in units:
                options = {"rollback": True} if rollback else dict(unit.operation.options)
                if self._whole:
                    members = tx.members(self._server, *CONTENTS) if removing else tx.occupied_by(unit.operation.id)
                    resources: Iterable[Resource[Any]] = [m for m in members if m.name.kind not in ROOTS]
                else:
                    found = tx.find(unit.operation.target)
                    resources = [found] if found is not None else []
                unit.changes = [Change(r, unit.operation.verb, dict(options), self._secret_of(r.uid)) for r in resources]
        changes = [change for unit in units for change in unit.changes]
        options = options if self._whole else {}
        return Work(server, self._whole, changes, contents, StoredClaims(self._t.store), options, self._notes.append)

    def _secret_of(self, uid: str) -> Callable[[], str | None]:
        def secret() -> str | None:
            with self._t.store.snapshot() as tx:
                sealed = tx.secret(uid)
            return self._t.vault.open(sealed, uid) if sealed is not None else None

        return secret

    def _hold(self) -> set[str]:
        """Renews the lease, and says which operations shall be cancelled."""
        with self._writing() as tx:
            return tx.cancels([unit.operation.id for unit in self.units])

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        """A transaction that only whoever holds the lease may make; it renews it."""
        ids = [unit.operation.id for unit in self.units if not unit.operation.done]
        with self._t.store.transaction() as tx:
            if not tx.renew(ids, self._t.owner, self._t.clock.now() + self._t.lease_seconds):
                raise LeaseLost
            yield tx

    def _show(self, tx: Transaction, units: Sequence[Unit], steps: Sequence[Step], at: int) -> None:
        """Notes that the step at this place runs; those before it are done."""
        states = [StepState.DONE] * at + [StepState.RUNNING] + [StepState.PENDING] * (len(steps) - at - 1)
        shown = tuple(StepProgress(step.name, state) for step, state in zip(steps, states, strict=True))
        for unit in units:
            unit.operation = replace(unit.operation, steps=shown)
        tx.save_steps([unit.operation.id for unit in units], shown)

    def _end(self, tx: Transaction, unit: Unit, error: PvesmbError | None) -> None:
        op, now = unit.operation, self._t.clock.now()
        done = StepState.DONE if error is None else StepState.UNDONE
        notes = "; ".join([*self._notes, *(note for change in unit.changes for note in change.notes)])
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


def with_problem(error: PvesmbError, problem: PvesmbError | None) -> PvesmbError:
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
    if isinstance(exception, OSError) and exception.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"no space left to make {exception.filename or 'a file'}")
    incident = uuid.uuid4().hex[:12]
    log.error("unexpected error", exc_info=exception, extra={"incident": incident})
    return Internal.of(incident)
