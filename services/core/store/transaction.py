"""What can be read and written in one transaction of the store, in the domain's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from services.core.codec import SPECS, decode, encode
from services.core.domain.account import GroupSpec
from services.core.domain.names import Kind, Name, parse_name
from services.core.domain.operation import Operation, OperationState, StepProgress, StepState, Verb
from services.core.domain.resource import Condition, Resource, State
from services.core.errors import AlreadyExists, NotFound, PreconditionFailed
from services.core.steps import Claim, Contents
from services.core.store.tables import claims, counters, operations, requests, resources, secrets


class Transaction:
    """One transaction. Rows that are read with `lock` cannot change until it ends."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    # Resources

    def find(self, name: Name, *, lock: bool = False) -> Resource[Any] | None:
        query = select(resources).where(
            resources.c.kind == name.kind.value, resources.c.parent == name.parent, resources.c.key == name.key
        )
        row = self._c.execute(query.with_for_update() if lock else query).first()
        # The key finds what differs by case only; as a name that is somebody else.
        return _resource(row) if row is not None and row.last == name.last else None

    def get(self, name: Name, *, lock: bool = False) -> Resource[Any]:
        """Like `find`, but `NotFound` when there is none."""
        found = self.find(name, lock=lock)
        if found is None:
            raise NotFound.of(str(name))
        return found

    def by_uid(self, uid: str, *, lock: bool = False) -> Resource[Any] | None:
        query = select(resources).where(resources.c.uid == uid)
        row = self._c.execute(query.with_for_update() if lock else query).first()
        return _resource(row) if row is not None else None

    def page(self, kind: Kind, parent: str, *, after: str, limit: int) -> list[Resource[Any]]:
        """The next resources of a collection after the one with the key `after`, by their keys."""
        query = (
            select(resources)
            .where(resources.c.kind == kind.value, resources.c.parent == parent, resources.c.key > after)
            .order_by(resources.c.key)
            .limit(limit)
        )
        return [_resource(row) for row in self._c.execute(query)]

    def servers(self) -> list[Resource[Any]]:
        """Every file server."""
        query = select(resources).where(resources.c.kind == Kind.FILE_SERVER.value).order_by(resources.c.name)
        return [_resource(row) for row in self._c.execute(query)]

    def members(self, server: Name, *kinds: Kind) -> list[Resource[Any]]:
        """What is in a file server, by kind and key."""
        query = (
            select(resources)
            .where(resources.c.server == str(server), resources.c.kind.in_([kind.value for kind in kinds]))
            .order_by(resources.c.kind, resources.c.key)
        )
        return [_resource(row) for row in self._c.execute(query)]

    def contents(self, server: Name) -> Contents:
        """The desired contents of a file server, without what is being deleted: neither as a resource of its own nor as
        a member of a group."""
        rows = [r for r in self.members(server, Kind.SHARE, Kind.USER, Kind.GROUP) if r.state is not State.DELETING]
        by_kind = {kind: [r for r in rows if r.name.kind is kind] for kind in Kind}
        users = {user.name.id for user in by_kind[Kind.USER]}
        groups = [_with_members(group, [m for m in group.spec.members if m in users]) for group in by_kind[Kind.GROUP]]
        return Contents(by_kind[Kind.SHARE], by_kind[Kind.USER], groups)

    def insert(self, resource: Resource[Any], operation: str = "") -> None:
        """Adds a resource; `AlreadyExists` if there is one of that name, or one that differs by case only."""
        try:
            with self._c.begin_nested():
                self._c.execute(insert(resources).values(operation=operation, **_resource_values(resource)))
        except IntegrityError:
            name = resource.name
            raise AlreadyExists(f"{name} exists already", metadata={"name": str(name)}) from None

    def save(self, resource: Resource[Any]) -> None:
        """Writes every field of a resource that is there."""
        self._c.execute(
            update(resources).where(resources.c.name == str(resource.name)).values(**_resource_values(resource))
        )

    def drop(self, name: Name) -> None:
        """Forgets a resource. A user leaves its groups, a file server takes the checks with it that waited for it."""
        if name.kind is Kind.USER:
            for group in self.members(name.server, Kind.GROUP):
                if name.id in group.spec.members:
                    left = _with_members(group, [member for member in group.spec.members if member != name.id])
                    self.save(replace(left, generation=group.generation + 1, observed_generation=group.generation + 1))
        elif name.kind is Kind.FILE_SERVER:
            waiting = and_(
                operations.c.server == str(name),
                operations.c.verb == Verb.REPAIR.value,
                operations.c.state == OperationState.PENDING.value,
            )
            self._c.execute(delete(operations).where(waiting))
        self._c.execute(delete(resources).where(resources.c.name == str(name)))

    def busy_with(self, name: Name) -> str:
        """Id of the operation that works on the resource; empty if none does."""
        query = select(resources.c.operation).where(resources.c.name == str(name))
        return self._c.execute(query).scalar() or ""

    def occupy(self, names: Sequence[Name], operation: str) -> None:
        """Marks what an operation works on; an empty id frees it."""
        query = update(resources).where(resources.c.name.in_([str(name) for name in names]))
        self._c.execute(query.values(operation=operation))

    def occupied_by(self, operation: str) -> list[Resource[Any]]:
        query = select(resources).where(resources.c.operation == operation).order_by(resources.c.kind, resources.c.key)
        return [_resource(row) for row in self._c.execute(query)]

    def next_number(self, name: str, first: int) -> int:
        """A number that this counter never gave before, `first` at the beginning."""
        query = select(counters.c.value).where(counters.c.name == name).with_for_update()
        last = self._c.execute(query).scalar()
        if last is None:
            self._c.execute(insert(counters).values(name=name, value=first))
            return first
        self._c.execute(update(counters).where(counters.c.name == name).values(value=last + 1))
        return int(last) + 1

    # Operations

    def add_operation(self, operation: Operation) -> None:
        self._c.execute(insert(operations).values(lease_owner="", lease_until=0.0, **_operation_values(operation)))

    def operation(self, id: str) -> Operation | None:
        row = self._c.execute(select(operations).where(operations.c.id == id)).first()
        return _operation(row) if row is not None else None

    def save_operations(self, changed: Sequence[Operation]) -> None:
        for operation in changed:
            values = _operation_values(operation)
            # A cancel that came meanwhile is not overwritten.
            del values["cancel_requested"]
            self._c.execute(update(operations).where(operations.c.id == operation.id).values(**values))

    def request_cancel(self, id: str) -> None:
        self._c.execute(update(operations).where(operations.c.id == id).values(cancel_requested=True))

    def cancels(self, ids: Sequence[str]) -> set[str]:
        """Those of these operations that shall be cancelled."""
        query = select(operations.c.id).where(operations.c.id.in_(ids), operations.c.cancel_requested)
        return set(self._c.execute(query).scalars())

    def operations_page(self, *, after: int, limit: int) -> list[tuple[int, Operation]]:
        """Operations with their sequence numbers, newest first; `after` is the last number seen, 0 for the start."""
        query = select(operations).order_by(operations.c.seq.desc()).limit(limit)
        if after:
            query = query.where(operations.c.seq < after)
        return [(row.seq, _operation(row)) for row in self._c.execute(query)]

    def drop_operation(self, id: str) -> None:
        self._c.execute(delete(secrets).where(secrets.c.operation == id))
        self._c.execute(delete(operations).where(operations.c.id == id))

    def pending_count(self) -> int:
        query = select(func.count()).where(operations.c.state == OperationState.PENDING.value)
        return int(self._c.execute(query).scalar() or 0)

    def waiting_on(self, server: Name) -> list[Operation]:
        """Operations of a file server that have not ended, in the order of acceptance."""
        query = select(operations).where(
            operations.c.server == str(server), operations.c.state != OperationState.DONE.value
        )
        return [_operation(row) for row in self._c.execute(query.order_by(operations.c.seq))]

    # Taking work: one worker for each file server at a time

    def lease(self, owner: str, now: float, seconds: float, batch: Callable[[Sequence[Operation]], int]) -> list[Operation]:
        """Takes the oldest work that nobody has: the first operations that wait for one file server, as many as `batch`
        says of them, held until `now + seconds`. Work whose lease ran out counts as waiting. Empty if there is none."""
        held = and_(operations.c.state == OperationState.RUNNING.value, operations.c.lease_until > now)
        busy = select(operations.c.server).where(held)
        waiting = or_(
            operations.c.state == OperationState.PENDING.value,
            and_(operations.c.state == OperationState.RUNNING.value, operations.c.lease_until <= now),
        )
        candidates = (
            select(operations.c.server)
            .where(waiting, operations.c.server.not_in(busy))
            .group_by(operations.c.server)
            .order_by(func.min(operations.c.seq))
            .limit(20)
        )
        for server in self._c.execute(candidates).scalars().all():
            gate = select(resources.c.name).where(resources.c.name == server).with_for_update(skip_locked=True)
            if self._c.execute(gate).first() is None:
                continue
            rows = self._c.execute(select(operations).where(operations.c.server == server, or_(held, waiting)))
            mine = sorted(rows, key=lambda row: row.seq)
            if any(row.lease_until > now for row in mine):
                continue
            found = [_operation(row) for row in mine]
            taken = found[: batch(found)]
            return [self._take(operation, owner, now, seconds) for operation in taken]
        return []

    def _take(self, operation: Operation, owner: str, now: float, seconds: float) -> Operation:
        taken = replace(
            operation,
            state=OperationState.RUNNING,
            start_time=operation.start_time or now,
            attempts=operation.attempts + 1,
        )
        self._c.execute(
            update(operations)
            .where(operations.c.id == operation.id)
            .values(
                state=taken.state.value,
                start_time=taken.start_time,
                attempts=taken.attempts,
                lease_owner=owner,
                lease_until=now + seconds,
            )
        )
        return taken

    def renew(self, ids: Sequence[str], owner: str, until: float) -> bool:
        """Holds the work longer; false if any of it was taken by another worker meanwhile."""
        query = update(operations).where(operations.c.id.in_(ids), operations.c.lease_owner == owner)
        return self._c.execute(query.values(lease_until=until)).rowcount == len(ids)

    def release_leases(self) -> None:
        """Makes all running work waiting again. Only for the embedded store at start, when nobody else can hold any."""
        self._c.execute(update(operations).values(lease_until=0.0).where(operations.c.lease_until > 0.0))

    # Requests

    def request(self, request_id: str, now: float) -> tuple[str, str] | None:
        """Fingerprint and operation of an earlier request that has not expired."""
        query = select(requests).where(requests.c.request_id == request_id, requests.c.expires > now)
        row = self._c.execute(query).first()
        return (row.fingerprint, row.operation) if row is not None else None

    def remember_request(self, request_id: str, fingerprint: str, operation: str, expires: float) -> None:
        self._c.execute(delete(requests).where(requests.c.request_id == request_id))
        values = {"request_id": request_id, "fingerprint": fingerprint, "operation": operation, "expires": expires}
        self._c.execute(insert(requests).values(**values))

    def purge(self, *, ended_before: float, now: float) -> None:
        """Forgets operations that ended long ago and requests that expired."""
        old = and_(operations.c.state == OperationState.DONE.value, operations.c.end_time < ended_before)
        self._c.execute(delete(operations).where(old))
        self._c.execute(delete(requests).where(requests.c.expires <= now))

    # Secrets

    def put_secret(self, key: str, operation: str, sealed: bytes) -> None:
        self._c.execute(delete(secrets).where(secrets.c.key == key))
        self._c.execute(insert(secrets).values(key=key, operation=operation, sealed=sealed))

    def secret(self, key: str) -> bytes | None:
        return self._c.execute(select(secrets.c.sealed).where(secrets.c.key == key)).scalar()

    def drop_secrets(self, ids: Sequence[str]) -> None:
        """Those of these operations."""
        self._c.execute(delete(secrets).where(secrets.c.operation.in_(ids)))

    # Claims

    def claim(self, kind: str, value: str) -> Claim | None:
        row = self._c.execute(select(claims).where(claims.c.kind == kind, claims.c.value == value)).first()
        return Claim(row.kind, row.value, row.owner, row.facts) if row is not None else None

    def claims_of(self, owner: str) -> list[Claim]:
        query = select(claims).where(claims.c.owner == owner).order_by(claims.c.kind, claims.c.value)
        return [Claim(row.kind, row.value, row.owner, row.facts) for row in self._c.execute(query)]

    def put_claim(self, claim: Claim) -> Claim:
        """See `Claims.put`."""
        try:
            with self._c.begin_nested():
                self._c.execute(insert(claims).values(**asdict(claim)))
            return claim
        except IntegrityError:
            standing = self.claim(claim.kind, claim.value)
        if standing is None or standing.owner != claim.owner:
            raise PreconditionFailed(
                f"the {claim.kind} {claim.value} belongs to another resource",
                help=f"Choose another {claim.kind}, or delete the resource that has it.",
                metadata={"kind": claim.kind, "value": claim.value},
            )
        return standing

    def release_claim(self, kind: str, value: str, owner: str) -> None:
        self._c.execute(delete(claims).where(claims.c.kind == kind, claims.c.value == value, claims.c.owner == owner))


