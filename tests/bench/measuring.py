"""How things are measured: medians of work that takes turns, so that what disturbs the machine disturbs both sides."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table. `limit` is what must be reached."""

    what: str
    limit: str
    measured: str


def ratio(what: str, limit: float, ours: float, theirs: float, unit: str = "ms", *, least: bool = False) -> Row:
    """Ours over theirs; `least` says that the limit is the smallest that will do."""
    sign = "≥" if least else "≤"
    return Row(what, f"{sign} {limit:g}", f"**{ours / theirs:.2f}** ({ours:.4g} {unit} / {theirs:.4g} {unit})")


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


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")
