"""A backend of the real contract that keeps its resources in lists: enough for lists, names and health."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2
from pvesmb.v1 import (
    backend_pb2,
    backend_service_pb2_grpc,
    file_server_pb2,
    file_server_service_pb2,
    file_server_service_pb2_grpc,
    share_pb2,
    share_service_pb2,
    share_service_pb2_grpc,
)

from services.core.errors import InvalidField, NotFound, PageTokenInvalid
from services.kit.identity import Identity, current


@dataclass
class Domain:
    """File servers with shares, and operations, of one backend."""

    id: str
    #: File server id to its share ids.
    servers: dict[str, list[str]] = field(default_factory=dict)
    operations: list[str] = field(default_factory=list)
    #: While set, lists hang.
    hang: threading.Event = field(default_factory=threading.Event)
    #: Most items on a page, whatever is asked for: a backend may give less.
    page_limit: int = 1000
    callers: list[Identity] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"backends/{self.id}"

    def add_to(self, server: grpc.Server) -> Sequence[str]:
        file_server_service_pb2_grpc.add_FileServerServiceServicer_to_server(_FileServers(self), server)
        share_service_pb2_grpc.add_ShareServiceServicer_to_server(_Shares(self), server)
        backend_service_pb2_grpc.add_BackendServiceServicer_to_server(_Backend(self), server)
        operations_pb2_grpc.add_OperationsServicer_to_server(_Operations(self), server)
        return ["pvesmb.v1.FileServerService", "pvesmb.v1.ShareService", "pvesmb.v1.BackendService"]

    def page(self, request: Any, parent: str, names: Sequence[str]) -> tuple[list[str], str]:
        """The page of names that is asked for, and the next token, bound to the parent."""
        self.callers.append(current())
        if self.hang.is_set():
            threading.Event().wait(5)
        if request.filter == "bad":
            raise InvalidField.of("filter", "is bad")
        at = 0
        if request.page_token:
            where, _, number = base64.b64decode(request.page_token).decode().partition(" ")
            if where != parent:
                raise PageTokenInvalid("not of this list")
            at = int(number)
        end = at + min(request.page_size, self.page_limit)
        token = base64.b64encode(f"{parent} {end}".encode()).decode() if end < len(names) else ""
        return list(names[at:end]), token


class _FileServers(file_server_service_pb2_grpc.FileServerServiceServicer):
    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def ListFileServers(self, request: Any, context: Any) -> Any:
        if request.parent != self._domain.name:
            raise NotFound.of(request.parent)
        names, token = self._domain.page(request, request.parent, sorted(self._domain.servers))
        found = [file_server_pb2.FileServer(name=f"{request.parent}/fileServers/{n}") for n in names]
        return file_server_service_pb2.ListFileServersResponse(file_servers=found, next_page_token=token)

    def GetFileServer(self, request: Any, context: Any) -> Any:
        self._domain.callers.append(current())
        return file_server_pb2.FileServer(name=request.name)

    def DeleteFileServer(self, request: Any, context: Any) -> Any:
        self._domain.callers.append(current())
        return operations_pb2.Operation(name=f"{self._domain.name}/operations/1")

    def CreateFileServer(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def UpdateFileServer(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


class _Shares(share_service_pb2_grpc.ShareServiceServicer):
    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def ListShares(self, request: Any, context: Any) -> Any:
        shares = self._domain.servers.get(request.parent.rpartition("/")[2])
        if shares is None:
            raise NotFound.of(request.parent)
        names, token = self._domain.page(request, request.parent, sorted(shares))
        found = [share_pb2.Share(name=f"{request.parent}/shares/{n}") for n in names]
        return share_service_pb2.ListSharesResponse(shares=found, next_page_token=token)

    def DeleteShare(self, request: Any, context: Any) -> Any:
        self._domain.callers.append(current())
        return operations_pb2.Operation(name=f"{self._domain.name}/operations/2")

    def CreateShare(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def GetShare(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def UpdateShare(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


class _Backend(backend_service_pb2_grpc.BackendServiceServicer):
    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def GetBackend(self, request: Any, context: Any) -> Any:
        if request.name != self._domain.name:
            raise NotFound.of(request.name)
        mode = backend_pb2.Backend.MODE_NATIVE
        return backend_pb2.Backend(name=request.name, mode=mode, version="9.9", node="pve1", features=["volumes"])

    def ListBackends(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


class _Operations(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]  # untyped
    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def ListOperations(self, request: Any, context: Any) -> Any:
        names, token = self._domain.page(request, request.name, self._domain.operations)
        found = [operations_pb2.Operation(name=f"{request.name}/operations/{n}") for n in names]
        return operations_pb2.ListOperationsResponse(operations=found, next_page_token=token)

    def CancelOperation(self, request: Any, context: Any) -> Any:
        self._domain.callers.append(current())
        return empty_pb2.Empty()
