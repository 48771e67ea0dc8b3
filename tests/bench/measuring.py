"""How things are measured: medians of work that takes turns, so that what disturbs the machine disturbs both sides."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table: whether the measured value keeps the limit, if there is one."""

    what: str
    limit: str
    measured: str
    kept: bool = True

    def __str__(self) -> str:
        return f"| {self.what} | {self.limit} | {self.measured}{'' if self.kept else ' **missed**'} |"


def ratio(what: str, limit: float, ours: float, theirs: float, unit: str = "ms", *, least: bool = False) -> Row:
    """Ours over theirs; `least` says that the limit is the smallest that will do."""
    value, sign = ours / theirs, "≥" if least else "≤"
    kept = value >= limit if least else value <= limit
    return Row(what, f"{sign} {limit:g}", f"{value:.2f} ({ours:.4g} {unit} / {theirs:.4g} {unit})", kept)


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def medians_ms(times: int, work: Mapping[str, Callable[[int], object]]) -> dict[str, float]:
    """Each kind of work in turn, so many times; the median of each in milliseconds. The first round is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for i in range(times + 1):
        for name, one in work.items():
            taken[name].append(seconds(lambda one=one, i=i: one(i)) * 1000)  # type: ignore[misc]
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def turns(rounds: int, work: Mapping[str, Callable[[int], float]]) -> dict[str, list[float]]:
    """As `medians_ms`, for work that does more than is measured: it says itself how many seconds that took. They begin in
    another order every other round."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for i in range(rounds + 1):
        for name in sorted(work, reverse=bool(i % 2)):
            taken[name].append(work[name](i))
    return {name: values[1:] for name, values in taken.items()}


def resident(what: str, limit_mib: float, pid: int) -> Row:
    """Resident memory of a process."""
    mib = resident_mib(pid)
    return Row(what, f"≤ {limit_mib:g} MiB", f"{mib:.0f} MiB", mib <= limit_mib)


def resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, with its threads (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
