"""Who may call what, over TLS, and what the backends learn about it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pvesmb.v1 import file_server_service_pb2, file_server_service_pb2_grpc, share_service_pb2, share_service_pb2_grpc

from services.core.errors import PvesmbError, RoleNotSufficient, Unauthenticated
from services.kit import pki, tls
from services.kit.config import TlsConfig
from services.kit.identity import Identity, Role
from tests.logs import captured
from tests.wire.gateway.domain import Domain
from tests.wire.gateway.stack import Stack, error_of

_SERVER = "backends/a/fileServers/x"
_SHARE = f"{_SERVER}/shares/s"


async def _call(channel: grpc.aio.Channel, name: str, **metadata: str) -> PvesmbError | None:
    """Calls one method of the contract; how it was refused, None if it was not."""
    servers = file_server_service_pb2_grpc.FileServerServiceStub(channel)
    shares = share_service_pb2_grpc.ShareServiceStub(channel)
    operations: Any = operations_pb2_grpc.OperationsStub(channel)
    calls: dict[str, tuple[Any, Any]] = {
        "get": (servers.GetFileServer, file_server_service_pb2.GetFileServerRequest(name=_SERVER)),
        "delete-share": (shares.DeleteShare, share_service_pb2.DeleteShareRequest(name=_SHARE)),
        "delete-server": (servers.DeleteFileServer, file_server_service_pb2.DeleteFileServerRequest(name=_SERVER)),
        "cancel": (operations.CancelOperation, operations_pb2.CancelOperationRequest(name="backends/a/operations/1")),
    }
    method, request = calls[name]
    try:
        await method(request, metadata=[(k.replace("_", "-"), v) for k, v in metadata.items()])
    except grpc.aio.AioRpcError as e:
        error = error_of(e)
        assert error is not None, e
        return error
    return None


class Tls:
    """A gateway with TLS on two addresses, in front of one backend."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.ca = pki.authority(stack.place / "ca")
        self.domain = Domain("a")
        self.tokens = stack.place / "tokens.toml"

    async def start(self) -> None:
        self.stack.backend("a", self.domain.add_to)
        self.write_tokens(job=("s3cret", "operator"))
        listen: dict[str, Any] = {
            "listen": ["127.0.0.1:0"],
            "token_listen": ["127.0.0.1:0"],
            "tokens_file": str(self.tokens),
        }
        await self.stack.start(tls=self.ca.issue("server", hosts=["127.0.0.1", "localhost"]), **listen)

    def write_tokens(self, **tokens: tuple[str, str]) -> None:
        lines = [
            f'[tokens.{name}]\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\nrole = "{role}"\n'
            for name, (token, role) in tokens.items()
        ]
        new = Path(f"{self.tokens}.new")
        new.write_text("".join(lines))
        os.rename(new, self.tokens)

    def by_certificate(self, role: Role | None, name: str = "bob") -> grpc.aio.Channel:
        uris = [] if role is None else [pki.role_uri(role, name)]
        return self.with_files(self.ca.issue(name, uris=uris, hosts=["client"]))

    def with_files(self, files: TlsConfig) -> grpc.aio.Channel:
        assert self.stack.gateway is not None
        return self.stack.channel(self.stack.gateway.targets[0], tls.client_credentials(files))

    def by_token(self) -> grpc.aio.Channel:
        assert self.stack.gateway is not None
        credentials = grpc.ssl_channel_credentials(self.ca.ca_file.read_bytes())
        return self.stack.channel(self.stack.gateway.targets[1], credentials)


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (Role.VIEWER, {"get"}),
        (Role.OPERATOR, {"get", "delete-share", "cancel"}),
        (Role.ADMIN, {"get", "delete-share", "cancel", "delete-server"}),
    ],
)
async def test_roles_of_certificates(stack: Stack, role: Role, allowed: set[str]) -> None:
    world = Tls(stack)
    await world.start()
    channel = world.by_certificate(role)
    for name in ("get", "delete-share", "cancel", "delete-server"):
        error = await _call(channel, name)
        assert (error is None) == (name in allowed), name
        assert error is None or isinstance(error, RoleNotSufficient)
    assert len(world.domain.callers) == len(allowed)
    assert set(world.domain.callers) == {Identity("bob", role)}


async def test_no_certificate(stack: Stack) -> None:
    world = Tls(stack)
    await world.start()
    assert stack.gateway is not None
    credentials = grpc.ssl_channel_credentials(world.ca.ca_file.read_bytes())
    channel = stack.channel(stack.gateway.targets[0], credentials)
    request = file_server_service_pb2.GetFileServerRequest(name=_SERVER)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await file_server_service_pb2_grpc.FileServerServiceStub(channel).GetFileServer(request)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_certificate_without_a_role(stack: Stack) -> None:
    world = Tls(stack)
    await world.start()
    assert isinstance(await _call(world.by_certificate(None), "get"), Unauthenticated)
    gateway = world.with_files(world.ca.issue_gateway(["client"]))
    assert isinstance(await _call(gateway, "get", x_pvesmb_principal="eve"), Unauthenticated)


