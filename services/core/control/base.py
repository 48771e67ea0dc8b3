"""What every change has in common: one transaction, an operation, checks of names, etags and other operations."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from services.core.claims import StoredClaims
from services.core.codec import encode
from services.core.control.calls import Answer, Call, ModeRules, Planned, TemplateRules
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import ROOTS, Kind, Name
from services.core.domain.operation import Operation, OperationState, Verb
from services.core.domain.resource import Resource, State
from services.core.errors import (
    EtagMismatch,
    FeatureNotAvailable,
    InvalidField,
    LimitReached,
    PreconditionFailed,
    RequestIdReused,
    ResourceBusy,
    Violation,
)
from services.core.ports import Clock, Vault
from services.core.steps import Change, Work
from services.core.store import Store, Transaction
from services.core.worker import Worker

REQUEST_SECONDS = 24 * 3600


class _PlanOnly(Exception):
    """Ends a transaction whose outcome was only to be seen."""


class Base:
    """Thread-safe."""

    def __init__(
        self,
        store: Store,
        mode: ModeRules,
        vault: Vault,
        clock: Clock,
        worker: Worker,
        backend: str,
        templates: TemplateRules | None = None,
    ) -> None:
        self._store = store
        self._mode = mode
        self._vault = vault
        self._clock = clock
        self._worker = worker
        self._backend = backend
        self._templates = templates

    def get(self, name: Name) -> Resource[Any]:
        with self._store.snapshot() as tx:
            return tx.get(name)

    def page(self, kind: Kind, parent: Name | None, *, after: str, limit: int) -> list[Resource[Any]]:
        """Resources after the key `after`; `NotFound` if the file server that they are in is not there."""
        with self._store.snapshot() as tx:
            if parent is not None:
                tx.get(parent)
            return tx.page(kind, str(parent or f"backends/{self._backend}"), after=after, limit=limit)

    def _run(
        self,
        call: Call,
        target: Name,
        verb: Verb,
        change: Callable[[Transaction, Operation], Resource[Any]],
        options: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Runs `change` in a transaction, with an operation that it may use; or, with `validate_only`, only tells what it
        would do."""
        now = self._clock.now()
        op = Operation(
            uuid.uuid4().hex,
            target,
            verb,
            OperationState.PENDING,
            now,
            request_id=call.request_id,
            principal=call.principal,
            options=dict(options or {}),
        )
        seen: list[tuple[Resource[Any], Work]] = []
        try:
            with self._store.transaction() as tx:
                if call.request_id:
                    tx.hold_request(call.request_id)
                    if (earlier := self._repeated(tx, call, now)) is not None:
                        return earlier
                before = tx.find(target)
                change(tx, op)
                if call.validate_only:
                    seen.append(self._foresee(tx, op))
                    raise _PlanOnly
                if verb is Verb.UPDATE and before is not None:
                    op = replace(op, previous=encode(before.spec))
                tx.add_operation(op)
                if call.request_id:
                    tx.remember_request(call.request_id, call.fingerprint, op.id, now + REQUEST_SECONDS)
        except _PlanOnly:
            resource, work = seen[0]
            # Outside the transaction: a mode looks at its machine, which may take its time.
            mode = self._templates if target.kind is Kind.TEMPLATE and self._templates is not None else self._mode
            plan = mode.plan(work)
            return Planned(resource if verb is not Verb.DELETE else None, target, verb, plan)
        self._worker.wanted.notify_one()
        return op

    def _repeated(self, tx: Transaction, call: Call, now: float) -> Operation | None:
        """The operation of an earlier request with this request_id."""
        earlier = tx.request(call.request_id, now)
        if earlier is None:
            return None
        fingerprint, id = earlier
        if fingerprint != call.fingerprint:
            raise RequestIdReused(f"request_id {call.request_id} was used for another request")
        operation = tx.operation(id)
        if operation is None:
            raise RequestIdReused(f"the operation of request_id {call.request_id} ended, and was deleted since")
        return operation

    def _foresee(self, tx: Transaction, op: Operation) -> tuple[Resource[Any], Work]:
        """What the resource would be, and the work that would make it so."""
        server = tx.get(op.target.server)
        whole = op.target.kind in ROOTS
        touched = [r for r in tx.occupied_by(op.id) if r.name.kind not in ROOTS]
        changes = [Change(r, op.verb, op.options) for r in touched]
        work = Work(server, whole, changes, tx.contents(server.name), StoredClaims(self._store), op.options)
        return tx.get(op.target), work

    def _update(
        self,
        call: Call,
        name: Name,
        merge: Callable[[Resource[Any]], Any],
        check: Callable[[Transaction, Resource[Any], Any], None],
    ) -> Answer:
        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            if name.kind is not Kind.FILE_SERVER:
                self._parent(tx, name.server)
            old = self._lock(tx, name, call, op.id)
            refuse_if([old] if old.state is State.DELETING else [], f"{name} is being removed", "is being removed")
            spec = merge(old)
            check(tx, old, spec)
            new = replace(old, state=State.UPDATING)
            if spec != old.spec:
                new = replace(new, spec=spec, generation=old.generation + 1, update_time=self._clock.now())
            tx.save(new)
            return new

        return self._run(call, name, Verb.UPDATE, change)

    def _lock(self, tx: Transaction, name: Name, call: Call, operation: str) -> Resource[Any]:
        """The resource, as the one thing that this operation works on: checks etag and other operations."""
        resource = tx.get(name, lock=True)
        if call.etag and call.etag != resource.etag:
            raise EtagMismatch(f"{name} was changed since it was read", metadata={"name": str(name)})
        if busy := tx.busy_with(name):
            raise busy_error(name, busy, self._backend)
        tx.occupy([name], operation)
        return resource

    def _parent(self, tx: Transaction, server: Name, *, leaving: bool = False) -> Resource[FileServerSpec]:
        """The file server, locked, so that its contents change one after the other. While it is made its contents are not
        changed; while it is removed neither."""
        parent = tx.get(server, lock=True)
        if parent.state is State.DELETING or (parent.state is State.CREATING and not leaving):
            verb = "removed" if parent.state is State.DELETING else "made"
            if busy := tx.busy_with(server):
                raise ResourceBusy(f"{server} is being {verb}", metadata=_named(self._backend, busy))
            raise ResourceBusy(
                f"the removal of {server} has begun, and failed",
                help="Delete the file server again; its conditions say why that failed.",
            )
        return parent

    def _new(self, name: Name, spec: Any, assigned: Mapping[str, Any]) -> Resource[Any]:
        now = self._clock.now()
        return Resource(name, str(uuid.uuid4()), spec, State.CREATING, 1, 0, now, now, assigned)

    def _number(self, tx: Transaction) -> int:
        """A numeric id for an account. Never given twice, because files of its former owner may still be there."""
        number = tx.next_number("unix-id", self._mode.id_first)
        if number >= self._mode.id_first + self._mode.id_count:
            raise LimitReached(
                "all numeric ids of this backend have been used",
                help="Give the backend a further range of ids in its configuration.",
            )
        return number


