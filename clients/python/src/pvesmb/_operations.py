"""Handles on operations: wait, follow, cancel."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from pvesmb._channel import CALL_SECONDS, read
from pvesmb._errors import DeadlineExceeded, PvesmbError, from_status
from pvesmb.v1.common_pb2 import Plan
from pvesmb.v1.operation_metadata_pb2 import OperationMetadata

T = TypeVar("T")

#: Longest single WaitOperation; well below the deadline of its call.
_SLICE_SECONDS = 30.0
#: Between two looks while progress is followed: steps take from milliseconds to minutes.
_LOOK_SECONDS = 0.25


class OperationHandle(Generic[T]):
    """One change under way or ended. Its `result` is what the operation responds with: a resource, or None."""

    def __init__(
        self,
        stub: operations_pb2_grpc.OperationsStub,
        operation: operations_pb2.Operation,
        unpack: Callable[[operations_pb2.Operation], T],
    ) -> None:
        self._stub = stub
        self._operation = operation
        self._unpack = unpack

    @property
    def name(self) -> str:
        """`backends/{backend}/operations/{operation}`; empty for the answer to `validate_only`."""
        return str(self._operation.name)

    @property
    def metadata(self) -> OperationMetadata:
        """As last seen."""
        return metadata_of(self._operation)

    @property
    def steps(self) -> Sequence[OperationMetadata.Step]:
        """As last seen."""
        return self.metadata.steps

    @property
    def plan(self) -> Plan:
        """What the change would do, when it was asked for with `validate_only`."""
        return self.metadata.plan

    def done(self) -> bool:
        """Whether it has ended; asks if it had not when last seen."""
        if not self._operation.done:
            self._operation = read(self._stub.GetOperation, operations_pb2.GetOperationRequest(name=self.name))
        return bool(self._operation.done)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has ended, at most `timeout` seconds; whether it has."""
        until = time.monotonic() + timeout if timeout is not None else None
        early = 0.05
        while not self._operation.done:
            left = until - time.monotonic() if until is not None else _SLICE_SECONDS
            if left <= 0:
                return False
            begun = time.monotonic()
            self._wait_slice(min(left, _SLICE_SECONDS))
            # A service with too many waiters answers at once; then patience is the client's.
            if not self._operation.done and time.monotonic() - begun < min(left, _SLICE_SECONDS) / 2:
                time.sleep(min(early * random.uniform(0.5, 1.5), max(left, 0)))
                early = min(early * 2, 2.0)
        return True

    def result(self, timeout: float | None = None) -> T:
        """Waits, and gives the response or raises the operation's error; `DeadlineExceeded` if it has not ended in time
        (it goes on)."""
        if not self.wait(timeout):
            raise DeadlineExceeded(f"{self.name} has not ended within {timeout:g} s; it goes on")
        if (error := self.exception()) is not None:
            raise error
        return self._unpack(self._operation)

    def exception(self) -> PvesmbError | None:
        """The error that it ended with, as last seen."""
        return from_status(self._operation.error) if self._operation.HasField("error") else None

    def cancel(self) -> None:
        """Asks it to stop at its next step and to undo what it did; returns at once."""
        read(self._stub.CancelOperation, operations_pb2.CancelOperationRequest(name=self.name))

    def __iter__(self) -> Iterator[OperationMetadata]:
        """Yields the metadata now, and whenever they have changed, until it has ended."""
        last = None
        while True:
            metadata = self.metadata
            if metadata != last:
                last = metadata
                yield metadata
            if self._operation.done:
                return
            self._wait_slice(_LOOK_SECONDS)

    def _wait_slice(self, seconds: float) -> None:
        timeout = Duration()
        timeout.FromMilliseconds(int(seconds * 1000))
        request = operations_pb2.WaitOperationRequest(name=self.name, timeout=timeout)
        self._operation = read(self._stub.WaitOperation, request, timeout=seconds + CALL_SECONDS)


def metadata_of(operation: operations_pb2.Operation) -> OperationMetadata:
    metadata = OperationMetadata()
    operation.metadata.Unpack(metadata)
    return metadata
