"""The servicers of the resources, the same for every mode."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
from google.longrunning import operations_pb2
from google.protobuf.message import Message
from pvesmb.v1 import (
    backend_pb2,
    backend_service_pb2,
    backend_service_pb2_grpc,
    file_server_service_pb2,
    file_server_service_pb2_grpc,
    group_service_pb2,
    group_service_pb2_grpc,
    share_service_pb2,
    share_service_pb2_grpc,
    user_service_pb2,
    user_service_pb2_grpc,
)

from services.core.control import Answer, Call, Control, NewContents
from services.core.domain.names import Kind, Name, parse_backend, parse_name
from services.core.domain.resource import Condition, Resource, Severity
from services.core.errors import BackendUnknown, InvalidField, NotFound
from services.core.ports import Vault
from services.kit import pages
from services.kit.identity import current
from services.wire import conversions, lists
from services.wire.masks import merged
from services.wire.operations import Operations

M = TypeVar("M", bound=Message)
#: Most first shares, users or groups of a new file server, each.
MAX_CONTENTS = 1000


class Facts(Protocol):
    """What a mode says about itself and its file servers, for GetBackend and endpoints."""

    @property
    def mode(self) -> backend_pb2.Backend.Mode.ValueType: ...

    @property
    def node(self) -> str: ...

    @property
    def features(self) -> Sequence[str]: ...

    def samba_version(self) -> str: ...

    def conditions(self) -> Sequence[Condition]: ...

    def endpoints(self, server: Resource[Any]) -> Sequence[tuple[str, int]]: ...


@dataclass(frozen=True)
class Service:
    """What every servicer here needs."""

    control: Control
    vault: Vault
    operations: Operations
    version: str
    facts: Facts

    @property
    def backend(self) -> str:
        return self.operations.backend

    def call(self, request: Any, etag: str = "") -> Call:
        """The common fields of a change."""
        request_id = ""
        if request.request_id:
            try:
                request_id = str(uuid.UUID(request.request_id))  # one spelling for each
            except ValueError:
                raise InvalidField.of("request_id", "must be a UUID") from None
        return Call(
            request_id=request_id,
            fingerprint=self._fingerprint(request) if request_id else "",
            validate_only=request.validate_only,
            etag=etag,
            principal=current().principal,
        )

    def _fingerprint(self, request: Message) -> str:
        """Digest of everything but the request_id. Keyed, because a password may be among it."""
        copy = type(request)()
        copy.CopyFrom(request)
        copy.ClearField("request_id")
        data = type(request).__name__.encode() + copy.SerializeToString(deterministic=True)
        return self.vault.derive("fingerprint:" + hashlib.sha256(data).hexdigest())

    def name(self, text: str, kind: Kind, field: str = "name") -> Name:
        name = parse_name(text, kind, field)
        self._mine(name.backend, text)
        return name

    def server(self, parent: str) -> Name:
        return self.name(parent, Kind.FILE_SERVER, "parent")

    def parent_backend(self, parent: str) -> None:
        self._mine(parse_backend(parent), parent)

    def _mine(self, backend: str, text: str) -> None:
        if backend != self.backend:
            raise NotFound(f"{text} is not of this backend, which is {self.backend}", metadata={"name": text})

    def answer(self, answer: Answer) -> operations_pb2.Operation:
        return self.operations.message(answer)

    def page(self, kind: Kind, request: Any, make: Callable[[Resource[Any]], M]) -> tuple[list[M], str]:
        """One page of a list request, and the token of the next."""
        size = pages.page_size(request.page_size)
        if kind is Kind.FILE_SERVER:
            self.parent_backend(request.parent)
            parent = None
        else:
            parent = self.server(request.parent)
        scope = f"{request.parent}/{kind.value}?{request.filter}"
        fits = lists.parse_filter(request.filter)
        rows, place = lists.fill(
            lambda after, limit: self.control.page(kind, parent, after=after, limit=limit),
            lambda resource: resource.name.key,
            fits,
            lists.after(request.page_token, scope),
            size,
        )
        return [make(row) for row in rows], lists.Position(scope, place).token() if place else ""


class BackendServicer(backend_service_pb2_grpc.BackendServiceServicer):
    """A backend's own account of itself. The gateway serves the list."""

    def __init__(self, service: Service) -> None:
        self._s = service

    def GetBackend(self, request: backend_service_pb2.GetBackendRequest, context: grpc.ServicerContext) -> Any:
        name = f"backends/{self._s.backend}"
        if request.name != name:
            raise BackendUnknown(f"{request.name} is not this backend, which is {name}")
        return self._backend()

    def ListBackends(self, request: backend_service_pb2.ListBackendsRequest, context: grpc.ServicerContext) -> Any:
        pages.page_size(request.page_size)
        lists.after(request.page_token, "backends")
        return backend_service_pb2.ListBackendsResponse(backends=[self._backend()])

    def _backend(self) -> backend_pb2.Backend:
        facts = self._s.facts
        conditions = facts.conditions()
        healthy = all(condition.severity is not Severity.ERROR for condition in conditions)
        return backend_pb2.Backend(
            name=f"backends/{self._s.backend}",
            mode=facts.mode,
            health=backend_pb2.Backend.HEALTH_SERVING if healthy else backend_pb2.Backend.HEALTH_NOT_SERVING,
            version=self._s.version,
            node=facts.node,
            samba_version=facts.samba_version(),
            features=facts.features,
            conditions=[conversions.condition_message(condition) for condition in conditions],
        )


