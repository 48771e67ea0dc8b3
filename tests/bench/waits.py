"""`python -m tests.bench.waits --config FILE`: an LXC backend that says beside its configuration (`waits.json`) what its
steps have waited for so far, in seconds by kind. Whatever a step does while it waits for one thing counts for that."""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.core.steps import Drift, Mode, Plan, Step, Work
from services.kit import config
from services.lxc import __main__ as lxc
from services.lxc import steps
from services.proxmox import tasks
from services.proxmox.session import Session
from services.samba import probe
from services.ssh.host import SshHost

FILE = "waits.json"
#: Kinds of waiting; `steps` is the whole time of all steps.
CALLS, TASKS, GUEST, SMB, PAUSES, STEPS = (
    "calls of the node",
    "tasks of the node",
    "commands in the guest",
    "SMB",
    "pauses",
    "steps",
)


class Clock:
    """Counts only what steps do, and nothing twice."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}
        self._thread = threading.local()

    @contextmanager
    def step(self) -> Iterator[None]:
        self._thread.free = True
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._thread.free = False
            self._add(STEPS, time.perf_counter() - begun)
            with self._lock:
                fresh = self._file.with_suffix(".new")
                fresh.write_text(json.dumps(self._seconds))
                fresh.replace(self._file)

    def waits(self, kind: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def measured(*args: Any, **options: Any) -> Any:
            if not getattr(self._thread, "free", False):
                return work(*args, **options)
            self._thread.free = False
            begun = time.perf_counter()
            try:
                return work(*args, **options)
            finally:
                self._thread.free = True
                self._add(kind, time.perf_counter() - begun)

        return measured

    def _add(self, kind: str, seconds: float) -> None:
        with self._lock:
            self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds


class TimedStep:
    def __init__(self, step: Step, clock: Clock) -> None:
        self._step = step
        self._clock = clock
        self.name = step.name
        self.server_only = step.server_only

    def ensure(self, work: Work) -> None:
        with self._clock.step():
            self._step.ensure(work)

    def remove(self, work: Work) -> None:
        self._step.remove(work)


class TimedMode:
    def __init__(self, mode: Mode, clock: Clock) -> None:
        self._mode = mode
        self._steps = [TimedStep(step, clock) for step in mode.steps]

    @property
    def steps(self) -> Sequence[Step]:
        return self._steps

    def observe(self, work: Work) -> Sequence[Drift]:
        return self._mode.observe(work)

    def plan(self, work: Work) -> Plan:
        return self._mode.plan(work)


def main() -> int:
    argv = sys.argv[1:]
    clock = Clock(Path(argv[argv.index("--config") + 1]).parent / FILE)
    for kind, where, name in (
        (CALLS, Session, "call"),
        (TASKS, tasks, "wait"),
        (SMB, probe, "ask"),
        *((GUEST, SshHost, name) for name in ("run", "read_file", "write_file", "remove")),
    ):
        setattr(where, name, clock.waits(kind, getattr(where, name)))
    setattr(steps, "time", _Time(clock))  # noqa: B010
    return lxc.main(argv, wrap=lambda mode: TimedMode(mode, clock))


class _Time:
    """The module `time`, as the steps see it."""

    def __init__(self, clock: Clock) -> None:
        self.monotonic = time.monotonic
        self.sleep = clock.waits(PAUSES, time.sleep)


if __name__ == "__main__":
    sys.exit(config.run(main))
