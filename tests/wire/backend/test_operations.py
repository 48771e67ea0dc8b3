"""Every method of google.longrunning.Operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2
from pvesmb.v1 import file_server_pb2, share_pb2, share_service_pb2

from services.core.errors import REASONS, Internal, PvesmbError, Violation
from tests.wire.backend.backend import (
    BACKEND,
    SECONDS,
    SERVER,
    WAITERS,
    Backend,
    Metadata,
    metadata,
    refused,
)

DATA = f"{SERVER}/shares/Data"


def get(name: str) -> operations_pb2.GetOperationRequest:
    return operations_pb2.GetOperationRequest(name=name)


def wait(name: str, seconds: float | None = None) -> operations_pb2.WaitOperationRequest:
    request = operations_pb2.WaitOperationRequest(name=name)
    if seconds is not None:
        request.timeout.FromNanoseconds(round(seconds * 1e9))
    return request


def cancel(name: str) -> operations_pb2.CancelOperationRequest:
    return operations_pb2.CancelOperationRequest(name=name)


def delete(name: str) -> operations_pb2.DeleteOperationRequest:
    return operations_pb2.DeleteOperationRequest(name=name)


def states(operation: Any) -> list[tuple[str, str]]:
    return [(step.name, Metadata.Step.State.Name(step.state)) for step in metadata(operation).steps]


def test_an_operation_tells_its_progress(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold("confirm")
    accepted = backend.create_share("Data")
    assert not accepted.done
    told = metadata(accepted)
    assert (told.target, told.verb, told.principal) == (DATA, Metadata.VERB_CREATE, "local")
    assert told.create_time.seconds == int(backend.clock.now())
    assert not told.HasField("end_time") and not told.HasField("plan")
    gate.reached()
    running = backend.operations.GetOperation(get(accepted.name))
    assert not running.done
    assert states(running) == [("apply", "STATE_DONE"), ("confirm", "STATE_RUNNING")]
    assert metadata(running).progress_percent == 50
    assert metadata(running).HasField("start_time") and not metadata(running).HasField("end_time")
    gate.open()
    ended = backend.wait(accepted)
    assert states(ended) == [("apply", "STATE_DONE"), ("confirm", "STATE_DONE")]
    assert (metadata(ended).progress_percent, metadata(ended).attempts) == (100, 1)
    assert metadata(ended).HasField("end_time")
    assert backend.operations.GetOperation(get(accepted.name)) == ended


def test_the_response_is_the_resource_as_it_was_then(backend: Backend) -> None:
    backend.ready()
    first = backend.create_share("Data", share_pb2.Share(comment="one"))
    backend.done(first, share_pb2.Share)
    backend.done(backend.update_share(share_pb2.Share(name=DATA, comment="two"), "comment"), share_pb2.Share)
    assert backend.done(first, share_pb2.Share).comment == "one"


def test_the_caller_that_the_gateway_names_is_the_principal(backend: Backend) -> None:
    backend.ready()
    request = share_service_pb2.CreateShareRequest(parent=SERVER, share_id="Data")
    asked = backend.shares.CreateShare(request, metadata=[("x-pvesmb-principal", "carla"), ("x-pvesmb-role", "operator")])
    assert metadata(asked).principal == "carla"
    backend.done(asked, share_pb2.Share)


@pytest.mark.parametrize("reason", REASONS)
def test_every_error_of_a_step_is_the_operations(backend: Backend, reason: str) -> None:
    error = REASONS[reason]("it did not work", help="do this", metadata={"k": "v"}, violations=[Violation("a", "is bad")])
    backend.ready()
    backend.mode.refuse = lambda step, resource: error if step == "confirm" else None
    operation = backend.create_share("Data")
    found = backend.failed(operation)
    assert (found.code.value[0], found.reason, found.message) == (error.code, reason, "it did not work")
    assert (found.help, found.metadata) == ("do this", {"k": "v"})
    assert (found.fields if error.code == 3 else found.unmet) == {"a": "is bad"}
    assert states(backend.wait(operation)) == [("apply", "STATE_UNDONE"), ("confirm", "STATE_FAILED")]
    assert refused(backend.shares.GetShare, share_service_pb2.GetShareRequest(name=DATA)).reason == "RESOURCE_NOT_FOUND"


def test_a_fault_in_a_step_shows_only_its_incident(backend: Backend) -> None:
    backend.ready()

    def hook(step: str, action: str, phase: str) -> None:
        if (step, action) == ("apply", "ensure"):
            raise RuntimeError("inner text")

    backend.mode.hook = hook
    operation = backend.create_share("Data")
    found = backend.failed(operation)
    assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert found.metadata["incident"] in found.message
    assert "inner text" not in str(backend.wait(operation))


def test_a_fault_in_a_call_shows_only_its_incident(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: object) -> None:
        raise RuntimeError("inner text")

    backend.ready()
    monkeypatch.setattr(backend.mode, "check_share", check)
    found = refused(backend.shares.CreateShare, share_service_pb2.CreateShareRequest(parent=SERVER, share_id="Data"))
    assert (found.code, found.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert found.message == f"internal error, incident {found.metadata['incident']}"
    assert found.help == Internal.default_help


# WaitOperation. `backend.signal` ends waits only when it is notified, so that looking again now and then passes no test.


def test_a_wait_ends_when_the_operation_does(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold()
    operation = backend.create_share("Data")
    gate.reached()
    waiting = [backend.operations.WaitOperation.future(wait(operation.name)) for _ in range(WAITERS)]
    for _ in waiting:
        assert backend.signal.waiting.acquire(timeout=SECONDS)
    assert not any(future.done() for future in waiting)
    gate.open()
    assert all(future.result(timeout=SECONDS).done for future in waiting)


def test_a_wait_for_what_has_ended_does_not_wait(backend: Backend) -> None:
    backend.ready()
    operation = backend.create_share("Data")
    backend.done(operation, share_pb2.Share)
    while backend.signal.waiting.acquire(blocking=False):
        pass
    assert backend.operations.WaitOperation(wait(operation.name), timeout=SECONDS).done
    assert not backend.signal.waiting.acquire(blocking=False)


def test_a_wait_goes_on_when_another_operation_ends(backend: Backend) -> None:
    backend.ready()
    backend.done(backend.create_server("other"), file_server_pb2.FileServer)
    gate = backend.hold()
    operation = backend.create_share("Data")
    gate.reached()
    waiting = backend.operations.WaitOperation.future(wait(operation.name))
    assert backend.signal.waiting.acquire(timeout=SECONDS)
    backend.signal.notify()
    assert backend.signal.waiting.acquire(timeout=SECONDS), "it looked, and waits again"
    assert not waiting.done()
    gate.open()
    assert waiting.result(timeout=SECONDS).done


def test_one_waiter_too_many_is_answered_at_once(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold()
    operation = backend.create_share("Data")
    gate.reached()
    waiting = [backend.operations.WaitOperation.future(wait(operation.name)) for _ in range(WAITERS)]
    assert backend.signal.reached(WAITERS)
    answered = backend.operations.WaitOperation.future(wait(operation.name)).result(timeout=SECONDS)
    assert (answered.name, answered.done) == (operation.name, False)
    missing = refused(backend.operations.WaitOperation, wait(f"{BACKEND}/operations/none"))
    assert missing.reason == "RESOURCE_NOT_FOUND"
    gate.open()
    assert all(future.result(timeout=SECONDS).done for future in waiting)
    assert backend.operations.WaitOperation(wait(operation.name), timeout=SECONDS).done


def test_slots_are_free_again_after_refusals(backend: Backend) -> None:
    backend.ready()
    for _ in range(WAITERS + 1):
        assert refused(backend.operations.WaitOperation, wait(f"{BACKEND}/operations/none")).reason == "RESOURCE_NOT_FOUND"
    gate = backend.hold()
    operation = backend.create_share("Data")
    gate.reached()
    waiting = backend.operations.WaitOperation.future(wait(operation.name))
    assert backend.signal.waiting.acquire(timeout=SECONDS)
    gate.open()
    assert waiting.result(timeout=SECONDS).done


def test_a_process_that_ends_lets_its_waiters_go(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold()
    operation = backend.create_share("Data")
    gate.reached()
    waiting = backend.operations.WaitOperation.future(wait(operation.name))
    assert backend.signal.waiting.acquire(timeout=SECONDS)
    backend.servicer.wake()
    assert not waiting.result(timeout=SECONDS).done
    gate.open()


@dataclass
class Caller:
    """The side of a call that a servicer sees."""

    remaining: float | None = None
    active: Callable[[], bool] = lambda: True

    def time_remaining(self) -> float | None:
        return self.remaining

    def is_active(self) -> bool:
        return self.active()


@pytest.mark.parametrize(
    ("seconds", "caller"),
    [
        (0.0, Caller()),
        (0.05, Caller()),
        (0.05, Caller(remaining=100.0)),
        (None, Caller(remaining=0.25)),
        (None, Caller(remaining=0.0)),
        (100.0, Caller(remaining=0.25)),
        (None, Caller(active=lambda: False)),
    ],
    ids=["timeout 0", "timeout", "timeout before deadline", "deadline", "deadline over", "deadline first", "gone"],
)
def test_a_wait_ends_unfinished_in_its_time(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, seconds: float | None, caller: Any
) -> None:
    backend.ready()
    gate = backend.hold()
    operation = backend.create_share("Data")
    gate.reached()
    # Bounded waits, as in production; the first would end the test by its time limit if they were not kept to.
    monkeypatch.setattr(backend.signal, "wait", super(type(backend.signal), backend.signal).wait)
    assert not backend.servicer.WaitOperation(wait(operation.name, seconds), caller).done
    gate.open()
    backend.done(operation, share_pb2.Share)


def test_a_wait_with_a_timeout_over_the_wire(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold()
    operation = backend.create_share("Data")
    gate.reached()
    assert not backend.operations.WaitOperation(wait(operation.name, 0.0), timeout=SECONDS).done
    negative = operations_pb2.WaitOperationRequest(name=operation.name, timeout=duration_pb2.Duration(seconds=-1))
    found = refused(backend.operations.WaitOperation, negative)
    assert (found.code, found.fields) == (grpc.StatusCode.INVALID_ARGUMENT, {"timeout": "must not be negative"})
    gate.open()
    assert backend.operations.WaitOperation(wait(operation.name, 1e12), timeout=SECONDS).done, "clamped, not refused"


# Cancel and delete


def test_cancel_undoes_at_the_next_step(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold("apply")
    operation = backend.create_share("Data")
    gate.reached()
    backend.operations.CancelOperation(cancel(operation.name))
    running = backend.operations.GetOperation(get(operation.name))
    assert metadata(running).cancel_requested and not running.done
    gate.open()
    found = backend.failed(operation)
    assert (found.code, found.reason) == (grpc.StatusCode.CANCELLED, "OPERATION_CANCELLED")
    assert metadata(backend.wait(operation)).cancel_requested
    assert refused(backend.shares.GetShare, share_service_pb2.GetShareRequest(name=DATA)).reason == "RESOURCE_NOT_FOUND"
    assert not backend.mode.world.of("apply")


def test_cancel_in_the_last_step_comes_too_late(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold("confirm")
    operation = backend.create_share("Data")
    gate.reached()
    backend.operations.CancelOperation(cancel(operation.name))
    gate.open()
    backend.done(operation, share_pb2.Share)
    assert metadata(backend.wait(operation)).cancel_requested


def test_cancel_of_an_update_brings_back_what_was(backend: Backend) -> None:
    backend.ready()
    backend.done(backend.create_share("Data", share_pb2.Share(comment="old")), share_pb2.Share)
    gate = backend.hold("apply")
    operation = backend.update_share(share_pb2.Share(name=DATA, comment="new"), "comment")
    gate.reached()
    backend.operations.CancelOperation(cancel(operation.name))
    gate.open()
    assert backend.failed(operation).reason == "OPERATION_CANCELLED"
    assert backend.get_share("Data").comment == "old"
    assert backend.mode.world.of("apply")[DATA].comment == "old"


def test_cancel_of_what_waits(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold("apply")
    first = backend.create_share("First")
    gate.reached()
    second = backend.create_share("Second")
    backend.operations.CancelOperation(cancel(second.name))
    gate.open()
    backend.done(first, share_pb2.Share)
    assert backend.failed(second).reason == "OPERATION_CANCELLED"


def test_cancel_of_what_has_ended_changes_nothing(backend: Backend) -> None:
    backend.ready()
    operation = backend.create_share("Data")
    ended = backend.wait(operation)
    backend.operations.CancelOperation(cancel(operation.name))
    assert backend.operations.GetOperation(get(operation.name)) == ended


def test_delete_forgets_what_has_ended_only(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold("apply")
    operation = backend.create_share("Data")
    gate.reached()
    found = refused(backend.operations.DeleteOperation, delete(operation.name))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED")
    assert found.help == "Cancel it, or wait for it, before you have it forgotten."
    gate.open()
    backend.done(operation, share_pb2.Share)
    backend.operations.DeleteOperation(delete(operation.name))
    assert operation.name not in backend.operation_names()
    assert refused(backend.operations.GetOperation, get(operation.name)).reason == "RESOURCE_NOT_FOUND"
    assert backend.get_share("Data").name == DATA


METHODS: dict[str, Callable[[str], Any]] = {
    "GetOperation": get,
    "WaitOperation": wait,
    "CancelOperation": cancel,
    "DeleteOperation": delete,
}


@pytest.mark.parametrize("method", METHODS)
def test_operations_that_are_not_there(unchanged: Backend, method: str) -> None:
    name = f"{BACKEND}/operations/none"
    found = refused(getattr(unchanged.operations, method), METHODS[method](name))
    assert (found.code, found.reason, found.metadata) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", {"name": name})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name", ["", "x", f"{BACKEND}/operations/", "backends/other/operations/a", f"{BACKEND}/operations/a/b"]
)
def test_malformed_names(unchanged: Backend, method: str, name: str) -> None:
    found = refused(getattr(unchanged.operations, method), METHODS[method](name))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert found.fields == {"name": "must have the form backends/b/operations/{operation}"}


def test_operations_outlive_a_restart(backend: Backend) -> None:
    backend.ready()
    operation = backend.create_share("Data")
    ended = backend.wait(operation)
    backend.reopen()
    assert backend.operations.GetOperation(get(operation.name)) == ended


def test_an_error_of_a_newer_version_is_an_internal_one(backend: Backend) -> None:
    class Newer(PvesmbError):
        reason = "FROM_THE_FUTURE"

    backend.ready()
    backend.mode.refuse = lambda step, resource: Newer("what is that", help="ask") if step == "apply" else None
    found = backend.failed(backend.create_share("Data"))
    assert (found.code, found.reason, found.message, found.help) == (
        grpc.StatusCode.INTERNAL,
        "INTERNAL",
        "what is that",
        "ask",
    )
