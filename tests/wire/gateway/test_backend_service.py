"""The gateway's own service, its health and its reflection."""

from __future__ import annotations

import asyncio
import threading

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pvesmb.v1 import backend_pb2, backend_service_pb2, backend_service_pb2_grpc

from services.core.errors import BackendUnknown, InvalidField, PageTokenInvalid
from tests.wire.gateway.domain import Domain
from tests.wire.gateway.stack import Stack, error_of

_B = backend_pb2.Backend


async def test_list_with_mode_health_and_version(stack: Stack) -> None:
    well = threading.Event()

    def check() -> None:
        assert well.is_set(), "ill"

    stack.backend("ok", Domain("ok").add_to)
    stack.backend("ill", Domain("ill").add_to, checks={"c": check})
    stack.targets["down"] = "unix:/nowhere/down"
    stub = backend_service_pb2_grpc.BackendServiceStub(await stack.start())
    found = (await stub.ListBackends(backend_service_pb2.ListBackendsRequest())).backends
    assert [(b.name, b.health, b.mode, b.version) for b in found] == [
        ("backends/down", _B.HEALTH_UNREACHABLE, _B.MODE_UNSPECIFIED, ""),
        ("backends/ill", _B.HEALTH_NOT_SERVING, _B.MODE_NATIVE, "9.9"),
        ("backends/ok", _B.HEALTH_SERVING, _B.MODE_NATIVE, "9.9"),
    ]
    assert (found[2].node, list(found[2].features)) == ("pve1", ["volumes"])
    assert [c.type for b in found for c in b.conditions] == ["Unreachable"]
    assert stack.metric("pvesmb_gateway_backend_up", backend="ok") == 1
    assert stack.metric("pvesmb_gateway_backend_up", backend="down") == 0
    well.set()
    async with asyncio.timeout(30):
        while (
            await stub.GetBackend(backend_service_pb2.GetBackendRequest(name="backends/ill"))
        ).health != _B.HEALTH_SERVING:
            await asyncio.sleep(0.05)


async def test_down_backend_keeps_its_last_known_mode(stack: Stack) -> None:
    stack.backend("a", Domain("a").add_to)
    stub = backend_service_pb2_grpc.BackendServiceStub(await stack.start())
    request = backend_service_pb2.GetBackendRequest(name="backends/a")
    assert (await stub.GetBackend(request)).health == _B.HEALTH_SERVING
    await asyncio.to_thread(stack.stop_backend, "a")
    found = await stub.GetBackend(request)
    assert (found.health, found.mode, found.version) == (_B.HEALTH_UNREACHABLE, _B.MODE_NATIVE, "9.9")
    since = found.conditions[0].last_transition_time
    assert since.seconds > 0
    assert (await stub.GetBackend(request)).conditions[0].last_transition_time == since
    stack.backend("a", Domain("a").add_to)
    async with asyncio.timeout(30):
        while (found := await stub.GetBackend(request)).health != _B.HEALTH_SERVING:
            await asyncio.sleep(0.05)
    assert not found.conditions


async def test_a_backend_of_another_id(stack: Stack) -> None:
    stack.backend("a", Domain("other").add_to)
    stub = backend_service_pb2_grpc.BackendServiceStub(await stack.start())
    found = await stub.GetBackend(backend_service_pb2.GetBackendRequest(name="backends/a"))
    assert found.name == "backends/a"
    assert found.health == _B.HEALTH_NOT_SERVING
    assert [c.type for c in found.conditions] == ["IdMismatch"]


async def test_broken_backends_file_shows(stack: Stack) -> None:
    stack.backend("a", Domain("a").add_to)
    stub = backend_service_pb2_grpc.BackendServiceStub(await stack.start())
    stack.write_file("broken")
    (found,) = (await stub.ListBackends(backend_service_pb2.ListBackendsRequest())).backends
    assert [c.type for c in found.conditions] == ["BackendsFileInvalid"]
    assert found.health == _B.HEALTH_SERVING


async def test_pages_and_errors(stack: Stack) -> None:
    for id in ("a", "b", "c"):
        stack.targets[id] = f"unix:/nowhere/{id}"
    stub = backend_service_pb2_grpc.BackendServiceStub(await stack.start())
    first = await stub.ListBackends(backend_service_pb2.ListBackendsRequest(page_size=2))
    request = backend_service_pb2.ListBackendsRequest(page_size=2, page_token=first.next_page_token)
    rest = await stub.ListBackends(request)
    assert [b.name for b in [*first.backends, *rest.backends]] == ["backends/a", "backends/b", "backends/c"]
    assert rest.next_page_token == ""
    for bad, expected in (
        (backend_service_pb2.ListBackendsRequest(page_size=-1), InvalidField),
        (backend_service_pb2.ListBackendsRequest(page_token="%%"), PageTokenInvalid),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListBackends(bad)
        assert isinstance(error_of(caught.value), expected)
    for name, kind in (("backends/zz", BackendUnknown), ("backends", InvalidField), ("backends/-", BackendUnknown)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetBackend(backend_service_pb2.GetBackendRequest(name=name))
        assert isinstance(error_of(caught.value), kind)


async def test_own_health_does_not_depend_on_backends(stack: Stack) -> None:
    stack.targets["a"] = "unix:/nowhere/a"
    stub = health_pb2_grpc.HealthStub(await stack.start())
    for service in ("", "pvesmb.v1.ShareService", "pvesmb.v1.BackendService"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(health_pb2.HealthCheckRequest(service="no.Such"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_reflection_shows_the_whole_contract(stack: Stack) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(await stack.start())
    talk = stub.ServerReflectionInfo()
    await talk.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    services = {s.name for s in (await talk.read()).list_services_response.service}
    pvesmb = {f"pvesmb.v1.{x}Service" for x in ("Backend", "FileServer", "Share", "User", "Group")}
    assert services >= pvesmb | {"google.longrunning.Operations", "grpc.health.v1.Health"}
    for symbol in services - {"pvesmb.testing.Echo"}:
        await talk.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
        assert (await talk.read()).file_descriptor_response.file_descriptor_proto, symbol
    talk.cancel()
