"""The drift check: compares what runs with what is desired, and by the file server's policy makes it so or says so."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.core.claims import StoredClaims
from services.core.domain.conditions import failed, settled, with_condition
from services.core.domain.file_server import DriftPolicy
from services.core.domain.names import CONTENTS
from services.core.domain.operation import Verb
from services.core.domain.resource import Condition, Resource, Severity, State
from services.core.errors import PvesmbError
from services.core.runs.base import Unit, typed
from services.core.runs.removal import Removal
from services.core.steps import Change, Drift, Work
from services.core.store.rows import snapshot_of

log = logging.getLogger(__name__)


class Repair(Removal):
    """One check of one file server. One that finds nothing leaves no operation behind."""

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
        made = [r for r in work.contents.shares if r.state is not State.CREATING]
        work = replace(work, contents=replace(work.contents, shares=made))
        try:
            drifts = self._settled_only(self._mode.observe(work))
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

    def _settled_only(self, drifts: Sequence[Drift]) -> list[Drift]:
        """Without those of resources that an operation is about to change: they differ because it has not run yet."""
        with self._t.store.snapshot() as tx:
            return [drift for drift in drifts if not tx.busy_with(drift.resource)]

    def _leftovers(self) -> list[Resource[Any]]:
        """What is to be removed, but by no operation."""
        with self._t.store.snapshot() as tx:
            rows = [tx.get(self._server), *tx.members(self._server, *CONTENTS)]
            return [r for r in rows if r.state is State.DELETING and not tx.busy_with(r.name)]

    def _adopt(self, unit: Unit, leftovers: Sequence[Resource[Any]]) -> None:
        server = next(r for r in leftovers if r.name == self._server)
        unit.operation = replace(unit.operation, verb=Verb.DELETE, options=server.assigned.get("removal", {}))
        with self._writing() as tx:
            tx.occupy([self._server], unit.operation.id)
            tx.save_operations([unit.operation])

    def _remove_leftovers(self, leftovers: Sequence[Resource[Any]]) -> None:
        if not leftovers:
            return
        with self._t.store.snapshot() as tx:
            server, contents = tx.get(self._server), tx.contents(self._server)
        changes = [Change(r, Verb.DELETE, r.assigned.get("removal", {})) for r in leftovers]
        work = Work(server, False, changes, contents, StoredClaims(self._t.store))
        for step in reversed([step for step in self._mode.steps if not step.server_only]):
            self._hold()
            try:
                with self._timed(step, "remove"):
                    step.remove(work.only(work.live()))
            except Exception as exception:
                error = typed(exception)
                for change in work.live():
                    change.error = error
        with self._writing() as tx:
            for change in work.live():
                tx.drop(change.resource.name)

    def _in_order(self, unit: Unit) -> None:
        with self._writing() as tx:
            for name in [self._server, *(r.name for r in tx.members(self._server, *CONTENTS))]:
                resource = tx.get(name, lock=True)
                if resource.state is State.DEGRADED and not tx.busy_with(name):
                    tx.save(settled(resource))
            tx.drop_operation(unit.operation.id)

    def _report(self, unit: Unit, drifts: Sequence[Drift], error: PvesmbError | None) -> None:
        """Raises the condition `Drifted` (or `CheckFailed`) where it belongs, and leaves no operation behind."""
        type, reason = ("Drifted", "DRIFTED") if error is None else ("CheckFailed", error.reason)
        action = error.help if error is not None else "Update the resource, or set drift_policy to repair."
        with self._writing() as tx:
            for name in dict.fromkeys(drift.resource for drift in drifts):
                if (resource := tx.find(name, lock=True)) is None or tx.busy_with(name):
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
        with self._writing() as tx:
            for name in dict.fromkeys([self._server, *(r.name for r in every)]):
                if (resource := tx.find(name, lock=True)) is None or tx.busy_with(name):
                    continue
                if (error := errors.get(name)) is not None:
                    tx.save(failed(resource, "Drifted", error, self._t.clock.now(), State.DEGRADED))
                elif resource.state is State.DEGRADED or any(drift.resource == name for drift in drifts):
                    tx.save(settled(resource))
            unit.operation = replace(unit.operation, result=snapshot_of(tx.get(self._server)))
            self._end(tx, unit, unit.error)
