"""Clients that go away in the middle, and many clients by two gateways."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pvesmb
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from prometheus_client.parser import text_string_to_metric_families
from pvesmb.v1 import share_service_pb2, share_service_pb2_grpc

from tests.e2e.deployment import Deployment
from tests.e2e.faults.cut import Line, cut
from tests.e2e.waiting import until
from tests.e2e.words import Server, user_rule, users
from tests.figures import Figures

CLIENTS = 32


@pytest.fixture
def server(deployment: Deployment) -> Iterator[Server]:
    made = deployment.new_server(users=users("ann"))
    yield made
    deployment.client.file_servers.delete(made.name, force=True, delete_data=True).result(timeout=60)


def under_way(deployment: Deployment) -> Mapping[str, float]:
    """Calls that each process has begun and not ended."""
    found = {}
    for process, text in deployment.metrics().items():
        rows = [s for family in text_string_to_metric_families(text) for s in family.samples]
        begun = sum(s.value for s in rows if s.name == "grpc_server_started_total")
        found[process] = begun - sum(s.value for s in rows if s.name == "grpc_server_handled_total")
    return found


def all_ended(deployment: Deployment) -> None:
    """No call hangs on in either process for a client that is gone."""
    until(lambda: not any(under_way(deployment).values()), "the end of every call")


def request(server: Server, id: str) -> share_service_pb2.CreateShareRequest:
    share = pvesmb.Share(access=[user_rule("ann")])
    return share_service_pb2.CreateShareRequest(parent=server.name, share_id=id, share=share, request_id=str(uuid.uuid4()))


@contextmanager
def channel(target: Path) -> Iterator[grpc.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(f"unix:{target}", options=options) as made:
        yield made


def once(deployment: Deployment, server: Server, asked: share_service_pb2.CreateShareRequest) -> None:
    """Asked again, there is the share, by one operation."""
    with channel(deployment.gateway.socket) as line:
        stub = share_service_pb2_grpc.ShareServiceStub(line)
        first, second = stub.CreateShare(asked), stub.CreateShare(asked)
    assert first.name == second.name
    deployment.client.operations.wait(first.name, timeout=60)
    target = f"{server.name}/shares/{asked.share_id}"
    done = [handle for handle in deployment.client.operations.list() if handle.metadata.target == target]
    assert [handle.name for handle in done] == [first.name]


def broken_call(deployment: Deployment, server: Server, id: str, **bytes_carried: int) -> tuple[Line, bool]:
    """A create over a line that breaks; whether the client got its answer."""
    asked, place = request(server, id), deployment.state / "cut.sock"
    with cut(deployment.gateway.socket, place, **bytes_carried) as line, channel(place) as way:
        try:
            share_service_pb2_grpc.ShareServiceStub(way).CreateShare(asked, timeout=30)
            answered = True
        except grpc.RpcError as error:
            answered = False
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    once(deployment, server, asked)
    return line, answered


def test_a_line_that_breaks(deployment: Deployment, server: Server, full: bool, figures: Figures) -> None:
    """After each of so many bytes of the request, and of the answer; asked again the share is made once."""
    whole, answered = broken_call(deployment, server, "whole")
    assert answered
    steps = 40 if full else 5
    places: list[dict[str, int]] = []
    for way, most in (("sent", whole.sent), ("received", whole.received)):
        places += [{way: max(1, most * i // steps)} for i in range(steps)]
    answers = [broken_call(deployment, server, f"cut{i}", **place)[1] for i, place in enumerate(places)]
    assert answers.count(False) > len(places) // 2, "the line breaks before the answer"
    all_ended(deployment)
    for i in range(len(places)):
        assert server.smb("ann", f"cut{i}", "ls").ok
    figures.put(
        "faults", "requests and answers that a broken line cut at different bytes; made once when asked again", len(places)
    )


def test_calls_that_are_given_up(deployment: Deployment, server: Server, full: bool, figures: Figures) -> None:
    """Cancelled at once, and while their operations are waited for: more waits than there are slots."""
    count = 100 if full else 20
    asked = [request(server, f"left{i}") for i in range(count)]
    with channel(deployment.gateway.socket) as line:
        stub = share_service_pb2_grpc.ShareServiceStub(line)
        for one in asked:
            stub.CreateShare.future(one).cancel()
    for one in asked:
        once(deployment, server, one)
    handle = deployment.client.shares.create(server.name, "last", pvesmb.Share(access=[user_rule("ann")]))
    waits = 2 * 64
    with channel(deployment.gateway.socket) as line:
        wait = operations_pb2_grpc.OperationsStub(line).WaitOperation
        slow = operations_pb2.WaitOperationRequest(name=handle.name, timeout=Duration(seconds=60))
        calls = [wait.future(slow) for _ in range(waits)]
        for call in calls:
            call.cancel()
    handle.result(timeout=60)
    all_ended(deployment)
    figures.put("faults", "calls that their clients gave up", count + waits)


@pytest.mark.full
def test_waits_that_are_given_up(deploy: Any, figures: Figures) -> None:
    """Each slot for waiting is taken by somebody who goes away: then there is room for others. What they wait for waits for
    a module that there is not, and hears of a cancel meanwhile."""
    deployment = deploy(wait_slots=4, share_options={"vfs objects": "nosuch"})
    id, spec = deployment.new_id(), deployment.spec()
    handle = deployment.client.file_servers.create(deployment.backend, id, spec)
    with channel(deployment.gateway.socket) as line:
        wait = operations_pb2_grpc.OperationsStub(line).WaitOperation
        slow = operations_pb2.WaitOperationRequest(name=handle.name, timeout=Duration(seconds=60))
        for _ in range(2):
            calls = [wait.future(slow) for _ in range(4)]
            until(lambda: under_way(deployment)["service"] >= 4, "four calls that wait")
            for call in calls:
                call.cancel()
            all_ended(deployment)
        handle.cancel()
        error = handle.exception(timeout=60)
    assert error is not None and error.reason == "OPERATION_CANCELLED"
    assert deployment.traces(id, spec) == []


@pytest.fixture
def gateways(deployment: Deployment) -> Iterator[tuple[pvesmb.Client, pvesmb.Client]]:
    other = deployment.another_gateway()
    other.start()
    try:
        other.ready()
        with pvesmb.Client(f"unix:{other.socket}") as client:
            yield deployment.client, client
    finally:
        other.kill()


def test_two_gateways(
    deployment: Deployment, server: Server, gateways: tuple[pvesmb.Client, pvesmb.Client], figures: Figures
) -> None:
    """32 clients by two gateways on one backend: each makes its own share, all try for one name, and all repeat one
    request."""
    share, same, again = pvesmb.Share(access=[user_rule("ann")]), str(uuid.uuid4()), str(uuid.uuid4())

    def client(number: int) -> tuple[str, str, str]:
        mine = gateways[number % 2].shares
        own = mine.create(server.name, f"own{number}", share)
        try:
            won = mine.create(server.name, "contested", share).name
        except pvesmb.AlreadyExists as error:
            assert error.reason == "RESOURCE_EXISTS" and error.help
            won = ""
        repeated = mine.create(server.name, "repeated", share, request_id=same).name
        changed = pvesmb.User(name=server.user("ann"), full_name="Ann")
        update = gateways[number % 2].users.update(changed, ["full_name"], request_id=again)
        own.result(timeout=100)
        assert mine.get(server.share(f"own{number}")).state == pvesmb.ResourceState.RESOURCE_STATE_READY
        return won, repeated, update.name

    with ThreadPoolExecutor(CLIENTS) as pool:
        ended = list(pool.map(client, range(CLIENTS)))
    winners = [won for won, _, _ in ended if won]
    assert len(winners) == 1 and len({repeated for _, repeated, _ in ended}) == 1 and len({u for _, _, u in ended}) == 1
    for name in (winners[0], ended[0][1], ended[0][2]):
        gateways[1].operations.wait(name, timeout=60)
    seen = [list(one.shares.list(server.name, page_size=7)) for one in gateways]
    assert seen[0] == seen[1] and len(seen[0]) == CLIENTS + 2
    assert [o.name for o in gateways[0].operations.list()] == [o.name for o in gateways[1].operations.list()]
    names = {share.name.rpartition("/")[2] for share in seen[0]}
    assert deployment.registry_of(server.uid) == names
    assert deployment.stored(server) == len(names)
    for name in ("contested", "repeated", "own0", f"own{CLIENTS - 1}"):
        assert server.smb("ann", name, "ls").ok
    figures.put("faults", "clients of two gateways on one backend that see the same, and one of whom wins a name", CLIENTS)
