"""File servers, and what is made together with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.core.control.accounts import Accounts
from services.core.control.base import below, busy_error, leaving, refuse_if
from services.core.control.calls import Answer, Call, NewContents
from services.core.control.shares import Shares, refuse_nested
from services.core.control.templates import Templates
from services.core.domain.account import check_password
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import CONTENTS, Kind, Name, check_id
from services.core.domain.operation import Operation, Verb
from services.core.domain.resource import Resource
from services.core.domain.share import GuestAccess
from services.core.store import Transaction


class Control(Shares, Accounts, Templates):
    """Every change that a caller can ask for."""

    def create_file_server(self, call: Call, id: str, spec: FileServerSpec, new: NewContents) -> Answer:
        """Makes a file server, and its first contents with it."""
        check_id(Kind.FILE_SERVER, id, "file_server_id")
        below("file_server", lambda: self._mode.check_server(spec))
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

        def check(tx: Transaction, old: Resource[Any], spec: FileServerSpec) -> None:
            below("file_server", lambda: self._mode.check_server(spec, old.spec))
            if spec.smb.allow_guests:
                return
            open_ = [s for s in tx.contents(name).shares if s.spec.guest_access is not GuestAccess.NONE]
            refuse_if(open_, "guests cannot be shut out while a share lets them in", "lets guests in")

        return self._update(call, name, merge, check)

    def delete_file_server(self, call: Call, name: Name, *, force: bool, delete_data: bool) -> Answer:
        """Removes a file server; with `force` together with its contents."""

        def change(tx: Transaction, op: Operation) -> Resource[Any]:
            server = self._lock(tx, name, call, op.id)
            members = tx.members(name, *CONTENTS)
            shares = [m for m in members if m.name.kind is Kind.SHARE]
            if not force:
                refuse_if(shares, "the file server has shares; set force to remove them too", "is in the file server")
            if not delete_data:
                self._mode.check_removal(server, shares)
            for resource in [server, *members]:
                busy = tx.busy_with(resource.name)
                if busy and resource is not server:
                    raise busy_error(resource.name, busy, self._backend)
                if delete_data and resource.name.kind is Kind.SHARE:
                    refuse_nested(tx, resource)
                tx.save(leaving(resource, op.options))
            tx.occupy([server.name, *(m.name for m in members)], op.id)
            return server

        return self._run(call, name, Verb.DELETE, change, {"delete_data": delete_data})

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
            share = self._mode.complete_share(share)
            self._check_share(tx, server, id, share, f"shares[{i}].share")
            path = self._mode.share_path(server.name, id, share)
            tx.insert(self._new(server.name.child(Kind.SHARE, id), share, {"path": path}), op.id)