def below(prefix: str, check: Callable[[], None]) -> None:
    """Runs a check whose field paths are relative to `prefix`."""
    try:
        check()
    except (InvalidField, FeatureNotAvailable) as error:
        raise error.below(prefix) from None


def busy_error(name: Name, operation: str, backend: str) -> ResourceBusy:
    return ResourceBusy(f"another operation works on {name}", metadata=_named(backend, operation))


def _named(backend: str, operation: str) -> Mapping[str, str]:
    """What an error tells of the operation that is in the way."""
    return {"operation": f"backends/{backend}/operations/{operation}"}


def leaving(resource: Resource[Any], options: Mapping[str, Any]) -> Resource[Any]:
    """A resource on its way out. The options are kept with it, so that a removal that failed can be tried again; `begun`
    says that an earlier operation had tried."""
    removal = {**options, "begun": resource.state is State.DELETING}
    return replace(resource, state=State.DELETING, assigned={**resource.assigned, "removal": removal})


def refuse_if(resources: list[Resource[Any]], message: str, why: str) -> None:
    if resources:
        raise PreconditionFailed(message, violations=[Violation(str(r.name), why) for r in resources[:20]])


def require_made(tx: Transaction, resource: Resource[Any], server: Resource[Any], backend: str) -> None:
    """Refuses to build on an account that may yet be undone; within the operation that makes the whole file server all
    stands or falls together."""
    if resource.state is State.CREATING and server.state is not State.CREATING:
        raise ResourceBusy(f"{resource.name} is being made", metadata=_named(backend, tx.busy_with(resource.name)))