async def test_tokens(stack: Stack) -> None:
    world = Tls(stack)
    await world.start()
    channel = world.by_token()
    assert await _call(channel, "delete-share", authorization="Bearer s3cret") is None
    assert world.domain.callers == [Identity("job", Role.OPERATOR)]
    assert isinstance(await _call(channel, "delete-server", authorization="Bearer s3cret"), RoleNotSufficient)
    for wrong in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"}):
        assert isinstance(await _call(channel, "get", **wrong), Unauthenticated)
    world.write_tokens(other=("new", "viewer"))
    assert isinstance(await _call(channel, "get", authorization="Bearer s3cret"), Unauthenticated)
    assert await _call(channel, "get", authorization="Bearer new") is None


async def test_credentials_do_not_travel_on(stack: Stack) -> None:
    seen: dict[str, Any] = {}
    world = Tls(stack)

    def get(request: bytes, context: Any) -> bytes:
        seen.update(context.invocation_metadata())
        return b""

    def register(server: grpc.Server) -> list[str]:
        handler: Any = grpc.unary_unary_rpc_method_handler(get)
        service = "pvesmb.v1.FileServerService"
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"GetFileServer": handler})])
        return [service]

    await world.start()
    stack.backend("b", register)
    world.write_tokens(job=("s3cret", "viewer"))
    stub = file_server_service_pb2_grpc.FileServerServiceStub(world.by_token())
    request = file_server_service_pb2.GetFileServerRequest(name="backends/b/fileServers/x")
    await stub.GetFileServer(request, metadata=[("authorization", "Bearer s3cret"), ("cookie", "c"), ("x-other", "kept")])
    assert "s3cret" not in repr(seen)
    assert seen.keys() & {"authorization", "cookie"} == set()
    assert (seen["x-other"], seen["x-pvesmb-principal"], seen["x-pvesmb-role"]) == ("kept", "job", "viewer")


async def test_a_spoofed_principal_is_ignored(stack: Stack) -> None:
    world = Tls(stack)
    await world.start()
    spoofed = {"x_pvesmb_principal": "root", "x_pvesmb_role": "admin"}
    channel = world.by_certificate(Role.VIEWER)
    assert await _call(channel, "get", **spoofed) is None
    assert isinstance(await _call(channel, "delete-share", **spoofed), RoleNotSufficient)
    assert world.domain.callers == [Identity("bob", Role.VIEWER)]


async def test_probes_need_no_credentials(stack: Stack) -> None:
    world = Tls(stack)
    await world.start()
    stub = health_pb2_grpc.HealthStub(world.by_token())
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_server_certificate_can_be_replaced(stack: Stack) -> None:
    world = Tls(stack)
    await world.start()
    old = world.by_certificate(Role.VIEWER)
    assert await _call(old, "get") is None
    world.ca.issue("server", hosts=["127.0.0.1"])
    assert await _call(old, "get") is None
    assert await _call(world.by_certificate(Role.VIEWER), "get") is None


async def test_backend_over_mutual_tls_with_rotation(stack: Stack) -> None:
    ca = pki.authority(stack.place / "ca")
    domain = Domain("a")
    server = ca.issue("backend", hosts=["127.0.0.1"])
    stack.backend("a", domain.add_to, listen=["127.0.0.1:0"], tls=server)
    client = ca.issue_gateway([])
    lines = "\n".join(f'{key} = "{value}"' for key, value in client.model_dump().items())
    text = f'[backends.a]\ntarget = "{stack.backends["a"].targets[0]}"\n[backends.a.tls]\n{lines}\n'
    stack.targets.clear()
    channel = await stack.start()
    stack.write_file(text)
    assert await _call(channel, "get") is None
    assert domain.callers == [Identity("local", Role.ADMIN)]
    ca.issue_gateway([])
    ca.issue("backend", hosts=["127.0.0.1"])
    stack.write_file(text)
    assert await _call(channel, "get") is None


async def test_audit_says_who_did_what(stack: Stack) -> None:
    world = Tls(stack)
    with captured() as logs:
        await world.start()
        channel = world.by_certificate(Role.OPERATOR)
        await _call(channel, "get")
        await _call(channel, "delete-share")
        await _call(channel, "delete-server")
        await _call(world.by_token(), "delete-share")
    # The backend of this test is in the same process, and audits what it was asked, too.
    audit = {
        (line["method"].rpartition("/")[2], line["resource"], line["principal"], line["role"], line["code"])
        for line in logs
        if line["event"] == "audit"
    }
    assert audit == {
        ("DeleteShare", _SHARE, "bob", "operator", "OK"),
        ("DeleteFileServer", _SERVER, "bob", "operator", "PermissionDenied"),
        ("DeleteShare", _SHARE, "", "", "Unauthenticated"),
    }
