"""What the API does, in the domain's words: checks a request, writes the desired state, and leaves an operation behind.

Nothing here touches a machine. Each call is one transaction; the worker does the rest.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from services.core.claims import StoredClaims
from services.core.codec import encode
from services.core.domain.account import GroupSpec, UserSpec, check_password
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind, Name, check_id
from services.core.domain.operation import Operation, OperationState, Verb
from services.core.domain.resource import Resource, State
from services.core.domain.share import DirectoryStorage, GuestAccess, PrincipalKind, ShareSpec, VolumeStorage
from services.core.errors import (
    AlreadyExists,
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
from services.core.steps import Change, Contents, Mode, Plan, Work
from services.core.store import Store, Transaction
from services.core.worker import Worker

REQUEST_SECONDS = 24 * 3600
CONTENTS = (Kind.SHARE, Kind.USER, Kind.GROUP)


class ModeRules(Mode, Protocol):
    """What control asks of a mode besides running its steps."""

    @property
    def id_first(self) -> int:
        """First of the numeric ids that it may give to users and groups."""

    @property
    def id_count(self) -> int:
        """How many there are."""

    def check_server(self, spec: FileServerSpec) -> None:
        """Refuses what this mode cannot do; `InvalidField` or `FeatureNotAvailable` with a path in the file server."""

    def check_share(self, server: Resource[FileServerSpec], id: str, spec: ShareSpec) -> None:
        """Refuses what this mode cannot do; paths are relative to the share."""

    def share_path(self, server: Name, id: str, spec: ShareSpec) -> str:
        """Where the files of a share will be."""


@dataclass(frozen=True)
class Call:
    """What every change has in common. `fingerprint` is a digest of the request without its request_id."""

    request_id: str = ""
    fingerprint: str = ""
    validate_only: bool = False
    etag: str = ""
    principal: str = ""


@dataclass(frozen=True)
class NewContents:
    """What is made together with a file server."""

    shares: Mapping[str, ShareSpec] = field(default_factory=dict)
    users: Mapping[str, tuple[UserSpec, str]] = field(default_factory=dict)
    groups: Mapping[str, GroupSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """The answer to `validate_only`: what the resource would be, and how."""

    resource: Resource[Any] | None
    target: Name
    verb: Verb
    plan: Plan


Answer = Operation | Planned


class _PlanOnly(Exception):
    """Ends a transaction whose outcome was only to be seen."""


class Control:
    """The changes that callers can ask for. Thread-safe."""

    def __init__(self, store: Store, mode: ModeRules, vault: Vault, clock: Clock, worker: Worker, backend: str) -> None:
        self._store = store
        self._mode = mode
        self._vault = vault
        self._clock = clock
        self._worker = worker
        self._backend = backend

    # Reading

    def get(self, name: Name) -> Resource[Any]:
        with self._store.snapshot() as tx:
            return tx.get(name)

    def page(self, kind: Kind, parent: Name | None, *, after: str, limit: int) -> list[Resource[Any]]:
        """Resources after the key `after`; `NotFound` if the file server that they are in is not there."""
        with self._store.snapshot() as tx:
            if parent is not None:
                tx.get(parent)
            return tx.page(kind, str(parent or f"backends/{self._backend}"), after=after, limit=limit)

    # File servers

    def create_file_server(self, call: Call, id: str, spec: FileServerSpec, new: NewContents) -> Answer:
        """Makes a file server, and its first contents with it."""
        check_id(Kind.FILE_SERVER, id, "file_server_id")
        _below("file_server", lambda: self._mode.check_server(spec))
        name = Name(self._backend, id)

        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            assigned = {key: self._number(tx) for key in ("users_gid", "guest_uid", "probe_uid")}
            server = self._new(name, spec, assigned)
            tx.insert(server, op.id)
            self._create_contents(tx, op, server, new)
            return server

        return self._run(call, name, Verb.CREATE, change)

    def update_file_server(self, call: Call, name: Name, merge: Callable[[Resource[Any]], FileServerSpec]) -> Answer:
        """Changes a file server to what `merge` makes of it."""

        def check(tx: Transaction, _old: Resource[Any], spec: FileServerSpec) -> None:
            _below("file_server", lambda: self._mode.check_server(spec))
            if spec.smb.allow_guests:
                return
            open_ = [s for s in tx.contents(name).shares if s.spec.guest_access is not GuestAccess.NONE]
            _refuse_if(open_, "guests cannot be shut out while a share lets them in", "lets guests in")

        return self._update(call, name, merge, check)

    def delete_file_server(self, call: Call, name: Name, *, force: bool, delete_data: bool) -> Answer:
        """Removes a file server; with `force` together with its contents."""

        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            server = self._lock(tx, name, call, op.id)
            members = tx.members(name, *CONTENTS)
            shares = [m for m in members if m.name.kind is Kind.SHARE]
            if not force:
                _refuse_if(shares, "the file server has shares; set force to remove them too", "is in the file server")
            for resource in [server, *members]:
                busy = tx.busy_with(resource.name)
                if busy and resource is not server:
                    raise _busy(resource.name, busy, self._backend)
                tx.save(_leaving(resource, op.options))
            tx.occupy([server.name, *(m.name for m in members)], op.id)
            return server

        return self._run(call, name, Verb.DELETE, change, {"delete_data": delete_data})

    # Shares

    def create_share(self, call: Call, server: Name, id: str, spec: ShareSpec) -> Answer:
        check_id(Kind.SHARE, id, "share_id")
        name = server.child(Kind.SHARE, id)

        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            parent = self._parent(tx, server)
            self._check_share(tx, parent, id, spec, "share")
            share = self._new(name, spec, {"path": self._mode.share_path(server, id, spec)})
            tx.insert(share, op.id)
            return share

        return self._run(call, name, Verb.CREATE, change)

    def update_share(self, call: Call, name: Name, merge: Callable[[Resource[Any]], ShareSpec]) -> Answer:
        def check(tx: Transaction, old: Resource[ShareSpec], spec: ShareSpec) -> None:
            _check_storage_change(old.spec, spec)
            self._check_share(tx, self._parent(tx, name.server), name.id, spec, "share")

        return self._update(call, name, merge, check)

    def delete_share(self, call: Call, name: Name, *, delete_data: bool) -> Answer:
        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            self._parent(tx, name.server, leaving=True)
            share = self._lock(tx, name, call, op.id)
            if delete_data:
                inside = share.assigned["path"].rstrip("/") + "/"
                others = [s for s in tx.contents(name.server).shares if s.assigned["path"].startswith(inside)]
                _refuse_if(others, "another share lies within this one", "has its files there")
            tx.save(_leaving(share, op.options))
            return share

        return self._run(call, name, Verb.DELETE, change, {"delete_data": delete_data})

    # Users and groups

    def create_user(self, call: Call, server: Name, id: str, spec: UserSpec, password: str) -> Answer:
        check_id(Kind.USER, id, "user_id")
        check_password("user.password", password)
        name = server.child(Kind.USER, id)

        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            self._parent(tx, server)
            return self._create_user(tx, op, name, spec, password)

        return self._run(call, name, Verb.CREATE, change)

    def update_user(self, call: Call, name: Name, merge: Callable[[Resource[Any]], UserSpec]) -> Answer:
        return self._update(call, name, merge, lambda *_: None)

    def reset_password(self, call: Call, name: Name, password: str, *, end_sessions: bool) -> Answer:
        check_password("password", password)

        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            self._parent(tx, name.server)
            user = self._lock(tx, name, call, op.id)
            _refuse_if([user] if user.state is State.DELETING else [], f"{name} is being removed", "is being removed")
            tx.put_secret(user.uid, op.id, self._vault.seal(password, user.uid))
            tx.save(replace(user, state=State.UPDATING))
            return user

        return self._run(call, name, Verb.RESET_PASSWORD, change, {"end_sessions": end_sessions})

    def delete_user(self, call: Call, name: Name) -> Answer:
        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            self._parent(tx, name.server, leaving=True)
            user = self._lock(tx, name, call, op.id)
            _refuse_named(tx.contents(name.server), PrincipalKind.USER, name.id)
            tx.save(_leaving(user, {}))
            return user

        return self._run(call, name, Verb.DELETE, change)

    def create_group(self, call: Call, server: Name, id: str, spec: GroupSpec) -> Answer:
        check_id(Kind.GROUP, id, "group_id")
        name = server.child(Kind.GROUP, id)

        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            self._parent(tx, server)
            return self._create_group(tx, op, name, spec, "group")

        return self._run(call, name, Verb.CREATE, change)

    def update_group(self, call: Call, name: Name, merge: Callable[[Resource[Any]], GroupSpec]) -> Answer:
        def check(tx: Transaction, _old: Resource[GroupSpec], spec: GroupSpec) -> None:
            self._check_members(tx, name.server, spec, "group")

        return self._update(call, name, merge, check)

    def delete_group(self, call: Call, name: Name) -> Answer:
        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            self._parent(tx, name.server, leaving=True)
            group = self._lock(tx, name, call, op.id)
            _refuse_named(tx.contents(name.server), PrincipalKind.GROUP, name.id)
            tx.save(_leaving(group, {}))
            return group

        return self._run(call, name, Verb.DELETE, change)

    # What they share

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
        planned: list[Planned] = []
        try:
            with self._store.transaction() as tx:
                if call.request_id:
                    tx.hold_request(call.request_id)
                    if (earlier := self._repeated(tx, call, now)) is not None:
                        return earlier
                before = tx.find(target)
                change(tx, op)
                if call.validate_only:
                    planned.append(self._plan(tx, op))
                    raise _PlanOnly
                if verb is Verb.UPDATE and before is not None:
                    op = replace(op, previous=encode(before.spec))
                tx.add_operation(op)
                if call.request_id:
                    tx.remember_request(call.request_id, call.fingerprint, op.id, now + REQUEST_SECONDS)
        except _PlanOnly:
            return planned[0]
        self._worker.wanted.notify()
        return op

    def _repeated(self, tx: Transaction, call: Call, now: float) -> Operation | None:
        """The operation of an earlier request with this request_id."""
        earlier = tx.request(call.request_id, now)
        if earlier is None:
            return None
        fingerprint, id = earlier
        if fingerprint != call.fingerprint:
            raise RequestIdReused(f"request_id {call.request_id} was used for another request")
        return tx.operation(id)

    def _plan(self, tx: Transaction, op: Operation) -> Planned:
        after = tx.get(op.target)
        server = tx.get(op.target.server)
        whole = op.target.kind is Kind.FILE_SERVER
        touched = [r for r in tx.occupied_by(op.id) if r.name.kind is not Kind.FILE_SERVER]
        changes = [Change(r, op.verb, op.options) for r in touched]
        claims = StoredClaims(self._store)
        plan = self._mode.plan(Work(server, whole, changes, tx.contents(server.name), claims, op.options))
        return Planned(after if op.verb is not Verb.DELETE else None, op.target, op.verb, plan)

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
            _refuse_if([old] if old.state is State.DELETING else [], f"{name} is being removed", "is being removed")
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
            raise _busy(name, busy, self._backend)
        tx.occupy([name], operation)
        return resource

    def _parent(self, tx: Transaction, server: Name, *, leaving: bool = False) -> Resource[FileServerSpec]:
        """The file server, locked, so that its contents change one after the other. While it is made its contents are not
        changed; while it is removed neither."""
        parent = tx.get(server, lock=True)
        if parent.state is State.DELETING or (parent.state is State.CREATING and not leaving):
            verb = "removed" if parent.state is State.DELETING else "made"
            raise ResourceBusy(f"{server} is being {verb}", metadata={"operation": self._operation_name(tx, server)})
        return parent

    def _operation_name(self, tx: Transaction, name: Name) -> str:
        busy = tx.busy_with(name)
        return f"backends/{self._backend}/operations/{busy}" if busy else ""

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

    def _create_user(self, tx: Transaction, op: Operation, name: Name, spec: UserSpec, password: str) -> Resource[Any]:
        self._check_account_free(tx, name)
        user = self._new(name, spec, {"unix_id": self._number(tx)})
        tx.insert(user, op.id)
        tx.put_secret(user.uid, op.id, self._vault.seal(password, user.uid))
        return user

    def _create_group(self, tx: Transaction, op: Operation, name: Name, spec: GroupSpec, field: str) -> Resource[Any]:
        self._check_account_free(tx, name)
        self._check_members(tx, name.server, spec, field)
        group = self._new(name, spec, {"unix_id": self._number(tx)})
        tx.insert(group, op.id)
        return group

    def _check_account_free(self, tx: Transaction, name: Name) -> None:
        """Samba looks users and groups up in one space of names."""
        other = name.server.child(Kind.GROUP if name.kind is Kind.USER else Kind.USER, name.id)
        if tx.find(other) is not None:
            raise AlreadyExists(
                f"{other} exists, and a user and a group cannot have one name", metadata={"name": str(other)}
            )

    def _check_members(self, tx: Transaction, server: Name, spec: GroupSpec, field: str) -> None:
        users = tx.contents(server).named(Kind.USER)
        for i, member in enumerate(spec.members):
            if member not in users:
                raise InvalidField.of(f"{field}.members[{i}]", f"the file server has no user {member!r}")

    def _check_share(self, tx: Transaction, server: Resource[FileServerSpec], id: str, spec: ShareSpec, field: str) -> None:
        _below(field, lambda: self._mode.check_share(server, id, spec))
        contents = tx.contents(server.name)
        accounts = {
            PrincipalKind.USER: contents.named(Kind.USER),
            PrincipalKind.GROUP: contents.named(Kind.GROUP),
        }
        for path, (kind, principal) in spec.principals().items():
            if principal not in accounts[kind]:
                raise InvalidField.of(f"{field}.{path}", f"the file server has no {kind.value} {principal!r}")
        if spec.guest_access is not GuestAccess.NONE and not server.spec.smb.allow_guests:
            raise PreconditionFailed(
                "the file server does not let guests in",
                help="Set smb.allow_guests of the file server first.",
                violations=[Violation(str(server.name), "smb.allow_guests is false")],
            )

    def _create_contents(self, tx: Transaction, op: Operation, server: Resource[Any], new: NewContents) -> None:
        for i, (id, (user, password)) in enumerate(new.users.items()):
            check_id(Kind.USER, id, f"users[{i}].user_id")
            check_password(f"users[{i}].user.password", password)
            self._create_user(tx, op, server.name.child(Kind.USER, id), user, password)
        for i, (id, group) in enumerate(new.groups.items()):
            check_id(Kind.GROUP, id, f"groups[{i}].group_id")
            self._create_group(tx, op, server.name.child(Kind.GROUP, id), group, f"groups[{i}].group")
        for i, (id, share) in enumerate(new.shares.items()):
            check_id(Kind.SHARE, id, f"shares[{i}].share_id")
            self._check_share(tx, server, id, share, f"shares[{i}].share")
            path = self._mode.share_path(server.name, id, share)
            tx.insert(self._new(server.name.child(Kind.SHARE, id), share, {"path": path}), op.id)


def _below(prefix: str, check: Callable[[], None]) -> None:
    """Runs a check whose field paths are relative to `prefix`."""
    try:
        check()
    except (InvalidField, FeatureNotAvailable) as error:
        raise error.below(prefix) from None


def _busy(name: Name, operation: str, backend: str) -> ResourceBusy:
    return ResourceBusy(
        f"another operation works on {name}",
        metadata={"operation": f"backends/{backend}/operations/{operation}"},
    )


def _leaving(resource: Resource[Any], options: Mapping[str, Any]) -> Resource[Any]:
    """A resource on its way out. The options are kept with it, so that a removal that failed can be tried again."""
    return replace(resource, state=State.DELETING, assigned={**resource.assigned, "removal": dict(options)})


def _refuse_if(resources: list[Resource[Any]], message: str, why: str) -> None:
    if resources:
        raise PreconditionFailed(message, violations=[Violation(str(r.name), why) for r in resources[:20]])


def _refuse_named(contents: Contents, kind: PrincipalKind, id: str) -> None:
    named = [s for s in contents.shares if (kind, id) in s.spec.principals().values()]
    _refuse_if(named, f"shares name the {kind.value} {id!r}", f"names the {kind.value}")


def _check_storage_change(old: ShareSpec, new: ShareSpec) -> None:
    """Where the files are cannot be changed, but a volume can grow."""
    if isinstance(old.storage, VolumeStorage) and isinstance(new.storage, VolumeStorage):
        if new.storage.size_bytes < old.storage.size_bytes:
            raise InvalidField.of("share.volume.size_bytes", "a volume cannot shrink")
        if replace(new.storage, size_bytes=old.storage.size_bytes) != old.storage:
            raise InvalidField.of("share.volume", "only the size can be changed")
    elif old.storage != new.storage:
        field = "share.directory" if isinstance(new.storage, DirectoryStorage) else "share.volume"
        raise InvalidField.of(field, "where a share's files are cannot be changed; make a new share")
