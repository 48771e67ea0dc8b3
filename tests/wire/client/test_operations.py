"""Handles on operations: progress, waiting, cancelling, errors."""

from __future__ import annotations

import threading

import pvesmb
import pytest
from pvesmb._channel import Pace

from tests.wire.client.memory_gateway import STEPS, MemoryGateway, Step, status


@pytest.fixture
def handle(gateway: MemoryGateway, client: pvesmb.Client, files: str) -> pvesmb.OperationHandle[pvesmb.Share]:
    """An operation under way, held at its first step."""
    gateway.held = True
    return client.shares.create(files, "projects")


def test_progress_goes_through_the_steps(gateway: MemoryGateway, handle: pvesmb.OperationHandle[pvesmb.Share]) -> None:
    seen = []
    for metadata in handle:
        seen.append([step.state for step in metadata.steps])
        if not handle.operation.done:
            gateway.advance(handle.name)
    d, r, p = Step.STATE_DONE, Step.STATE_RUNNING, Step.STATE_PENDING
    assert seen == [[r, p, p], [d, r, p], [d, d, r], [d, d, d]]
    assert [step.name for step in handle.steps] == list(STEPS)
    assert handle.metadata.progress_percent == 100
    assert handle.result(0).name.endswith("/shares/projects")


def test_done_asks_until_it_is(gateway: MemoryGateway, handle: pvesmb.OperationHandle[pvesmb.Share]) -> None:
    assert not handle.done()
    gateway.end(handle.name)
    assert handle.done()
    assert handle.done()
    assert len(gateway.asked("GetOperation")) == 2


def test_result_waits_for_the_end(gateway: MemoryGateway, handle: pvesmb.OperationHandle[pvesmb.Share]) -> None:
    results = []
    waiter = threading.Thread(target=lambda: results.append(handle.result(30)))
    waiter.start()
    gateway.wait_for_operation()
    gateway.end(handle.name)
    waiter.join(30)
    assert [share.name.rsplit("/", 1)[-1] for share in results] == ["projects"]


def test_a_wait_that_is_over_leaves_the_operation(
    gateway: MemoryGateway, handle: pvesmb.OperationHandle[pvesmb.Share]
) -> None:
    with pytest.raises(pvesmb.OperationTimeout) as caught:
        handle.result(0.01)
    assert caught.value.operation == handle.name
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(pvesmb.OperationTimeout):
        list(handle.progress(0.01))
    assert not handle.wait(0)
    gateway.end(handle.name)
    assert handle.result(10) is not None


def test_a_service_that_does_not_wait_is_asked_with_pauses(
    gateway: MemoryGateway, handle: pvesmb.OperationHandle[pvesmb.Share], naps: list[float]
) -> None:
    gateway.impatient = True
    for count, _ in enumerate(handle._looks(None, 30.0), 1):
        if count == 6:
            gateway.end(handle.name)
    assert handle.operation.done
    assert len(gateway.asked("WaitOperation")) == 7
    assert len(naps) == 6
    assert max(naps[:2]) < min(naps[4:])


def test_a_restart_of_the_gateway_is_sat_out(gateway: MemoryGateway, handle: pvesmb.OperationHandle[pvesmb.Share]) -> None:
    gateway.impatient = True
    gateway.fail("WaitOperation", status(14, "restarting", reason="BACKEND_UNAVAILABLE"), times=6)
    gateway.end(handle.name)
    assert handle.result(30).name.endswith("projects")
    assert len(gateway.asked("WaitOperation")) == 7


def test_patience_has_an_end(gateway: MemoryGateway, files: str) -> None:
    gateway.held = gateway.impatient = True
    with pvesmb.Client(gateway.target, pace=Pace(patience=0.0, sleep=lambda _: None)) as client:
        handle = client.shares.create(files, "projects")
        gateway.unreachable = ["backends/native"]
        with pytest.raises(pvesmb.Unavailable):
            handle.result(30)


def test_the_error_of_an_operation_is_raised(gateway: MemoryGateway, handle: pvesmb.OperationHandle[pvesmb.Share]) -> None:
    rejected = status(
        9, "Samba refuses it", reason="SAMBA_CONFIG_REJECTED", help="Leave it away.", metadata={"parameter": "veto files"}
    )
    gateway.end(handle.name, rejected)
    with pytest.raises(pvesmb.FailedPrecondition) as caught:
        handle.result(10)
    error = caught.value
    assert (error.reason, error.help, error.operation) == ("SAMBA_CONFIG_REJECTED", "Leave it away.", handle.name)
    assert error.metadata == {"parameter": "veto files"}
    assert isinstance(handle.exception(), pvesmb.FailedPrecondition)


def test_cancelling(client: pvesmb.Client, handle: pvesmb.OperationHandle[pvesmb.Share]) -> None:
    handle.cancel()
    with pytest.raises(pvesmb.Cancelled) as caught:
        handle.result(10)
    assert caught.value.reason == "OPERATION_CANCELLED"
    assert handle.metadata.cancel_requested
    client.operations.delete(handle.name)
    with pytest.raises(pvesmb.NotFound):
        client.operations.get(handle.name)


def test_operations_are_found_again(
    gateway: MemoryGateway, client: pvesmb.Client, handle: pvesmb.OperationHandle[pvesmb.Share]
) -> None:
    gateway.unreachable = ["backends/lxc"]
    listing = client.operations.list()
    assert [one.name for one in listing] == [handle.name]
    assert listing.unreachable == ["backends/lxc"]
    assert [one.name for one in client.operations.list("backends/native")] == [handle.name]
    gateway.end(handle.name)
    assert client.operations.wait(handle.name, 10).name.endswith("projects")


def test_a_response_of_an_unknown_type_says_so(
    gateway: MemoryGateway, handle: pvesmb.OperationHandle[pvesmb.Share]
) -> None:
    gateway.end(handle.name)
    gateway.operations[handle.name].response.type_url = "type.googleapis.com/pvesmb.v9.Thing"
    with pytest.raises(pvesmb.Internal, match="unknown type"):
        handle.result(10)
