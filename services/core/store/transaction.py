"""What can be read and written in one transaction of the store, in the domain's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from services.core.domain.account import GroupSpec
from services.core.domain.names import CONTENTS, ROOTS, Kind, Name
from services.core.domain.operation import Operation, OperationState, StepProgress, Verb
from services.core.domain.resource import Resource, State
from services.core.errors import AlreadyExists, NotFound, PreconditionFailed
from services.core.steps import Claim, Contents
from services.core.store import statements as sql
from services.core.store.rows import (
    RESOURCE_COLUMNS,
    operation_of,
    operation_values,
    resource_of,
    resource_values,
    steps_values,
)
from services.core.store.tables import claims, counters, operations, requests, resources, secrets


class Transaction:
    """One transaction. Rows that are read with `lock` cannot change until it ends."""

    def __init__(self, connection: Connection) -> None:
        self._c = connection

    # Resources

    def find(self, name: Name, *, lock: bool = False) -> Resource[Any] | None:
        values = {"kind": name.kind.value, "parent": name.parent, "key": name.key}
        row = self._c.execute(sql.FIND_LOCKED if lock else sql.FIND, values).first()
        # The key finds what differs by case only; as a name that is somebody else.
        return resource_of(row) if row is not None and row.last == name.last else None

    def get(self, name: Name, *, lock: bool = False) -> Resource[Any]:
        """Like `find`, but `NotFound` when there is none."""
        found = self.find(name, lock=lock)
        if found is None:
            raise NotFound.of(str(name))
        return found

    def by_uid(self, uid: str, *, lock: bool = False) -> Resource[Any] | None:
        query = select(*RESOURCE_COLUMNS).where(resources.c.uid == uid)
        row = self._c.execute(query.with_for_update() if lock else query).first()
        return resource_of(row) if row is not None else None

    def page(self, kind: Kind, parent: str, *, after: str, limit: int) -> list[Resource[Any]]:
        """The next resources of a collection after the one with the key `after`, by their keys."""
        query = (
            select(*RESOURCE_COLUMNS)
            .where(resources.c.kind == kind.value, resources.c.parent == parent, resources.c.key > after)
            .order_by(resources.c.key)
            .limit(limit)
        )
        return [resource_of(row) for row in self._c.execute(query)]

    def servers(self) -> list[Resource[Any]]:
        """Every file server."""
        query = select(*RESOURCE_COLUMNS).where(resources.c.kind == Kind.FILE_SERVER.value).order_by(resources.c.name)
        return [resource_of(row) for row in self._c.execute(query)]

    def roots(self) -> list[Resource[Any]]:
        """Every file server and every template."""
        kinds = [kind.value for kind in ROOTS]
        query = select(*RESOURCE_COLUMNS).where(resources.c.kind.in_(kinds)).order_by(resources.c.kind, resources.c.name)
        return [resource_of(row) for row in self._c.execute(query)]

    def members(self, server: Name, *kinds: Kind, lock: bool = False) -> list[Resource[Any]]:
        """What is in a file server, by kind and key."""
        query = (
            select(*RESOURCE_COLUMNS)
            .where(resources.c.server == str(server), resources.c.kind.in_([kind.value for kind in kinds]))
            .order_by(resources.c.kind, resources.c.key)
        )
        rows = self._c.execute(query.with_for_update() if lock else query)
        return [resource_of(row) for row in rows]

    def contents(self, server: Name) -> Contents:
        """The desired contents of a file server, without what is being deleted: neither as a resource of its own nor as
        a member of a group."""
        rows = [r for r in self.members(server, *CONTENTS) if r.state is not State.DELETING]
        by_kind = {kind: [r for r in rows if r.name.kind is kind] for kind in Kind}
        users = {user.name.id for user in by_kind[Kind.USER]}
        groups = [_with_members(group, [m for m in group.spec.members if m in users]) for group in by_kind[Kind.GROUP]]
        return Contents(by_kind[Kind.SHARE], by_kind[Kind.USER], groups)

    def insert(self, resource: Resource[Any], operation: str = "") -> None:
        """Adds a resource; `AlreadyExists` if there is one of that name, or one that differs by case only."""
        try:
            with self._c.begin_nested():
                self._c.execute(sql.INSERT_RESOURCE, {"operation": operation, **resource_values(resource)})
        except IntegrityError:
            name = resource.name
            raise AlreadyExists(f"{name} exists already", metadata={"name": str(name)}) from None

    def save(self, resource: Resource[Any]) -> None:
        """Writes every field of a resource that is there."""
        self._c.execute(sql.SAVE_RESOURCE, {"this": str(resource.name), **resource_values(resource)})

    def drop(self, name: Name) -> None:
        """Forgets a resource. A user leaves its groups, a file server or template takes the checks with it that waited."""
        if name.kind is Kind.USER:
            for group in self.members(name.server, Kind.GROUP, lock=True):
                if name.id in group.spec.members:
                    left = _with_members(group, [member for member in group.spec.members if member != name.id])
                    self.save(replace(left, generation=group.generation + 1, observed_generation=group.generation + 1))
        elif name.kind in ROOTS:
            waiting = and_(
                operations.c.server == str(name),
                operations.c.verb == Verb.REPAIR.value,
                operations.c.state == OperationState.PENDING.value,
            )
            self._c.execute(delete(operations).where(waiting))
        self._c.execute(delete(resources).where(resources.c.name == str(name)))

    def busy_with(self, name: Name) -> str:
        """Id of the operation that works on the resource; empty if none does."""
        return self._c.execute(sql.BUSY_WITH, {"this": str(name)}).scalar() or ""

    def occupy(self, names: Sequence[Name], operation: str) -> None:
        """Marks what an operation works on; an empty id frees it."""
        query = update(resources).where(resources.c.name.in_([str(name) for name in names]))
        self._c.execute(query.values(operation=operation))

    def release(self, ids: Sequence[str]) -> None:
        """Frees everything that these operations work on."""
        self._c.execute(update(resources).where(resources.c.operation.in_(ids)).values(operation=""))

    def occupied_by(self, operation: str) -> list[Resource[Any]]:
        return [resource_of(row) for row in self._c.execute(sql.OCCUPIED_BY, {"this": operation})]

    def next_number(self, name: str, first: int) -> int:
        """A number that this counter never gave before, `first` at the beginning."""
        query = select(counters.c.value).where(counters.c.name == name).with_for_update()
        last = self._c.execute(query).scalar()
        if last is None:
            try:
                with self._c.begin_nested():
                    self._c.execute(insert(counters).values(name=name, value=first))
                return first
            except IntegrityError:  # another replica was the first
                last = self._c.execute(query).scalar_one()
        self._c.execute(update(counters).where(counters.c.name == name).values(value=last + 1))
        return int(last) + 1

    def belong_to(self, backend: str) -> None:
        """Gives a new store to this backend; `PreconditionFailed` if it is another's, whose machines are not ours."""
        prefix = "backend:"
        owners = self._c.execute(select(counters.c.name).where(counters.c.name.startswith(prefix))).scalars().all()
        if not owners:
            self.next_number(prefix + backend, 1)
        elif owners != [prefix + backend]:
            raise PreconditionFailed(
                f"this store belongs to the backend {owners[0].removeprefix(prefix)!r}",
                help="Give each backend a store of its own, and do not change a backend's id.",
            )

    # Operations

    def add_operation(self, operation: Operation) -> None:
        self._c.execute(sql.INSERT_OPERATION, {"lease_owner": "", "lease_until": 0.0, **operation_values(operation)})

    def operation(self, id: str) -> Operation | None:
        row = self._c.execute(sql.OPERATION, {"this": id}).first()
        return operation_of(row) if row is not None else None

    def save_operations(self, changed: Sequence[Operation]) -> None:
        for operation in changed:
            values = operation_values(operation)
            # A cancel that came meanwhile is not overwritten.
            del values["cancel_requested"]
            self._c.execute(sql.SAVE_OPERATION, {"this": operation.id, **values})

    def save_steps(self, ids: Sequence[str], steps: Sequence[StepProgress]) -> None:
        """Gives these operations the same steps."""
        query = update(operations).where(operations.c.id.in_(ids))
        self._c.execute(query.values(steps=steps_values(steps)))

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
        return [(row.seq, operation_of(row)) for row in self._c.execute(query)]

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
        return [operation_of(row) for row in self._c.execute(query.order_by(operations.c.seq))]

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
            found = [operation_of(row) for row in mine]
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
        values = {
            "state": taken.state.value,
            "start_time": taken.start_time,
            "attempts": taken.attempts,
            "lease_owner": owner,
            "lease_until": now + seconds,
        }
        self._c.execute(sql.SAVE_OPERATION, {"this": operation.id, **values})
        return taken

    def renew(self, ids: Sequence[str], owner: str, until: float) -> bool:
        """Holds the work longer; false if any of it was taken by another worker meanwhile."""
        query = update(operations).where(operations.c.id.in_(ids), operations.c.lease_owner == owner)
        return self._c.execute(query.values(lease_until=until)).rowcount == len(ids)

    def release_leases(self) -> None:
        """Makes all running work waiting again. Only for the embedded store at start, when nobody else can hold any."""
        self._c.execute(update(operations).values(lease_until=0.0).where(operations.c.lease_until > 0.0))

    # Requests

    def hold_request(self, request_id: str) -> None:
        """Lets no other transaction hold the same request until this one ends, so that of two repetitions which come at
        once the second sees what the first did. SQLite has one writing transaction at a time anyway."""
        if self._c.dialect.name == "postgresql":
            self._c.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(request_id, 0))))

    def request(self, request_id: str, now: float) -> tuple[str, str] | None:
        """Fingerprint and operation of an earlier request that has not expired."""
        row = self._c.execute(sql.REQUEST, {"this": request_id, "now": now}).first()
        return (row.fingerprint, row.operation) if row is not None else None

    def remember_request(self, request_id: str, fingerprint: str, operation: str, expires: float) -> None:
        self._c.execute(sql.DROP_REQUEST, {"this": request_id})
        values = {"request_id": request_id, "fingerprint": fingerprint, "operation": operation, "expires": expires}
        self._c.execute(sql.INSERT_REQUEST, values)

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
        row = self._c.execute(sql.CLAIM, {"kind": kind, "value": value}).first()
        return Claim(row.kind, row.value, row.owner, row.facts) if row is not None else None

    def claims_of(self, owner: str) -> list[Claim]:
        query = select(claims).where(claims.c.owner == owner).order_by(claims.c.kind, claims.c.value)
        return [Claim(row.kind, row.value, row.owner, row.facts) for row in self._c.execute(query)]

    def claims_on(self, kind: str) -> list[Claim]:
        """All claims of this kind."""
        query = select(claims).where(claims.c.kind == kind).order_by(claims.c.value)
        return [Claim(row.kind, row.value, row.owner, row.facts) for row in self._c.execute(query)]

    def claims_below(self, kind: str, path: str) -> list[Claim]:
        """Claims on what lies within this path, the path itself left out."""
        inside = claims.c.value.startswith(path.rstrip("/") + "/", autoescape=True)
        rows = self._c.execute(select(claims).where(claims.c.kind == kind, inside))
        return [Claim(row.kind, row.value, row.owner, row.facts) for row in rows]

    def put_claim(self, claim: Claim) -> Claim:
        """See `Claims.put`."""
        try:
            with self._c.begin_nested():
                self._c.execute(sql.INSERT_CLAIM, asdict(claim))
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