class FileServerServicer(file_server_service_pb2_grpc.FileServerServiceServicer):
    """File servers."""

    def __init__(self, service: Service) -> None:
        self._s = service

    def CreateFileServer(
        self, request: file_server_service_pb2.CreateFileServerRequest, context: grpc.ServicerContext
    ) -> Any:
        self._s.parent_backend(request.parent)
        spec = conversions.file_server_spec(request.file_server)
        call = self._s.call(request)
        answer = self._s.control.create_file_server(call, request.file_server_id, spec, _new_contents(request))
        return self._s.answer(answer)

    def GetFileServer(self, request: file_server_service_pb2.GetFileServerRequest, context: grpc.ServicerContext) -> Any:
        return self._message(self._s.control.get(self._s.name(request.name, Kind.FILE_SERVER)))

    def ListFileServers(
        self, request: file_server_service_pb2.ListFileServersRequest, context: grpc.ServicerContext
    ) -> Any:
        rows, token = self._s.page(Kind.FILE_SERVER, request, self._message)
        return file_server_service_pb2.ListFileServersResponse(file_servers=rows, next_page_token=token)

    def UpdateFileServer(
        self, request: file_server_service_pb2.UpdateFileServerRequest, context: grpc.ServicerContext
    ) -> Any:
        wanted = request.file_server
        name = self._s.name(wanted.name, Kind.FILE_SERVER, "file_server.name")
        conversions.refuse_unbuilt(wanted, "file_server")

        def merge(old: Resource[Any]) -> Any:
            current = conversions.file_server_message(old)
            return conversions.file_server_spec(merged(current, wanted, request.update_mask.paths, "file_server"))

        call = self._s.call(request, wanted.etag)
        return self._s.answer(self._s.control.update_file_server(call, name, merge))

    def DeleteFileServer(
        self, request: file_server_service_pb2.DeleteFileServerRequest, context: grpc.ServicerContext
    ) -> Any:
        name = self._s.name(request.name, Kind.FILE_SERVER)
        if request.delete_data and not request.force:
            raise InvalidField.of("delete_data", "needs force, because shares are removed with their files")
        call = self._s.call(request, request.etag)
        answer = self._s.control.delete_file_server(call, name, force=request.force, delete_data=request.delete_data)
        return self._s.answer(answer)

    def _message(self, resource: Resource[Any]) -> Any:
        confirmed = resource.observed_generation > 0
        endpoints = self._s.facts.endpoints(resource) if confirmed else ()
        return conversions.file_server_message(resource, endpoints)


class ShareServicer(share_service_pb2_grpc.ShareServiceServicer):
    """Shares."""

    def __init__(self, service: Service) -> None:
        self._s = service

    def CreateShare(self, request: share_service_pb2.CreateShareRequest, context: grpc.ServicerContext) -> Any:
        server = self._s.server(request.parent)
        spec = conversions.share_spec(request.share)
        return self._s.answer(self._s.control.create_share(self._s.call(request), server, request.share_id, spec))

    def GetShare(self, request: share_service_pb2.GetShareRequest, context: grpc.ServicerContext) -> Any:
        return conversions.share_message(self._s.control.get(self._s.name(request.name, Kind.SHARE)))

    def ListShares(self, request: share_service_pb2.ListSharesRequest, context: grpc.ServicerContext) -> Any:
        rows, token = self._s.page(Kind.SHARE, request, conversions.share_message)
        return share_service_pb2.ListSharesResponse(shares=rows, next_page_token=token)

    def UpdateShare(self, request: share_service_pb2.UpdateShareRequest, context: grpc.ServicerContext) -> Any:
        wanted = request.share
        name = self._s.name(wanted.name, Kind.SHARE, "share.name")
        conversions.refuse_unbuilt(wanted, "share")

        def merge(old: Resource[Any]) -> Any:
            current = conversions.share_message(old)
            return conversions.share_spec(merged(current, wanted, request.update_mask.paths, "share"))

        return self._s.answer(self._s.control.update_share(self._s.call(request, wanted.etag), name, merge))

    def DeleteShare(self, request: share_service_pb2.DeleteShareRequest, context: grpc.ServicerContext) -> Any:
        name = self._s.name(request.name, Kind.SHARE)
        call = self._s.call(request, request.etag)
        return self._s.answer(self._s.control.delete_share(call, name, delete_data=request.delete_data))


