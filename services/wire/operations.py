"""`google.longrunning.Operations` over the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from pvesmb.v1 import operation_metadata_pb2

from services.core.control import Answer, Planned
from services.core.domain.names import Kind
from services.core.domain.operation import Operation, OperationState, Verb
from services.core.domain.resource import Resource
from services.core.errors import InvalidField, NotFound, PreconditionFailed, PvesmbError
from services.core.store import Store
from services.core.store.rows import from_snapshot
from services.core.worker import Worker
from services.kit import pages
from services.kit.status import to_status
from services.wire import conversions, enums, lists

#: How long one WaitOperation may hold a thread at most; the caller asks again.
MAX_WAIT_SECONDS = 300.0


#: Addresses and ports of a file server.
Endpoints = Callable[[Resource[Any]], Sequence[tuple[str, int]]]
#: A template with its size.
Sized = Callable[[Resource[Any]], Resource[Any]]


def _pack(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


@dataclass(frozen=True)
class Operations:
    """Operations as messages, for one backend."""

    backend: str
    endpoints: Endpoints
    sized: Sized = lambda template: template

    def message(self, answer: Answer) -> operations_pb2.Operation:
        """The operation; or, for a plan, a done operation without a name."""
        if isinstance(answer, Planned):
            return self._planned(answer)
        message = operations_pb2.Operation(
            name=f"backends/{self.backend}/operations/{answer.id}",
            metadata=_pack(self._metadata(answer)),
            done=answer.done,
        )
        if answer.done and answer.error is not None:
            message.error.CopyFrom(to_status(PvesmbError.from_json(answer.error)))
        elif answer.done:
            message.response.CopyFrom(_pack(self._response(answer)))
        return message

    def _response(self, operation: Operation) -> Message:
        if operation.verb is Verb.DELETE or operation.result is None:
            return empty_pb2.Empty()
        return self._resource(from_snapshot(operation.result))

    def _resource(self, resource: Resource[Any]) -> Message:
        if resource.name.kind is Kind.FILE_SERVER:
            return conversions.file_server_message(resource, self.endpoints(resource))
        return conversions.message_of(self.sized(resource) if resource.name.kind is Kind.TEMPLATE else resource)

    def _metadata(self, operation: Operation) -> operation_metadata_pb2.OperationMetadata:
        steps = [
            operation_metadata_pb2.OperationMetadata.Step(
                name=step.name, state=enums.STEP_STATE[step.state], detail=step.detail
            )
            for step in operation.steps
        ]
        return operation_metadata_pb2.OperationMetadata(
            target=str(operation.target),
            verb=enums.VERB[operation.verb],
            steps=steps,
            progress_percent=operation.progress_percent,
            cancel_requested=operation.cancel_requested,
            create_time=conversions.timestamp(operation.create_time),
            start_time=conversions.timestamp(operation.start_time),
            end_time=conversions.timestamp(operation.end_time),
            attempts=operation.attempts,
            request_id=operation.request_id,
            principal=operation.principal,
        )

    def _planned(self, planned: Planned) -> operations_pb2.Operation:
        metadata = operation_metadata_pb2.OperationMetadata(
            target=str(planned.target), verb=enums.VERB[planned.verb], plan=conversions.plan_message(planned.plan)
        )
        response = self._resource(planned.resource) if planned.resource is not None else empty_pb2.Empty()
        return operations_pb2.Operation(done=True, metadata=_pack(metadata), response=_pack(response))


class OperationsServicer(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]
    """Serves the operations of one backend. At most `waiters` calls of WaitOperation wait at once, so that there are
    threads left for others; one more is answered at once with the operation as it is, as the method allows."""

    def __init__(self, store: Store, worker: Worker, messages: Operations, *, waiters: int) -> None:
        self._store = store
        self._worker = worker
        self._backend = messages.backend
        self._messages = messages
        self._waiters = threading.BoundedSemaphore(waiters)
        self._draining = threading.Event()

    def wake(self) -> None:
        """Lets every WaitOperation answer now, because the process is about to end."""
        self._draining.set()
        self._worker.ended.notify()

    def GetOperation(self, request: operations_pb2.GetOperationRequest, context: grpc.ServicerContext) -> Any:
        return self._messages.message(self._find(request.name))

    def ListOperations(self, request: operations_pb2.ListOperationsRequest, context: grpc.ServicerContext) -> Any:
        if request.name not in ("", f"backends/{self._backend}"):
            raise InvalidField.of("name", f"must be backends/{self._backend}")
        if request.filter:
            raise InvalidField.of("filter", "operations cannot be filtered")
        size = pages.page_size(request.page_size)
        scope = f"{self._backend}/operations"
        start = lists.after_number(request.page_token, scope)
        with self._store.snapshot() as tx:
            rows = tx.operations_page(after=start, limit=size + 1)
        response = operations_pb2.ListOperationsResponse(
            operations=[self._messages.message(operation) for _, operation in rows[:size]]
        )
        if len(rows) > size:
            response.next_page_token = lists.Position(scope, str(rows[size - 1][0])).token()
        return response

    def CancelOperation(self, request: operations_pb2.CancelOperationRequest, context: grpc.ServicerContext) -> Any:
        operation = self._find(request.name)
        if not operation.done:
            with self._store.transaction() as tx:
                tx.request_cancel(operation.id)
        return empty_pb2.Empty()

    def DeleteOperation(self, request: operations_pb2.DeleteOperationRequest, context: grpc.ServicerContext) -> Any:
        operation = self._find(request.name)
        if not operation.done:
            raise PreconditionFailed(
                "the operation has not ended", help="Cancel it, or wait for it, before you have it forgotten."
            )
        with self._store.transaction() as tx:
            tx.drop_operation(operation.id)
        return empty_pb2.Empty()

    def WaitOperation(self, request: operations_pb2.WaitOperationRequest, context: grpc.ServicerContext) -> Any:
        wanted = request.timeout.ToMilliseconds() / 1000 if request.HasField("timeout") else MAX_WAIT_SECONDS
        if wanted < 0:
            raise InvalidField.of("timeout", "must not be negative")
        remaining = context.time_remaining()
        # The answer has to travel: a wait that ends with the call's deadline helps nobody.
        limit = min(wanted, MAX_WAIT_SECONDS, remaining - 0.2 if remaining is not None else MAX_WAIT_SECONDS)
        if not self._waiters.acquire(blocking=False):
            return self._messages.message(self._find(request.name))
        try:
            return self._messages.message(self._wait(request.name, time.monotonic() + limit, context))
        finally:
            self._waiters.release()

    def _wait(self, name: str, until: float, context: grpc.ServicerContext) -> Operation:
        while True:
            seen = self._worker.ended.count()
            operation = self._find(name)
            left = until - time.monotonic()
            if operation.state is OperationState.DONE or left <= 0 or self._draining.is_set() or not context.is_active():
                return operation
            # Bounded, because another replica may end it, and a caller may go away.
            self._worker.ended.wait(seen, min(left, 1.0))

    def _find(self, name: str) -> Operation:
        prefix = f"backends/{self._backend}/operations/"
        id = name.removeprefix(prefix)
        if id == name or not id or "/" in id:
            raise InvalidField.of("name", f"must have the form {prefix}{{operation}}")
        with self._store.snapshot() as tx:
            operation = tx.operation(id)
        if operation is None:
            raise NotFound.of(name)
        return operation
