"""What a process holds: file descriptors, threads, memory."""

from __future__ import annotations

import os
import re
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
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

    def in_last(self, seconds: float, name: str) -> Mapping[str, tuple[float, float]]:
        """Medians of each figure of a process in the first and in the last quarter of so many seconds before the end."""
        end = self.seen[name][-1][0]
        quarters = (end - seconds, end - seconds * 3 / 4), (end - seconds / 4, end)
        early, late = ([v for at, v in self.seen[name] if begin <= at <= until] for begin, until in quarters)
        return {
            what: (statistics.median(getattr(v, what) for v in early), statistics.median(getattr(v, what) for v in late))
            for what in ("files", "store_files", "threads", "resident")
        }


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
