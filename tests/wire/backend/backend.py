"""A whole backend on a Unix socket: the contract over a real SQLite store, a real worker and a fake mode."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import duration_pb2, empty_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry
from pvesmb.v1 import (
    backend_pb2,
    backend_service_pb2_grpc,
    common_pb2,
    file_server_pb2,
    file_server_service_pb2,
    file_server_service_pb2_grpc,
    group_service_pb2,
    group_service_pb2_grpc,
    operation_metadata_pb2,
    share_pb2,
    share_service_pb2,
    share_service_pb2_grpc,
    template_service_pb2_grpc,
    user_pb2,
    user_service_pb2,
    user_service_pb2_grpc,
)

from services.core.control import Control
from services.core.domain.resource import Condition, Resource
from services.core.errors import REASONS
from services.core.runs import Tools
from services.core.store import Store
from services.core.worker import Signal, Worker
from services.kit import server
from services.kit.config import ServerConfig
from services.kit.vault import FileVault
from services.wire.operations import Operations, OperationsServicer
from services.wire.register import register
from services.wire.servicers import Service
from tests.fakes import FakeClock, FakeMode, FakeTelemetry, FakeTemplates

BACKEND = "backends/b"
SERVER = "backends/b/fileServers/fs"
SECONDS = 30.0
WAITERS = 2

Metadata = operation_metadata_pb2.OperationMetadata


class WatchedSignal(Signal):
    """A signal whose waits end by `notify` alone, so that nothing passes a test by looking again now and then; and which
    tells that somebody has come to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Semaphore(0)
        self._now = 0
        self._changed = threading.Condition()

    def wait(self, seen: int, timeout: float) -> None:
        self._count_waiters(1)
        self.waiting.release()
        super().wait(seen, 4 * SECONDS)
        self._count_waiters(-1)

    def reached(self, waiters: int) -> bool:
        """Whether so many come to wait at the same moment: one that was woken in vain and waits again counts once."""
        with self._changed:
            return self._changed.wait_for(lambda: self._now == waiters, SECONDS)

    def _count_waiters(self, change: int) -> None:
        with self._changed:
            self._now += change
            self._changed.notify_all()


@dataclass
class FakeFacts:
    """What a fake backend says about itself."""

    found: list[Condition] = field(default_factory=list)
    mode: backend_pb2.Backend.Mode.ValueType = backend_pb2.Backend.MODE_NATIVE
    node: str = "pve1"
    features: Sequence[str] = ("volumes",)

    def samba_version(self) -> str:
        return "4.17.12-Debian"

    def conditions(self) -> Sequence[Condition]:
        return self.found

    def endpoints(self, server: Resource[Any]) -> Sequence[tuple[str, int]]:
        return [("127.0.0.1", 445)]


class Gate:
    """Holds the worker at one place of one step until it is opened."""

    def __init__(self, step: str = "apply", action: str = "ensure", phase: str = "before") -> None:
        self._at = (step, action, phase)
        self._reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self, step: str, action: str, phase: str) -> None:
        if (step, action, phase) == self._at:
            self._reached.set()
            assert self._opened.wait(4 * SECONDS)

    def reached(self) -> None:
        assert self._reached.wait(SECONDS)

    def open(self) -> None:
        self._opened.set()


@dataclass(frozen=True)
class Refusal:
    """An error as a client sees it, taken apart."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str]
    help: str
    fields: dict[str, str]
    unmet: dict[str, str]


def refusal(status: Any) -> Refusal:
    """The parts of a `google.rpc.Status`, after checking what every error of the contract has."""
    info, help = error_details_pb2.ErrorInfo(), error_details_pb2.Help()
    bad, unmet = error_details_pb2.BadRequest(), error_details_pb2.PreconditionFailure()
    kinds = [detail.TypeName() for detail in status.details]
    assert len(set(kinds)) == len(kinds), "one detail of each kind"
    for detail in status.details:
        assert any(detail.Unpack(part) for part in (info, help, bad, unmet)), detail
    assert info.domain == "pvesmb"
    assert [bool(link.description) for link in help.links] == [True], "says what to do"
    assert status.message
    assert REASONS[info.reason].code == status.code
    return Refusal(
        {code.value[0]: code for code in grpc.StatusCode}[status.code],
        info.reason,
        status.message,
        dict(info.metadata),
        help.links[0].description,
        {violation.field: violation.description for violation in bad.field_violations},
        {violation.subject: violation.description for violation in unmet.violations},
    )


def refused(call: Callable[..., Any], request: Any, **options: Any) -> Refusal:
    """Makes a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, **{"timeout": SECONDS, **options})
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    found = refusal(status)
    assert caught.value.code() is found.code
    assert bool(found.fields) == (found.reason == "FIELD_INVALID")
    return found


