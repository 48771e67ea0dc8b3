"""Lists over all backends: complete, in order, without doubles, and honest about what is missing."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pvesmb.v1 import file_server_service_pb2 as fs_pb2
from pvesmb.v1 import file_server_service_pb2_grpc as fs_grpc
from pvesmb.v1 import share_service_pb2, share_service_pb2_grpc

from services.core.errors import BackendUnavailable, InvalidField, NotFound, PageTokenInvalid
from services.kit.identity import Identity, Role
from tests.wire.gateway.domain import Domain
from tests.wire.gateway.stack import Stack, error_of


def add(stack: Stack, id: str, *servers: str, **more: Any) -> Domain:
    domain = Domain(id, {server: [] for server in servers}, **more)
    stack.backend(id, domain.add_to)
    return domain


async def pages(channel: grpc.aio.Channel, size: int, parent: str = "backends/-", filter: str = "") -> list[Any]:
    """Every page of the list of file servers."""
    stub, found, token = fs_grpc.FileServerServiceStub(channel), [], ""
    while True:
        request = fs_pb2.ListFileServersRequest(parent=parent, page_size=size, page_token=token, filter=filter)
        page = await stub.ListFileServers(request)
        found.append(page)
        token = page.next_page_token
        if not token:
            return found


def names(found: list[Any]) -> list[str]:
    return [server.name for page in found for server in page.file_servers]


async def test_all_backends_in_the_order_of_names(stack: Stack) -> None:
    for id, servers in {"b": ("y", "x"), "a": ("z",), "a-b": ("c", "d"), "empty": ()}.items():
        add(stack, id, *servers)
    channel = await stack.start()
    (page,) = await pages(channel, 0)
    found = names([page])
    assert found == sorted(found)
    assert len(found) == 5
    assert list(page.unreachable) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=4),
    size=st.integers(1, 9),
    limits=st.lists(st.integers(1, 9), min_size=4, max_size=4),
)
def test_nothing_is_lost_or_doubled(sizes: list[int], size: int, limits: list[int]) -> None:
    async def body() -> None:
        stack = Stack(Path(tempfile.mkdtemp(prefix="pvesmb-")))
        try:
            for i, (count, limit) in enumerate(zip(sizes, limits, strict=False)):
                add(stack, f"b{i}", *(f"s{j}" for j in range(count)), page_limit=limit)
            channel = await stack.start()
            found = await pages(channel, size)
            wanted = [f"backends/b{i}/fileServers/s{j}" for i, count in enumerate(sizes) for j in range(count)]
            assert names(found) == wanted
            assert all(len(page.file_servers) <= size for page in found)
        finally:
            await stack.stop()
            shutil.rmtree(stack.place)

    asyncio.run(body())


async def test_full_pages_over_backends(stack: Stack) -> None:
    for id in ("a", "b", "c"):
        add(stack, id, "s0", "s1")
    channel = await stack.start()
    assert [len(page.file_servers) for page in await pages(channel, 4)] == [4, 2]
    assert [len(page.file_servers) for page in await pages(channel, 2)] == [2, 2, 2]


async def test_down_backends_are_named_and_their_items_missing(stack: Stack) -> None:
    for id in ("a", "c"):
        add(stack, id, "s")
    stack.targets["b"] = f"unix:{stack.place}/none.sock"
    channel = await stack.start()
    (page,) = await pages(channel, 10)
    assert names([page]) == ["backends/a/fileServers/s", "backends/c/fileServers/s"]
    assert list(page.unreachable) == ["backends/b"]


class _FailsWhenAskedAgain(Domain):
    def page(self, request: Any, parent: str, names: Sequence[str]) -> tuple[list[str], str]:
        if self.callers:
            raise BackendUnavailable("gone")
        return super().page(request, parent, names)


async def test_a_backend_that_fails_when_its_page_must_be_shorter_is_named(stack: Stack) -> None:
    add(stack, "a", "s0", "s1")
    stack.backend("b", _FailsWhenAskedAgain("b", {"s0": [], "s1": []}).add_to)
    channel = await stack.start()
    stub = fs_grpc.FileServerServiceStub(channel)
    page = await stub.ListFileServers(fs_pb2.ListFileServersRequest(parent="backends/-", page_size=3))
    assert names([page]) == ["backends/a/fileServers/s0", "backends/a/fileServers/s1"]
    assert list(page.unreachable) == ["backends/b"]
    assert page.next_page_token, "the rest can be had when it is back"


async def test_a_hanging_backend_does_not_hold_up_the_others(stack: Stack) -> None:
    add(stack, "a", "s")
    add(stack, "b", "s").hang.set()
    channel = await stack.start(fan_out_deadline=0.3)
    (page,) = await pages(channel, 10)
    assert names([page]) == ["backends/a/fileServers/s"]
    assert list(page.unreachable) == ["backends/b"]


async def test_the_answer_comes_within_the_callers_deadline(stack: Stack) -> None:
    add(stack, "a", "s").hang.set()
    channel = await stack.start()
    stub = fs_grpc.FileServerServiceStub(channel)
    page = await stub.ListFileServers(fs_pb2.ListFileServersRequest(parent="backends/-"), timeout=2)
    assert list(page.unreachable) == ["backends/a"]


async def test_backend_that_goes_between_pages(stack: Stack) -> None:
    for id in ("a", "b"):
        add(stack, id, "s0", "s1")
    channel = await stack.start()
    stub = fs_grpc.FileServerServiceStub(channel)
    first = await stub.ListFileServers(fs_pb2.ListFileServersRequest(parent="backends/-", page_size=3))
    assert names([first])[-1] == "backends/b/fileServers/s0"
    del stack.targets["b"]
    stack.write_file()
    request = fs_pb2.ListFileServersRequest(parent="backends/-", page_size=3, page_token=first.next_page_token)
    rest = await stub.ListFileServers(request)
    assert (names([rest]), rest.next_page_token) == ([], "")


async def test_shares_of_a_server_wherever_it_is(stack: Stack) -> None:
    for id, servers in {"a": {"x": ["s1"]}, "b": {"y": ["s2"]}, "c": {"x": ["s3", "s4"]}}.items():
        stack.backend(id, Domain(id, servers).add_to)
    channel = await stack.start()
    stub = share_service_pb2_grpc.ShareServiceStub(channel)
    found = await stub.ListShares(share_service_pb2.ListSharesRequest(parent="backends/-/fileServers/x"))
    assert [s.name.rpartition("/")[2] for s in found.shares] == ["s1", "s3", "s4"]
    assert list(found.unreachable) == []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListShares(share_service_pb2.ListSharesRequest(parent="backends/-/fileServers/nowhere"))
    assert isinstance(error_of(caught.value), NotFound)
    stack.targets["d"] = "unix:/nowhere/d"
    stack.write_file()
    found = await stub.ListShares(share_service_pb2.ListSharesRequest(parent="backends/-/fileServers/nowhere"))
    assert list(found.unreachable) == ["backends/d"], "it may be there"


async def test_operations(stack: Stack) -> None:
    for id in ("a", "b"):
        add(stack, id, operations=["2", "1"])
    stack.targets["c"] = "unix:/nowhere/c"
    channel = await stack.start()
    stub: Any = operations_pb2_grpc.OperationsStub(channel)
    found = await stub.ListOperations(operations_pb2.ListOperationsRequest(name="backends/-", page_size=3))
    assert [o.name for o in found.operations] == [
        f"backends/{x}" for x in ("a/operations/2", "a/operations/1", "b/operations/2")
    ]
    assert list(found.unreachable) == ["backends/c"]
    request = operations_pb2.ListOperationsRequest(name="backends/-", page_size=3, page_token=found.next_page_token)
    found = await stub.ListOperations(request)
    assert [o.name for o in found.operations] == ["backends/b/operations/1"]
    assert found.next_page_token == ""


async def test_faults_of_the_request_are_the_callers(stack: Stack) -> None:
    add(stack, "a", "s", "t")
    add(stack, "b", "s")
    channel = await stack.start()
    stub = fs_grpc.FileServerServiceStub(channel)
    token = (await stub.ListFileServers(fs_pb2.ListFileServersRequest(parent="backends/-", page_size=1))).next_page_token
    shares = share_service_pb2_grpc.ShareServiceStub(channel)
    requests: list[tuple[Any, Any, type[Exception]]] = [
        (stub.ListFileServers, fs_pb2.ListFileServersRequest(parent="backends/-", page_size=-1), InvalidField),
        (stub.ListFileServers, fs_pb2.ListFileServersRequest(parent="backends/-", filter="bad"), InvalidField),
        (stub.ListFileServers, fs_pb2.ListFileServersRequest(parent="backends/-", page_token="x"), PageTokenInvalid),
        (stub.ListFileServers, fs_pb2.ListFileServersRequest(parent="backends/-", page_token="é"), PageTokenInvalid),
        (stub.ListFileServers, fs_pb2.ListFileServersRequest(parent="backends/-", page_token="NQ=="), PageTokenInvalid),
        (
            stub.ListFileServers,
            fs_pb2.ListFileServersRequest(parent="backends/-", page_token=token, filter="f"),
            PageTokenInvalid,
        ),
        (
            shares.ListShares,
            share_service_pb2.ListSharesRequest(parent="backends/-/fileServers/s", page_token=token),
            PageTokenInvalid,
        ),
        (shares.ListShares, share_service_pb2.ListSharesRequest(parent="backends/-/fileServers/-"), InvalidField),
    ]
    for method, request, expected in requests:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(request)
        assert type(error_of(caught.value)) is expected, request
    token_request = fs_pb2.ListFileServersRequest(parent="backends/-", page_size=1, page_token=token)
    assert names([await stub.ListFileServers(token_request)]) == ["backends/a/fileServers/t"]


async def test_backends_know_who_asks_and_large_pages_are_clamped(stack: Stack) -> None:
    domain = add(stack, "a", *(f"s{i:04}" for i in range(1005)), page_limit=5000)
    channel = await stack.start()
    assert [len(page.file_servers) for page in await pages(channel, 100_000)] == [1000, 5]
    assert domain.callers[0] == Identity("local", Role.ADMIN)


async def test_no_backends(stack: Stack) -> None:
    channel = await stack.start()
    (page,) = await pages(channel, 0)
    assert names([page]) == []
