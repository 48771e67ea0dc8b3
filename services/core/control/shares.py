"""Shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from services.core.control.base import Base, below, leaving, refuse_if, require_made
from services.core.control.calls import Answer, Call
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind, Name, check_id
from services.core.domain.operation import Operation, Verb
from services.core.domain.resource import Resource, State
from services.core.domain.share import (
    DirectoryStorage,
    GuestAccess,
    HostPathStorage,
    PrincipalKind,
    ShareSpec,
    VolumeStorage,
)
from services.core.errors import (
    InvalidField,
    PreconditionFailed,
    Violation,
)
from services.core.store import Transaction

_FIELDS = {DirectoryStorage: "share.directory", VolumeStorage: "share.volume", HostPathStorage: "share.host_path"}
_ACCOUNTS = {PrincipalKind.USER: Kind.USER, PrincipalKind.GROUP: Kind.GROUP}


class Shares(Base):
    """Changes to shares."""

    def create_share(self, call: Call, server: Name, id: str, spec: ShareSpec) -> Answer:
        check_id(Kind.SHARE, id, "share_id")
        spec = self._mode.complete_share(spec)
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
                refuse_nested(tx, share)
            tx.save(leaving(share, op.options))
            return share

        return self._run(call, name, Verb.DELETE, change, {"delete_data": delete_data})

    def _check_share(self, tx: Transaction, server: Resource[FileServerSpec], id: str, spec: ShareSpec, field: str) -> None:
        below(field, lambda: self._mode.check_share(server, id, spec))
        for path, (kind, principal) in spec.principals().items():
            # PostgreSQL refuses some characters that no name has.
            account = tx.find(server.name.child(_ACCOUNTS[kind], principal)) if principal.isprintable() else None
            if account is None or account.state is State.DELETING:
                raise InvalidField.of(f"{field}.{path}", f"the file server has no {kind.value} {principal!r}")
            require_made(tx, account, server, self._backend)
        if spec.guest_access is not GuestAccess.NONE and not server.spec.smb.allow_guests:
            raise PreconditionFailed(
                "the file server does not let guests in",
                help="Set smb.allow_guests of the file server first.",
                violations=[Violation(str(server.name), "smb.allow_guests is false")],
            )


def _check_storage_change(old: ShareSpec, new: ShareSpec) -> None:
    """Where the files are cannot be changed, but a volume can grow."""
    if isinstance(old.storage, VolumeStorage) and isinstance(new.storage, VolumeStorage):
        if new.storage.size_bytes < old.storage.size_bytes:
            raise InvalidField.of("share.volume.size_bytes", "a volume cannot shrink")
        if replace(new.storage, size_bytes=old.storage.size_bytes) != old.storage:
            raise InvalidField.of("share.volume", "only the size can be changed")
    elif old.storage != new.storage:
        raise InvalidField.of(_FIELDS[type(new.storage)], "where a share's files are cannot be changed; make a new share")


def refuse_nested(tx: Transaction, share: Resource[Any]) -> None:
    """Refuses to remove files among which are those of another share, of whichever file server."""
    path = share.assigned["path"].rstrip("/")
    others = [s for s in tx.contents(share.name.server).shares if s.assigned["path"].startswith(path + "/")]
    for claim in tx.claims_below("directory", path):
        owner = tx.by_uid(claim.owner)
        if owner is not None and owner.uid != share.uid and owner.name not in [other.name for other in others]:
            others.append(owner)
    refuse_if(others, "another share lies within this one", "has its files there")
