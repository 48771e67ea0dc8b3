"""The collections by kind, with what each can do besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeVar, overload

from google.protobuf.message import Message

from pvesmb._lists import Listing
from pvesmb._operations import OperationHandle
from pvesmb._resources import Answer, Collection, Link, Removal
from pvesmb.v1 import file_server_service_pb2, group_service_pb2, share_service_pb2, user_service_pb2
from pvesmb.v1.common_pb2 import Plan
from pvesmb.v1.file_server_pb2 import FileServer
from pvesmb.v1.file_server_service_pb2 import InitialGroup, InitialShare, InitialUser
from pvesmb.v1.file_server_service_pb2_grpc import FileServerServiceStub
from pvesmb.v1.group_service_pb2_grpc import GroupServiceStub
from pvesmb.v1.share_pb2 import Share
from pvesmb.v1.share_service_pb2_grpc import ShareServiceStub
from pvesmb.v1.user_pb2 import Group, User
from pvesmb.v1.user_service_pb2_grpc import UserServiceStub

M = TypeVar("M", bound=Message)


class FileServers(Collection[FileServer]):
    """File servers. `parent` is `backends/{backend}`."""

    def __init__(self, link: Link) -> None:
        stub = FileServerServiceStub(link.caller.channel)
        super().__init__(link, stub, file_server_service_pb2, "file_server", "file_servers")

    def list(self, parent: str = "backends/-", *, filter: str = "", page_size: int = 0) -> Listing[FileServer]:
        """Those of one backend, or of all."""
        return super().list(parent, filter=filter, page_size=page_size)

    @overload
    def create(
        self,
        parent: str,
        id: str,
        resource: FileServer | None = ...,
        *,
        request_id: str | None = ...,
        validate_only: Literal[False] = ...,
        shares: Mapping[str, Share] | None = ...,
        users: Mapping[str, User] | None = ...,
        groups: Mapping[str, Group] | None = ...,
    ) -> OperationHandle[FileServer]: ...
    @overload
    def create(
        self,
        parent: str,
        id: str,
        resource: FileServer | None = ...,
        *,
        request_id: str | None = ...,
        validate_only: Literal[True],
        shares: Mapping[str, Share] | None = ...,
        users: Mapping[str, User] | None = ...,
        groups: Mapping[str, Group] | None = ...,
    ) -> Plan: ...
    @overload
    def create(
        self,
        parent: str,
        id: str,
        resource: FileServer | None = ...,
        *,
        request_id: str | None = ...,
        validate_only: bool,
        shares: Mapping[str, Share] | None = ...,
        users: Mapping[str, User] | None = ...,
        groups: Mapping[str, Group] | None = ...,
    ) -> Answer[FileServer]: ...
    def create(
        self,
        parent: str,
        id: str,
        resource: FileServer | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
        shares: Mapping[str, Share] | None = None,
        users: Mapping[str, User] | None = None,
        groups: Mapping[str, Group] | None = None,
    ) -> Answer[FileServer]:
        """Makes a file server, with first contents by their ids: when it is done the shares can be reached, and when it
        has failed nothing of it is left."""
        first = {
            "shares": [InitialShare(share_id=key, share=share) for key, share in (shares or {}).items()],
            "users": [InitialUser(user_id=key, user=user) for key, user in (users or {}).items()],
            "groups": [InitialGroup(group_id=key, group=group) for key, group in (groups or {}).items()],
        }
        answer: Answer[FileServer] = self._create(parent, id, resource, request_id, validate_only, **first)
        return answer

    @overload
    def delete(
        self,
        name: str,
        *,
        force: bool = ...,
        delete_data: bool = ...,
        etag: str = ...,
        request_id: str | None = ...,
        validate_only: Literal[False] = ...,
    ) -> OperationHandle[None]: ...
    @overload
    def delete(
        self,
        name: str,
        *,
        force: bool = ...,
        delete_data: bool = ...,
        etag: str = ...,
        request_id: str | None = ...,
        validate_only: Literal[True],
    ) -> Plan: ...
    @overload
    def delete(
        self,
        name: str,
        *,
        force: bool = ...,
        delete_data: bool = ...,
        etag: str = ...,
        request_id: str | None = ...,
        validate_only: bool,
    ) -> Removal: ...
    def delete(
        self,
        name: str,
        *,
        force: bool = False,
        delete_data: bool = False,
        etag: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Removal:
        """Stops and removes a file server; with `force` all that is in it, with `delete_data` the files too."""
        options = {"name": name, "etag": etag, "force": force, "delete_data": delete_data}
        answer: Removal = self._change("Delete", request_id, validate_only, **options)
        return answer


class Shares(Collection[Share]):
    """Shares. `parent` is the name of a file server."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, ShareServiceStub(link.caller.channel), share_service_pb2, "share", "shares")

    @overload
    def delete(
        self,
        name: str,
        *,
        delete_data: bool = ...,
        etag: str = ...,
        request_id: str | None = ...,
        validate_only: Literal[False] = ...,
    ) -> OperationHandle[None]: ...
    @overload
    def delete(
        self,
        name: str,
        *,
        delete_data: bool = ...,
        etag: str = ...,
        request_id: str | None = ...,
        validate_only: Literal[True],
    ) -> Plan: ...
    @overload
    def delete(
        self, name: str, *, delete_data: bool = ..., etag: str = ..., request_id: str | None = ..., validate_only: bool
    ) -> Removal: ...
    def delete(
        self,
        name: str,
        *,
        delete_data: bool = False,
        etag: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Removal:
        """Removes a share; its files stay unless `delete_data` is set."""
        options = {"name": name, "etag": etag, "delete_data": delete_data}
        answer: Removal = self._change("Delete", request_id, validate_only, **options)
        return answer


class Accounts(Collection[M]):
    """What users and groups have in common."""

    @overload
    def delete(
        self, name: str, *, etag: str = ..., request_id: str | None = ..., validate_only: Literal[False] = ...
    ) -> OperationHandle[None]: ...
    @overload
    def delete(self, name: str, *, etag: str = ..., request_id: str | None = ..., validate_only: Literal[True]) -> Plan: ...
    @overload
    def delete(self, name: str, *, etag: str = ..., request_id: str | None = ..., validate_only: bool) -> Removal: ...
    def delete(self, name: str, *, etag: str = "", request_id: str | None = None, validate_only: bool = False) -> Removal:
        answer: Removal = self._change("Delete", request_id, validate_only, name=name, etag=etag)
        return answer


class Users(Accounts[User]):
    """Users. `parent` is the name of a file server; to make one, `password` is needed."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, UserServiceStub(link.caller.channel), user_service_pb2, "user", "users")

    @overload
    def reset_password(
        self,
        name: str,
        password: str,
        *,
        end_sessions: bool = ...,
        etag: str = ...,
        request_id: str | None = ...,
        validate_only: Literal[False] = ...,
    ) -> OperationHandle[User]: ...
    @overload
    def reset_password(
        self,
        name: str,
        password: str,
        *,
        end_sessions: bool = ...,
        etag: str = ...,
        request_id: str | None = ...,
        validate_only: Literal[True],
    ) -> Plan: ...
    @overload
    def reset_password(
        self,
        name: str,
        password: str,
        *,
        end_sessions: bool = ...,
        etag: str = ...,
        request_id: str | None = ...,
        validate_only: bool,
    ) -> Answer[User]: ...
    def reset_password(
        self,
        name: str,
        password: str,
        *,
        end_sessions: bool = False,
        etag: str = "",
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Answer[User]:
        """Sets a new password, which counts at once, and ends the user's open sessions if that is asked for."""
        options = {"name": name, "password": password, "end_sessions": end_sessions, "etag": etag}
        answer: Answer[User] = self._change("ResetPassword", request_id, validate_only, **options)
        return answer


class Groups(Accounts[Group]):
    """Groups. `parent` is the name of a file server."""

    def __init__(self, link: Link) -> None:
        super().__init__(link, GroupServiceStub(link.caller.channel), group_service_pb2, "group", "groups")
