"""What a process holds: file descriptors, threads, memory."""

from __future__ import annotations

import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

MIB = 1024**2


@dataclass(frozen=True)
class Vitals:
    """Connections of the store are counted apart: a pool keeps up to a fixed number of them."""

    files: int
    store_files: int
    threads: int
    resident: int

    def __str__(self) -> str:
        return f"{self.files} + {self.store_files} files, {self.threads} threads, {self.resident / MIB:.1f} MiB"


def look(pid: int) -> Vitals:
    names = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:
            continue
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = file.read()
    values = {key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M)[1]) for key in ("Threads", "VmRSS")}  # type: ignore[index]
    store = sum("/store.db" in name for name in names)
    return Vitals(len(names) - store, store, values["Threads"], values["VmRSS"] * 1024)


@dataclass
class Record:
    """Looks at several processes, each with its time since the first."""

    pids: Mapping[str, int]
    seen: dict[str, list[tuple[float, Vitals]]] = field(default_factory=dict)
    _begun: float = field(default_factory=time.monotonic)

    def note(self) -> None:
        for name, pid in self.pids.items():
            self.seen.setdefault(name, []).append((time.monotonic() - self._begun, look(pid)))

    def median(self, name: str, value: Callable[[Vitals], int], since: float, until: float) -> float:
        """Of one figure within a stretch of time."""
        return statistics.median(value(vitals) for at, vitals in self.seen[name] if since <= at < until)


@contextmanager
def recording(pids: Mapping[str, int], every: float = 0.5) -> Iterator[Record]:
    """Notes the figures of these processes for the block."""
    record, done = Record(pids), threading.Event()

    def run() -> None:
        while not done.wait(every):
            record.note()

    record.note()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield record
    finally:
        done.set()
        thread.join()


def growth(record: Record, name: str, stretches: Sequence[tuple[float, float]]) -> Mapping[str, tuple[float, float]]:
    """Each figure of a process in two stretches of time."""
    figures: Mapping[str, Callable[[Vitals], int]] = {
        "files": lambda v: v.files,
        "threads": lambda v: v.threads,
        "resident": lambda v: v.resident,
    }
    first, last = stretches
    return {what: (record.median(name, of, *first), record.median(name, of, *last)) for what, of in figures.items()}
