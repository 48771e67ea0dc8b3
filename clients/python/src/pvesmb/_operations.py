"""Handles on operations: wait, follow, cancel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.duration_pb2 import Duration

from pvesmb._channel import Caller
from pvesmb._errors import DeadlineExceeded, OperationTimeout, PvesmbError, Unavailable, Unimplemented, from_status
from pvesmb.v1.operation_metadata_pb2 import OperationMetadata

T = TypeVar("T")


class OperationHandle(Generic[T]):
    """One change under way or ended; its result is a resource, or None for a removal. Not for several threads at once."""

    def __init__(
        self,
        caller: Caller,
        stub: operations_pb2_grpc.OperationsStub,
        operation: operations_pb2.Operation,
        unpack: Callable[[Any], T],
    ) -> None:
        self._caller = caller
        self._stub = stub
        self._operation = operation
        self._unpack = unpack

    @property
    def name(self) -> str:
        """`backends/{backend}/operations/{operation}`."""
        return str(self._operation.name)

    @property
    def operation(self) -> operations_pb2.Operation:
        """The message as last seen."""
        return self._operation

    @property
    def metadata(self) -> OperationMetadata:
        """As last seen."""
        metadata = OperationMetadata()
        self._operation.metadata.Unpack(metadata)
        return metadata

    @property
    def steps(self) -> Sequence[OperationMetadata.Step]:
        """As last seen."""
        return self.metadata.steps

    def refresh(self) -> OperationMetadata:
        """Asks how it stands now."""
        self._operation = self._caller.read(self._stub.GetOperation, operations_pb2.GetOperationRequest(name=self.name))
        return self.metadata

    def done(self) -> bool:
        """Whether it has ended; asks if it had not when last seen."""
        if not self._operation.done:
            self.refresh()
        return bool(self._operation.done)

    def cancel(self) -> None:
        """Asks it to stop at its next step and to undo what it did; returns at once."""
        self._caller.read(self._stub.CancelOperation, operations_pb2.CancelOperationRequest(name=self.name))

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has ended, at most `timeout` seconds: whether it has. Restarts of the gateway are sat out."""
        for _ in self._looks(timeout, self._caller.pace.wait_slice):
            pass
        return bool(self._operation.done)

    def exception(self, timeout: float | None = None) -> PvesmbError | None:
        """Waits, and gives the error that it ended with, or None; `OperationTimeout` if it has not ended in time."""
        if not self.wait(timeout):
            raise self._timed_out(timeout)
        failed = self._operation.HasField("error")
        return from_status(self._operation.error, operation=self.name) if failed else None

    def result(self, timeout: float | None = None) -> T:
        """Waits, and gives the response or raises the operation's error; `OperationTimeout` if it has not ended in time."""
        if (error := self.exception(timeout)) is not None:
            raise error
        return self._unpack(self._operation.response)

    def __iter__(self) -> Iterator[OperationMetadata]:
        return self.progress()

    def progress(self, timeout: float | None = None) -> Iterator[OperationMetadata]:
        """Yields the metadata now, and whenever they have changed, until it has ended; `OperationTimeout` if it has not in
        time. An operation that failed ends the iteration too: `result()` raises its error."""
        seen = self.metadata
        yield seen
        for _ in self._looks(timeout, self._caller.pace.progress_slice):
            if (now := self.metadata) != seen:
                seen = now
                yield seen
        if not self._operation.done:
            raise self._timed_out(timeout)

    def _timed_out(self, timeout: float | None) -> OperationTimeout:
        return OperationTimeout(
            f"{self.name} has not ended within {timeout or 0:g} s; it goes on",
            operation=self.name,
            help=f"`pvesmb operation wait {self.name}` waits for it, `pvesmb operation cancel {self.name}` cancels it.",
        )

    def _looks(self, timeout: float | None, slice: float) -> Iterator[None]:
        """Looks again and again, until it has ended or the time is over. WaitOperation may come back early (no thread is
        left for waiting, or the service is about to stop); then the pause is ours."""
        pace = self._caller.pace
        until = None if timeout is None else pace.clock() + timeout
        pause, away_since = pace.early_pause, None
        while not self._operation.done:
            begun = pace.clock()
            left = slice if until is None else min(slice, until - begun)
            if left <= 0:
                return
            try:
                self._look(left)
                away_since = None
            except (Unavailable, DeadlineExceeded):
                away_since = begun if away_since is None else away_since
                if pace.clock() - away_since >= pace.patience:
                    raise
            yield
            if self._operation.done:
                return
            if pace.clock() - begun >= left / 2:
                pause = pace.early_pause
                continue
            nap = pace.jitter(pause)
            pace.sleep(nap if until is None else max(0.0, min(nap, until - pace.clock())))
            pause = min(pause * 2, pace.early_pause_max)

    def _look(self, seconds: float) -> None:
        """One long poll; one plain look where the service has no WaitOperation."""
        wait = Duration()
        wait.FromMilliseconds(max(1, int(seconds * 1000)))
        request = operations_pb2.WaitOperationRequest(name=self.name, timeout=wait)
        try:
            self._operation = self._caller.read(self._stub.WaitOperation, request, more_time=seconds)
        except Unimplemented:
            self.refresh()
