"""Health from checks: each is run again when its answer has grown old, and has a time to answer in.

One failing check makes the whole process NOT_SERVING: a supervisor can do no more than restart or route around it anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from logging import getLogger

import grpc
from grpc_health.v1 import health, health_pb2

from services.core.errors import LimitReached

Check = Callable[[], None]
_log = getLogger(__name__)


class BoundedHealth(health.HealthServicer):  # type: ignore[misc]
    """The standard health service, with a thread for each Watch and room for `watchers` of them; one more is refused.

    Its own way of watching without threads can lock up the whole server: Watch sends while it holds the lock that the
    end of another watcher waits for on the one thread which completes what is sent (seen with 1.85.1).
    """

    def __init__(self, watchers: int) -> None:
        super().__init__(experimental_non_blocking=False)
        self._room = threading.BoundedSemaphore(watchers)

    def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> Iterator[health_pb2.HealthCheckResponse]:
        if not self._room.acquire(blocking=False):
            raise LimitReached("too many watch the health of this process", help="Ask with Check instead.")
        try:
            yield from super().Watch(request, context)
        finally:
            self._room.release()


@dataclass
class _Running:
    """One run of a check in its own thread; a check that hangs is not started a second time."""

    thread: threading.Thread
    error: BaseException | None = None


@dataclass
class Monitor:
    """Runs the checks every `ttl` seconds and tells `report` whether all is well. A check fails by raising or by taking
    longer than `timeout` seconds."""

    checks: Mapping[str, Check]
    report: Callable[[bool], None]
    ttl: float = 5.0
    timeout: float = 3.0
    _stopped: threading.Event = field(default_factory=threading.Event)
    _running: dict[str, _Running] = field(default_factory=dict)
    _failing: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Begins; the first answer comes at once, from this thread."""
        self.look()
        threading.Thread(target=self._loop, name="health", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def look(self) -> None:
        """Runs every check once and reports."""
        begun = {name: self._begin(name, check) for name, check in self.checks.items()}
        failing = {name: reason for name, run in begun.items() if (reason := self._end(name, run))}
        for name in failing.keys() - self._failing.keys():
            _log.warning("health check fails", extra={"check": name, "reason": failing[name]})
        for name in self._failing.keys() - failing.keys():
            _log.info("health check is well again", extra={"check": name})
        self._failing = failing
        if not self._stopped.is_set():
            self.report(not failing)

    def _loop(self) -> None:
        while not self._stopped.wait(self.ttl):
            self.look()

    def _begin(self, name: str, check: Check) -> _Running:
        before = self._running.get(name)
        if before is not None and before.thread.is_alive():
            return before

        def body() -> None:
            try:
                check()
            except BaseException as e:
                run.error = e

        run = _Running(threading.Thread(target=body, name=f"health-{name}", daemon=True))
        self._running[name] = run
        run.thread.start()
        return run

    def _end(self, name: str, run: _Running) -> str:
        run.thread.join(self.timeout)
        if run.thread.is_alive():
            return f"no answer in {self.timeout} s"
        return f"{type(run.error).__name__}: {run.error}" if run.error else ""