class Backend:
    """The process that is tested, and stubs for every service. `reopen` is a restart of it: the store is what stays."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.mode, self.clock, self.facts = FakeMode(), FakeClock(), FakeFacts()
        self.made: FakeTemplates | None = FakeTemplates()
        self.vault = FileVault(bytes(range(32)))
        self.open()

    def open(self) -> None:
        self.store = Store(f"sqlite:///{self.place}/store.db")
        owner = uuid.uuid4().hex
        tools = Tools(self.store, self.mode, self.vault, self.clock, FakeTelemetry(), owner, templates=self.made)
        self.worker = Worker(tools, threads=2, poll_seconds=4 * SECONDS)
        self.signal = WatchedSignal()
        self.worker.ended = self.signal
        self.control = Control(self.store, self.mode, self.vault, self.clock, self.worker, "b", self.made)
        messages = Operations("b", self.mode.endpoints, self.control.with_size)
        service = Service(self.control, self.vault, messages, "1.2.3", self.facts)
        self.servicer = OperationsServicer(self.store, self.worker, messages, waiters=WAITERS)
        target = f"unix:{self.place}/{uuid.uuid4().hex[:8]}.sock"
        self.worker.start()
        self._server = server.start(
            ServerConfig.model_validate({"listen": [target]}),
            register=lambda grpc_server: register(grpc_server, service, self.servicer),
            checks={},
            registry=CollectorRegistry(),
        )
        self.channel = grpc.insecure_channel(target)
        self.backends: Any = backend_service_pb2_grpc.BackendServiceStub(self.channel)
        self.servers: Any = file_server_service_pb2_grpc.FileServerServiceStub(self.channel)
        self.shares: Any = share_service_pb2_grpc.ShareServiceStub(self.channel)
        self.users: Any = user_service_pb2_grpc.UserServiceStub(self.channel)
        self.groups: Any = group_service_pb2_grpc.GroupServiceStub(self.channel)
        self.templates: Any = template_service_pb2_grpc.TemplateServiceStub(self.channel)
        self.operations: Any = operations_pb2_grpc.OperationsStub(self.channel)

    def close(self) -> None:
        self.servicer.wake()
        self.worker.stop()
        self.channel.close()
        self._server.stop(0)
        self.store.close()

    def reopen(self) -> None:
        self.close()
        self.open()

    def hold(self, step: str = "apply", action: str = "ensure", phase: str = "before") -> Gate:
        """From now on the worker waits at this place."""
        gate = Gate(step, action, phase)
        self.mode.hook = gate
        return gate

    # Calls in short: they give the answer of the RPC

    def create_server(self, id: str = "fs", **fields: Any) -> Any:
        fields = {"parent": BACKEND, "file_server_id": id, **fields}
        return self.servers.CreateFileServer(file_server_service_pb2.CreateFileServerRequest(**fields), timeout=SECONDS)

    def create_share(self, id: str, share: share_pb2.Share | None = None, **fields: Any) -> Any:
        return self.shares.CreateShare(new_share(id, share, **fields), timeout=SECONDS)

    def create_user(self, id: str, password: str = "geheim", **fields: Any) -> Any:
        return self.users.CreateUser(new_user(id, password, **fields), timeout=SECONDS)

    def create_group(self, id: str, *members: str, **fields: Any) -> Any:
        return self.groups.CreateGroup(new_group(id, *members, **fields), timeout=SECONDS)

    def get_server(self, id: str = "fs") -> file_server_pb2.FileServer:
        request = file_server_service_pb2.GetFileServerRequest(name=f"{BACKEND}/fileServers/{id}")
        found: file_server_pb2.FileServer = self.servers.GetFileServer(request, timeout=SECONDS)
        return found

    def get_share(self, id: str) -> share_pb2.Share:
        request = share_service_pb2.GetShareRequest(name=f"{SERVER}/shares/{id}")
        found: share_pb2.Share = self.shares.GetShare(request, timeout=SECONDS)
        return found

    def get_user(self, id: str) -> user_pb2.User:
        request = user_service_pb2.GetUserRequest(name=f"{SERVER}/users/{id}")
        found: user_pb2.User = self.users.GetUser(request, timeout=SECONDS)
        return found

    def get_group(self, id: str) -> user_pb2.Group:
        request = group_service_pb2.GetGroupRequest(name=f"{SERVER}/groups/{id}")
        found: user_pb2.Group = self.groups.GetGroup(request, timeout=SECONDS)
        return found

    def delete_server(self, **fields: Any) -> Any:
        request = file_server_service_pb2.DeleteFileServerRequest(name=SERVER, **fields)
        return self.servers.DeleteFileServer(request, timeout=SECONDS)

    def update_share(self, share: share_pb2.Share, *paths: str, **fields: Any) -> Any:
        request = share_service_pb2.UpdateShareRequest(share=share, **fields)
        request.update_mask.paths.extend(paths)
        return self.shares.UpdateShare(request, timeout=SECONDS)

    def delete_share(self, id: str, **fields: Any) -> Any:
        request = share_service_pb2.DeleteShareRequest(name=f"{SERVER}/shares/{id}", **fields)
        return self.shares.DeleteShare(request, timeout=SECONDS)

    # Operations

    def wait(self, operation: Any) -> Any:
        """The operation once it has ended, well or not."""
        request = operations_pb2.WaitOperationRequest(name=operation.name, timeout=duration_pb2.Duration(seconds=100))
        ended = self.operations.WaitOperation(request, timeout=4 * SECONDS)
        assert ended.done
        return ended

    def done(self, operation: Any, kind: Any = empty_pb2.Empty) -> Any:
        """Waits until it has ended well; its response."""
        ended = self.wait(operation)
        assert ended.WhichOneof("result") == "response", ended.error
        return response(ended, kind)

    def failed(self, operation: Any) -> Refusal:
        """Waits until it has failed; why."""
        ended = self.wait(operation)
        assert ended.WhichOneof("result") == "error", ended
        return refusal(ended.error)

    def ready(self, *users: str, **smb: Any) -> None:
        """Makes the file server `fs`, with these users."""
        first = [
            file_server_service_pb2.InitialUser(user_id=id, user=user_pb2.User(password="first geheim")) for id in users
        ]
        spec = file_server_pb2.FileServer(smb=file_server_pb2.SmbSettings(**smb))
        self.done(self.create_server(file_server=spec, users=first), file_server_pb2.FileServer)

    def operation_names(self) -> list[str]:
        """Of all operations, newest first."""
        listed = self.operations.ListOperations(operations_pb2.ListOperationsRequest(name=BACKEND), timeout=SECONDS)
        return [operation.name for operation in listed.operations]


def new_share(id: str, share: share_pb2.Share | None = None, **fields: Any) -> share_service_pb2.CreateShareRequest:
    return share_service_pb2.CreateShareRequest(**{"parent": SERVER, "share_id": id, "share": share, **fields})


def new_user(id: str, password: str = "geheim", **fields: Any) -> user_service_pb2.CreateUserRequest:
    user = user_pb2.User(password=password)
    return user_service_pb2.CreateUserRequest(**{"parent": SERVER, "user_id": id, "user": user, **fields})


def new_group(id: str, *members: str, **fields: Any) -> group_service_pb2.CreateGroupRequest:
    group = user_pb2.Group(members=members)
    return group_service_pb2.CreateGroupRequest(**{"parent": SERVER, "group_id": id, "group": group, **fields})


def rule(level: str, **principal: Any) -> share_pb2.AccessRule:
    return share_pb2.AccessRule(level=getattr(share_pb2.AccessRule, f"ACCESS_LEVEL_{level}"), **principal)


def response(operation: Any, kind: Any) -> Any:
    message = kind()
    assert operation.response.Unpack(message), operation.response.TypeName()
    return message


def metadata(operation: Any) -> Metadata:
    message = Metadata()
    assert operation.metadata.Unpack(message)
    return message


READY = common_pb2.RESOURCE_STATE_READY
