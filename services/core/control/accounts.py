"""Users and groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from services.core.codec import decode
from services.core.control.base import Base, leaving, refuse_if, require_made
from services.core.control.calls import Answer, Call
from services.core.domain.account import GroupSpec, UserSpec, check_password
from services.core.domain.names import Kind, Name, check_id
from services.core.domain.operation import Operation, Verb
from services.core.domain.resource import Resource, State
from services.core.domain.share import PrincipalKind, ShareSpec
from services.core.errors import (
    AlreadyExists,
    InvalidField,
)
from services.core.store import Transaction


class Accounts(Base):
    """Changes to users and groups."""

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
            refuse_if([user] if user.state is State.DELETING else [], f"{name} is being removed", "is being removed")
            tx.put_secret(user.uid, op.id, self._vault.seal(password, user.uid))
            tx.save(replace(user, state=State.UPDATING))
            return user

        return self._run(call, name, Verb.RESET_PASSWORD, change, {"end_sessions": end_sessions})

    def delete_user(self, call: Call, name: Name) -> Answer:
        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            self._parent(tx, name.server, leaving=True)
            user = self._lock(tx, name, call, op.id)
            _refuse_named(tx, name, PrincipalKind.USER)
            tx.save(leaving(user, {}))
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
            _refuse_named(tx, name, PrincipalKind.GROUP)
            tx.save(leaving(group, {}))
            return group

        return self._run(call, name, Verb.DELETE, change)

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
        users, parent = tx.contents(server).named(Kind.USER), tx.get(server)
        for i, member in enumerate(spec.members):
            if member not in users:
                raise InvalidField.of(f"{field}.members[{i}]", f"the file server has no user {member!r}")
            require_made(tx, users[member], parent, self._backend)


def _refuse_named(tx: Transaction, name: Name, kind: PrincipalKind) -> None:
    """Refuses while a share names the user or group, or did before an update that can still fail and bring that back."""
    shares = {share.name: [share] for share in tx.contents(name.server).shares}
    for op in tx.waiting_on(name.server):
        if op.previous is not None and op.target in shares:
            before = decode(ShareSpec, op.previous)
            shares[op.target].append(replace(shares[op.target][0], spec=before))
    named = [
        states[0] for states in shares.values() if any((kind, name.id) in s.spec.principals().values() for s in states)
    ]
    refuse_if(named, f"shares name the {kind.value} {name.id!r}", f"names the {kind.value}")
