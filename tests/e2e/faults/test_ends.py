"""What cannot be confirmed is undone; backend, gateway and clients survive each other's ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc
import pvesmb
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from tests.e2e.deployment import Deployment
from tests.e2e.waiting import until
from tests.e2e.words import Server, password, user_rule, users

RUNNING = pvesmb.OperationMetadata.Step.STATE_RUNNING


@pytest.fixture
def server(deployment: Deployment) -> Server:
    return deployment.new_server(users=users("ann"), shares={"docs": pvesmb.Share(access=[user_rule("ann")])})


@pytest.mark.long_in("lxc")
def test_a_missing_vfs_module(deploy: Callable[..., Deployment]) -> None:
    """It is looked for a while whether the share can be used; who waits meanwhile is answered when the backend stops."""
    deployment = deploy(share_options={"vfs objects": "nosuch"})
    id, spec, docs = deployment.new_id(), deployment.spec(), pvesmb.Share(access=[user_rule("ann")])
    handle = deployment.client.file_servers.create(deployment.backend, id, spec, users=users("ann"), shares={"docs": docs})
    until(lambda: "confirm" in {step.name for step in handle.refresh().steps if step.state == RUNNING}, "the last step")
    with grpc.insecure_channel(f"unix:{deployment.gateway.socket}") as channel:
        request = operations_pb2.WaitOperationRequest(name=handle.name, timeout=Duration(seconds=100))
        answer = operations_pb2_grpc.OperationsStub(channel).WaitOperation.future(request, timeout=110)
        waiting = 'grpc_server_started_total{grpc_method="WaitOperation"'
        until(lambda: waiting in deployment.metrics()["service"], "the arrival of the call at the backend")
        assert deployment.stop() == 0
        assert not answer.result(timeout=60).done
    deployment.start()
    error = handle.exception(timeout=60)
    assert error is not None and error.reason == "NOT_CONFIRMED" and "vfs" in error.help
    assert deployment.traces(id, spec) == []


def test_backend_down(deployment: Deployment, server: Server) -> None:
    deployment.stop()
    with pytest.raises(pvesmb.Unavailable) as raised:
        deployment.client.file_servers.get(server.name)
    assert deployment.backend in raised.value.message
    told = f"{raised.value.message} {raised.value.help} {raised.value.metadata}"
    assert "native.sock" not in told and str(deployment.state) not in told
    listing = deployment.client.file_servers.list()
    assert list(listing) == [] and list(listing.unreachable) == [deployment.backend]
    [backend] = deployment.client.backends.list()
    assert backend.health == pvesmb.Backend.HEALTH_UNREACHABLE
    assert server.smb("ann", "docs", "ls").ok, "files are served nevertheless"
    deployment.start()
    until(lambda: reachable(deployment, server), "the backend behind the gateway")


def reachable(deployment: Deployment, server: Server) -> bool:
    try:
        return deployment.client.file_servers.get(server.name).uid == server.uid
    except pvesmb.Unavailable:
        return False


def test_gateway_restart(deployment: Deployment, server: Server) -> None:
    share = pvesmb.Share(access=[user_rule("ann")])
    handle = deployment.client.shares.create(server.name, "more", share)
    deployment.gateway.kill()
    deployment.gateway.start()
    handle.result(timeout=60)
    assert server.smb("ann", "more", "ls").ok
    assert deployment.client.shares.get(server.share("more")).name == server.share("more")


def test_clients_sit_out_a_restart(deployment: Deployment) -> None:
    """The client that waits learns the end although the backend is stopped under it, and started again."""
    handles = [
        deployment.client.file_servers.create(
            deployment.backend,
            deployment.new_id(),
            deployment.spec(),
            users={"ann": pvesmb.User(password=password("ann"))},
            shares={"docs": pvesmb.Share(access=[user_rule("ann")])},
        )
        for _ in range(6)
    ]
    made: list[Server] = []
    waiters = [threading.Thread(target=lambda h=handle: made.append(Server(h.result(timeout=90)))) for handle in handles]
    for waiter in waiters:
        waiter.start()
    until(lambda: made, "the first of them")
    assert deployment.stop() == 0
    deployment.start()
    for waiter in waiters:
        waiter.join()
    assert len(made) == 6
    for server in made:
        assert server.smb("ann", "docs", "ls").ok
