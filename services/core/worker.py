"""The threads that take operations out of the store and run them, and those who wait for them."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

from services.core.domain.names import ROOTS, Name
from services.core.domain.operation import Operation, OperationState, Verb
from services.core.domain.resource import State
from services.core.runs import LeaseLost, Tools, execute

log = logging.getLogger(__name__)

#: A batch of more would make the first of them wait long for the last.
MAX_BATCH = 64
KEEP_OPERATIONS_SECONDS = 7 * 24 * 3600


def batch_length(waiting: Sequence[Operation]) -> int:
    """How many of the operations that wait for one file server or template, oldest first, can be run as one batch: one on
    it itself; or those on its contents up to the next of that kind, as long as all make or all remove."""
    first = waiting[0]
    if first.target.kind in ROOTS:
        return 1
    length = 0
    for operation in waiting[:MAX_BATCH]:
        if operation.target.kind in ROOTS:
            break
        if (operation.verb is Verb.DELETE) != (first.verb is Verb.DELETE):
            break
        length += 1
    return length


class Signal:
    """Wakes threads in this process when the store has changed; every wait is bounded, because another replica's change
    is not heard here."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def count(self) -> int:
        """To be read before looking at the store, and handed to `wait`."""
        return self._count

    def notify(self) -> None:
        """Wakes all that wait."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def notify_one(self) -> None:
        """Wakes one, for work that one can do."""
        with self._condition:
            self._count += 1
            self._condition.notify()

    def wait(self, seen: int, timeout: float) -> None:
        """Returns when `notify` was called since `seen` was read, or after `timeout` seconds."""
        with self._condition:
            self._condition.wait_for(lambda: self._count != seen, timeout)


class Worker:
    """Runs operations of different file servers in parallel, those of one in order. `threads` bounds how many at once;
    `drift_seconds` is the time between two checks of a file server, `poll_seconds` that after which work which another
    replica left is noticed."""

    def __init__(self, tools: Tools, *, threads: int = 4, drift_seconds: float = 300.0, poll_seconds: float = 1.0) -> None:
        self._tools = tools
        self._drift_seconds = drift_seconds
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self.wanted = Signal()
        self.ended = Signal()
        self._held: dict[str, list[str]] = {}
        self._held_lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, name=f"worker-{i}") for i in range(threads)]
        self._threads.append(threading.Thread(target=self._keep, name="keeper"))

    def start(self) -> None:
        """Takes up what an earlier process left, and checks everything once."""
        if self._tools.store.embedded:
            with self._tools.store.transaction() as tx:
                tx.release_leases()
        self.check_all()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finishes what runs, takes nothing more, and returns when all threads have ended."""
        self._stopping.set()
        self.wanted.notify()
        self.ended.notify()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def check(self, server: Name) -> None:
        """Has one file server compared with what is desired, soon. One check at a time."""
        now = self._tools.clock.now()
        with self._tools.store.transaction() as tx:
            found = tx.find(server, lock=True)
            if found is None or found.state is State.CREATING:
                return
            if any(operation.verb is Verb.REPAIR for operation in tx.waiting_on(server)):
                return
            tx.add_operation(
                Operation(uuid.uuid4().hex, server, Verb.REPAIR, OperationState.PENDING, now, principal="system")
            )
        self.wanted.notify_one()

    def check_all(self) -> None:
        """`check` for every file server and template."""
        with self._tools.store.snapshot() as tx:
            names = [root.name for root in tx.roots()]
        for name in names:
            self.check(name)

    def _work(self) -> None:
        while not self._stopping.is_set():
            seen = self.wanted.count()
            try:
                taken = self._take()
                if not taken:
                    self.wanted.wait(seen, self._poll_seconds)
                    continue
                # There may be work on other file servers.
                self.wanted.notify_one()
                self._run(taken)
            except Exception:
                # The store is away or full. What was taken is taken again when its lease has run out.
                log.exception("a worker could not go on")
                self._stopping.wait(self._poll_seconds)

    def _take(self) -> list[Operation]:
        tools = self._tools
        owner = f"{tools.owner}/{threading.current_thread().name}"
        with tools.store.transaction() as tx:
            taken = tx.lease(owner, tools.clock.now(), tools.lease_seconds, batch_length)
            tools.telemetry.queue_length(tx.pending_count())
        return taken

    def _run(self, taken: list[Operation]) -> None:
        me = threading.current_thread().name
        owner = f"{self._tools.owner}/{me}"
        with self._held_lock:
            self._held[owner] = [operation.id for operation in taken]
        try:
            execute(replace(self._tools, owner=owner), taken)
        except LeaseLost:
            log.warning("another worker took over", extra={"operation": taken[0].id})
        finally:
            with self._held_lock:
                del self._held[owner]
            self.ended.notify()

    def _keep(self) -> None:
        """Holds the leases of what runs long, checks for drift, forgets what is old."""
        begun = time.monotonic()
        next_check = begun + self._drift_seconds
        while not self._stopping.wait(min(self._tools.lease_seconds / 3, max(next_check - time.monotonic(), 0.05))):
            try:
                self._renew()
                if time.monotonic() >= next_check:
                    next_check = time.monotonic() + self._drift_seconds
                    self.check_all()
                    now = self._tools.clock.now()
                    with self._tools.store.transaction() as tx:
                        tx.purge(ended_before=now - KEEP_OPERATIONS_SECONDS, now=now)
            except Exception:
                log.exception("housekeeping failed and will be tried again")

    def _renew(self) -> None:
        with self._held_lock:
            held = dict(self._held)
        if not held:
            return
        until = self._tools.clock.now() + self._tools.lease_seconds
        with self._tools.store.transaction() as tx:
            for owner, ids in held.items():
                tx.renew(ids, owner, until)