def _with_members(group: Resource[GroupSpec], members: Sequence[str]) -> Resource[GroupSpec]:
    return replace(group, spec=replace(group.spec, members=tuple(members)))


def _resource(row: Row[Any]) -> Resource[Any]:
    kind = Kind(row.kind)
    return Resource(
        name=parse_name(row.name, kind),
        uid=row.uid,
        spec=decode(SPECS[kind], row.spec),
        state=State(row.state),
        generation=row.generation,
        observed_generation=row.observed_generation,
        create_time=row.create_time,
        update_time=row.update_time,
        assigned=row.assigned,
        conditions=tuple(decode(Condition, item) for item in row.conditions),
    )


def _resource_values(resource: Resource[Any]) -> dict[str, Any]:
    name = resource.name
    return {
        "name": str(name),
        "kind": name.kind.value,
        "parent": name.parent,
        "server": str(name.server),
        "last": name.last,
        "key": name.key,
        "uid": resource.uid,
        "spec": encode(resource.spec),
        "assigned": dict(resource.assigned),
        "conditions": encode(resource.conditions),
        "state": resource.state.value,
        "generation": resource.generation,
        "observed_generation": resource.observed_generation,
        "create_time": resource.create_time,
        "update_time": resource.update_time,
    }


def _operation(row: Row[Any]) -> Operation:
    return Operation(
        id=row.id,
        target=parse_name(row.target, Kind(row.kind)),
        verb=Verb(row.verb),
        state=OperationState(row.state),
        create_time=row.create_time,
        start_time=row.start_time,
        end_time=row.end_time,
        steps=tuple(StepProgress(name, StepState(state), detail) for name, state, detail in row.steps),
        cancel_requested=row.cancel_requested,
        attempts=row.attempts,
        request_id=row.request_id,
        principal=row.principal,
        options=row.options,
        previous=row.previous,
        error=row.error,
        result=row.result,
    )


def _operation_values(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "target": str(operation.target),
        "kind": operation.target.kind.value,
        "server": str(operation.target.server),
        "verb": operation.verb.value,
        "state": operation.state.value,
        "create_time": operation.create_time,
        "start_time": operation.start_time,
        "end_time": operation.end_time,
        "steps": [[step.name, step.state.value, step.detail] for step in operation.steps],
        "cancel_requested": operation.cancel_requested,
        "attempts": operation.attempts,
        "request_id": operation.request_id,
        "principal": operation.principal,
        "options": dict(operation.options),
        "previous": operation.previous,
        "error": operation.error,
        "result": operation.result,
    }


def snapshot_of(resource: Resource[Any]) -> Mapping[str, Any]:
    """A resource as JSON, for an operation's result."""
    return _resource_values(resource)


def from_snapshot(data: Mapping[str, Any]) -> Resource[Any]:
    """The resource that `snapshot_of` had been given."""
    return _resource(_Snapshot(data))  # type: ignore[arg-type]


class _Snapshot:
    """JSON that is read like a row."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.__dict__.update(data)