class UserServicer(user_service_pb2_grpc.UserServiceServicer):
    """Users."""

    def __init__(self, service: Service) -> None:
        self._s = service

    def CreateUser(self, request: user_service_pb2.CreateUserRequest, context: grpc.ServicerContext) -> Any:
        server = self._s.server(request.parent)
        spec = conversions.user_spec(request.user)
        call = self._s.call(request)
        return self._s.answer(self._s.control.create_user(call, server, request.user_id, spec, request.user.password))

    def GetUser(self, request: user_service_pb2.GetUserRequest, context: grpc.ServicerContext) -> Any:
        return conversions.user_message(self._s.control.get(self._s.name(request.name, Kind.USER)))

    def ListUsers(self, request: user_service_pb2.ListUsersRequest, context: grpc.ServicerContext) -> Any:
        rows, token = self._s.page(Kind.USER, request, conversions.user_message)
        return user_service_pb2.ListUsersResponse(users=rows, next_page_token=token)

    def UpdateUser(self, request: user_service_pb2.UpdateUserRequest, context: grpc.ServicerContext) -> Any:
        wanted = request.user
        name = self._s.name(wanted.name, Kind.USER, "user.name")
        if wanted.password or "password" in request.update_mask.paths:
            raise InvalidField.of("user.password", "cannot be updated; call ResetPassword")

        def merge(old: Resource[Any]) -> Any:
            return conversions.user_spec(merged(conversions.user_message(old), wanted, request.update_mask.paths, "user"))

        return self._s.answer(self._s.control.update_user(self._s.call(request, wanted.etag), name, merge))

    def DeleteUser(self, request: user_service_pb2.DeleteUserRequest, context: grpc.ServicerContext) -> Any:
        name = self._s.name(request.name, Kind.USER)
        return self._s.answer(self._s.control.delete_user(self._s.call(request, request.etag), name))

    def ResetPassword(self, request: user_service_pb2.ResetPasswordRequest, context: grpc.ServicerContext) -> Any:
        name = self._s.name(request.name, Kind.USER)
        call = self._s.call(request, request.etag)
        answer = self._s.control.reset_password(call, name, request.password, end_sessions=request.end_sessions)
        return self._s.answer(answer)


class GroupServicer(group_service_pb2_grpc.GroupServiceServicer):
    """Groups."""

    def __init__(self, service: Service) -> None:
        self._s = service

    def CreateGroup(self, request: group_service_pb2.CreateGroupRequest, context: grpc.ServicerContext) -> Any:
        server = self._s.server(request.parent)
        spec = conversions.group_spec(request.group)
        return self._s.answer(self._s.control.create_group(self._s.call(request), server, request.group_id, spec))

    def GetGroup(self, request: group_service_pb2.GetGroupRequest, context: grpc.ServicerContext) -> Any:
        return conversions.group_message(self._s.control.get(self._s.name(request.name, Kind.GROUP)))

    def ListGroups(self, request: group_service_pb2.ListGroupsRequest, context: grpc.ServicerContext) -> Any:
        rows, token = self._s.page(Kind.GROUP, request, conversions.group_message)
        return group_service_pb2.ListGroupsResponse(groups=rows, next_page_token=token)

    def UpdateGroup(self, request: group_service_pb2.UpdateGroupRequest, context: grpc.ServicerContext) -> Any:
        wanted = request.group
        name = self._s.name(wanted.name, Kind.GROUP, "group.name")

        def merge(old: Resource[Any]) -> Any:
            return conversions.group_spec(
                merged(conversions.group_message(old), wanted, request.update_mask.paths, "group")
            )

        return self._s.answer(self._s.control.update_group(self._s.call(request, wanted.etag), name, merge))

    def DeleteGroup(self, request: group_service_pb2.DeleteGroupRequest, context: grpc.ServicerContext) -> Any:
        name = self._s.name(request.name, Kind.GROUP)
        return self._s.answer(self._s.control.delete_group(self._s.call(request, request.etag), name))


def _new_contents(request: file_server_service_pb2.CreateFileServerRequest) -> NewContents:
    for field in ("shares", "users", "groups"):
        if len(getattr(request, field)) > MAX_CONTENTS:
            raise InvalidField.of(field, f"must be at most {MAX_CONTENTS}")
    shares = [(s.share_id, conversions.share_spec(s.share, f"shares[{i}].share")) for i, s in enumerate(request.shares)]
    users = [
        (u.user_id, (conversions.user_spec(u.user, f"users[{i}].user"), u.user.password))
        for i, u in enumerate(request.users)
    ]
    groups = [(g.group_id, conversions.group_spec(g.group, f"groups[{i}].group")) for i, g in enumerate(request.groups)]
    _unique("shares", "share_id", [id.casefold() for id, _ in shares])
    _unique("users", "user_id", [id for id, _ in users])
    _unique("groups", "group_id", [id for id, _ in groups])
    return NewContents(dict(shares), dict(users), dict(groups))


def _unique(field: str, id_field: str, ids: Sequence[str]) -> None:
    for i, id in enumerate(ids):
        if id in ids[:i]:
            raise InvalidField.of(f"{field}[{i}].{id_field}", f"{id!r} is named twice")
