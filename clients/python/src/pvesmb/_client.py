"""The typed client: one object a collection, thin over the generated stubs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from pvesmb._channel import open_channel, read, write
from pvesmb._config import Settings, find
from pvesmb._operations import OperationHandle
from pvesmb.v1.backend_pb2 import Backend
from pvesmb.v1.backend_service_pb2 import GetBackendRequest, ListBackendsRequest
from pvesmb.v1.backend_service_pb2_grpc import BackendServiceStub
from pvesmb.v1.file_server_pb2 import FileServer
from pvesmb.v1.file_server_service_pb2 import (
    CreateFileServerRequest,
    DeleteFileServerRequest,
    GetFileServerRequest,
    InitialGroup,
    InitialShare,
    InitialUser,
    ListFileServersRequest,
    UpdateFileServerRequest,
)
from pvesmb.v1.file_server_service_pb2_grpc import FileServerServiceStub
from pvesmb.v1.group_service_pb2 import (
    CreateGroupRequest,
    DeleteGroupRequest,
    GetGroupRequest,
    ListGroupsRequest,
    UpdateGroupRequest,
)
from pvesmb.v1.group_service_pb2_grpc import GroupServiceStub
from pvesmb.v1.share_pb2 import Share
from pvesmb.v1.share_service_pb2 import (
    CreateShareRequest,
    DeleteShareRequest,
    GetShareRequest,
    ListSharesRequest,
    UpdateShareRequest,
)
from pvesmb.v1.share_service_pb2_grpc import ShareServiceStub
from pvesmb.v1.user_pb2 import Group, User
from pvesmb.v1.user_service_pb2 import (
    CreateUserRequest,
    DeleteUserRequest,
    GetUserRequest,
    ListUsersRequest,
    ResetPasswordRequest,
    UpdateUserRequest,
)
from pvesmb.v1.user_service_pb2_grpc import UserServiceStub

T = TypeVar("T")
M = TypeVar("M", bound=Message)


class Listing(Generic[T]):
    """All pages of a list, fetched as they are needed. `unreachable` names the backends that could not be asked, as far as
    the pages have been read."""

    def __init__(self, fetch: Callable[[str], tuple[Sequence[T], str, Sequence[str]]]) -> None:
        self._fetch = fetch
        self.unreachable: list[str] = []

    def pages(self) -> Iterator[Sequence[T]]:
        token = ""
        while True:
            rows, token, unreachable = self._fetch(token)
            self.unreachable += [name for name in unreachable if name not in self.unreachable]
            yield rows
            if not token:
                return

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page


class _Collection:
    def __init__(self, operations: operations_pb2_grpc.OperationsStub) -> None:
        self._operations = operations

    def _handle(self, operation: operations_pb2.Operation, kind: type[M]) -> OperationHandle[M]:
        def unpack(ended: operations_pb2.Operation) -> M:
            message = kind()
            ended.response.Unpack(message)
            return message

        return OperationHandle(self._operations, operation, unpack)

    def _nothing(self, operation: operations_pb2.Operation) -> OperationHandle[None]:
        return OperationHandle(self._operations, operation, lambda _: None)


def _id(request_id: str | None) -> str:
    return request_id or str(uuid.uuid4())


def _mask(paths: Sequence[str] | None) -> FieldMask | None:
    return FieldMask(paths=paths) if paths else None


class Backends:
    """The backends of the gateway."""

    def __init__(self, stub: BackendServiceStub) -> None:
        self._stub = stub

    def list(self) -> Listing[Backend]:
        def fetch(token: str) -> tuple[Sequence[Backend], str, Sequence[str]]:
            page = read(self._stub.ListBackends, ListBackendsRequest(page_token=token))
            return page.backends, page.next_page_token, ()

        return Listing(fetch)

    def get(self, name: str) -> Backend:
        return read(self._stub.GetBackend, GetBackendRequest(name=name))


class FileServers(_Collection):
    """File servers. `parent` is `backends/{backend}`; `backends/-` lists those of all."""

    def __init__(self, stub: FileServerServiceStub, operations: operations_pb2_grpc.OperationsStub) -> None:
        super().__init__(operations)
        self._stub = stub

    def create(
        self,
        parent: str,
        id: str,
        file_server: FileServer | None = None,
        *,
        shares: Mapping[str, Share] | None = None,
        users: Mapping[str, User] | None = None,
        groups: Mapping[str, Group] | None = None,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[FileServer]:
        """Makes a file server, with first contents if they are given."""
        request = CreateFileServerRequest(
            parent=parent,
            file_server_id=id,
            file_server=file_server,
            shares=[InitialShare(share_id=key, share=share) for key, share in (shares or {}).items()],
            users=[InitialUser(user_id=key, user=user) for key, user in (users or {}).items()],
            groups=[InitialGroup(group_id=key, group=group) for key, group in (groups or {}).items()],
            request_id=_id(request_id),
            validate_only=validate_only,
        )
        return self._handle(write(self._stub.CreateFileServer, request), FileServer)

    def get(self, name: str) -> FileServer:
        return read(self._stub.GetFileServer, GetFileServerRequest(name=name))

    def list(self, parent: str = "backends/-", *, filter: str = "", page_size: int = 0) -> Listing[FileServer]:
        def fetch(token: str) -> tuple[Sequence[FileServer], str, Sequence[str]]:
            request = ListFileServersRequest(parent=parent, filter=filter, page_size=page_size, page_token=token)
            page = read(self._stub.ListFileServers, request)
            return page.file_servers, page.next_page_token, page.unreachable

        return Listing(fetch)

    def update(
        self,
        file_server: FileServer,
        update_mask: Sequence[str] | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[FileServer]:
        """Changes the fields in the mask; without one, all that can be set. An `etag` in the message is checked."""
        request = UpdateFileServerRequest(
            file_server=file_server,
            update_mask=_mask(update_mask),
            request_id=_id(request_id),
            validate_only=validate_only,
        )
        return self._handle(write(self._stub.UpdateFileServer, request), FileServer)

    def delete(
        self,
        name: str,
        *,
        force: bool = False,
        delete_data: bool = False,
        etag: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[None]:
        request = DeleteFileServerRequest(
            name=name,
            force=force,
            delete_data=delete_data,
            etag=etag,
            request_id=_id(request_id),
            validate_only=validate_only,
        )
        return self._nothing(write(self._stub.DeleteFileServer, request))


class Shares(_Collection):
    """Shares. `parent` is the name of a file server."""

    def __init__(self, stub: ShareServiceStub, operations: operations_pb2_grpc.OperationsStub) -> None:
        super().__init__(operations)
        self._stub = stub

    def create(
        self,
        parent: str,
        id: str,
        share: Share | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[Share]:
        request = CreateShareRequest(
            parent=parent, share_id=id, share=share, request_id=_id(request_id), validate_only=validate_only
        )
        return self._handle(write(self._stub.CreateShare, request), Share)

    def get(self, name: str) -> Share:
        return read(self._stub.GetShare, GetShareRequest(name=name))

    def list(self, parent: str, *, filter: str = "", page_size: int = 0) -> Listing[Share]:
        def fetch(token: str) -> tuple[Sequence[Share], str, Sequence[str]]:
            request = ListSharesRequest(parent=parent, filter=filter, page_size=page_size, page_token=token)
            page = read(self._stub.ListShares, request)
            return page.shares, page.next_page_token, page.unreachable

        return Listing(fetch)

    def update(
        self,
        share: Share,
        update_mask: Sequence[str] | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[Share]:
        """Changes the fields in the mask; without one, all that can be set. An `etag` in the message is checked."""
        request = UpdateShareRequest(
            share=share, update_mask=_mask(update_mask), request_id=_id(request_id), validate_only=validate_only
        )
        return self._handle(write(self._stub.UpdateShare, request), Share)

    def delete(
        self,
        name: str,
        *,
        delete_data: bool = False,
        etag: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[None]:
        request = DeleteShareRequest(
            name=name, delete_data=delete_data, etag=etag, request_id=_id(request_id), validate_only=validate_only
        )
        return self._nothing(write(self._stub.DeleteShare, request))


class Users(_Collection):
    """Users of a file server, whose name is `parent`."""

    def __init__(self, stub: UserServiceStub, operations: operations_pb2_grpc.OperationsStub) -> None:
        super().__init__(operations)
        self._stub = stub

    def create(
        self,
        parent: str,
        id: str,
        user: User,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[User]:
        """Makes a user; `user.password` is needed."""
        request = CreateUserRequest(
            parent=parent, user_id=id, user=user, request_id=_id(request_id), validate_only=validate_only
        )
        return self._handle(write(self._stub.CreateUser, request), User)

    def get(self, name: str) -> User:
        return read(self._stub.GetUser, GetUserRequest(name=name))

    def list(self, parent: str, *, filter: str = "", page_size: int = 0) -> Listing[User]:
        def fetch(token: str) -> tuple[Sequence[User], str, Sequence[str]]:
            request = ListUsersRequest(parent=parent, filter=filter, page_size=page_size, page_token=token)
            page = read(self._stub.ListUsers, request)
            return page.users, page.next_page_token, page.unreachable

        return Listing(fetch)

    def update(
        self,
        user: User,
        update_mask: Sequence[str] | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[User]:
        request = UpdateUserRequest(
            user=user, update_mask=_mask(update_mask), request_id=_id(request_id), validate_only=validate_only
        )
        return self._handle(write(self._stub.UpdateUser, request), User)

    def reset_password(
        self,
        name: str,
        password: str,
        *,
        end_sessions: bool = False,
        etag: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[User]:
        """Sets a new password, and ends the sessions that the user has open if that is asked for."""
        request = ResetPasswordRequest(
            name=name,
            password=password,
            end_sessions=end_sessions,
            etag=etag,
            request_id=_id(request_id),
            validate_only=validate_only,
        )
        return self._handle(write(self._stub.ResetPassword, request), User)

    def delete(
        self, name: str, *, etag: str = "", request_id: str | None = None, validate_only: bool = False
    ) -> OperationHandle[None]:
        request = DeleteUserRequest(name=name, etag=etag, request_id=_id(request_id), validate_only=validate_only)
        return self._nothing(write(self._stub.DeleteUser, request))


class Groups(_Collection):
    """Groups of a file server, whose name is `parent`."""

    def __init__(self, stub: GroupServiceStub, operations: operations_pb2_grpc.OperationsStub) -> None:
        super().__init__(operations)
        self._stub = stub

    def create(
        self,
        parent: str,
        id: str,
        group: Group | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[Group]:
        request = CreateGroupRequest(
            parent=parent, group_id=id, group=group, request_id=_id(request_id), validate_only=validate_only
        )
        return self._handle(write(self._stub.CreateGroup, request), Group)

    def get(self, name: str) -> Group:
        return read(self._stub.GetGroup, GetGroupRequest(name=name))

    def list(self, parent: str, *, filter: str = "", page_size: int = 0) -> Listing[Group]:
        def fetch(token: str) -> tuple[Sequence[Group], str, Sequence[str]]:
            request = ListGroupsRequest(parent=parent, filter=filter, page_size=page_size, page_token=token)
            page = read(self._stub.ListGroups, request)
            return page.groups, page.next_page_token, page.unreachable

        return Listing(fetch)

    def update(
        self,
        group: Group,
        update_mask: Sequence[str] | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> OperationHandle[Group]:
        request = UpdateGroupRequest(
            group=group, update_mask=_mask(update_mask), request_id=_id(request_id), validate_only=validate_only
        )
        return self._handle(write(self._stub.UpdateGroup, request), Group)

    def delete(
        self, name: str, *, etag: str = "", request_id: str | None = None, validate_only: bool = False
    ) -> OperationHandle[None]:
        request = DeleteGroupRequest(name=name, etag=etag, request_id=_id(request_id), validate_only=validate_only)
        return self._nothing(write(self._stub.DeleteGroup, request))


class Operations(_Collection):
    """Operations of all kinds; a handle's result is the packed response (`google.protobuf.Any`)."""

    def get(self, name: str) -> OperationHandle[Any]:
        request = operations_pb2.GetOperationRequest(name=name)
        return self._any(read(self._operations.GetOperation, request))

    def list(self, parent: str, *, page_size: int = 0) -> Listing[OperationHandle[Any]]:
        """Operations of `backends/{backend}`, newest first; `backends/-` is all."""

        def fetch(token: str) -> tuple[Sequence[OperationHandle[Any]], str, Sequence[str]]:
            request = operations_pb2.ListOperationsRequest(name=parent, page_size=page_size, page_token=token)
            page = read(self._operations.ListOperations, request)
            return [self._any(operation) for operation in page.operations], page.next_page_token, page.unreachable

        return Listing(fetch)

    def delete(self, name: str) -> None:
        """Forgets an operation that has ended."""
        read(self._operations.DeleteOperation, operations_pb2.DeleteOperationRequest(name=name))

    def _any(self, operation: operations_pb2.Operation) -> OperationHandle[Any]:
        return OperationHandle(self._operations, operation, lambda ended: ended.response)


class Client:
    """A connection to a gateway. Without arguments it finds the gateway as the command line does (`pvesmb.find`)."""

    def __init__(self, gateway: str | None = None, *, settings: Settings | None = None) -> None:
        self.settings = settings or find(gateway)
        self._channel = open_channel(self.settings)
        operations = operations_pb2_grpc.OperationsStub(self._channel)
        self.backends = Backends(BackendServiceStub(self._channel))
        self.file_servers = FileServers(FileServerServiceStub(self._channel), operations)
        self.shares = Shares(ShareServiceStub(self._channel), operations)
        self.users = Users(UserServiceStub(self._channel), operations)
        self.groups = Groups(GroupServiceStub(self._channel), operations)
        self.operations = Operations(operations)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
