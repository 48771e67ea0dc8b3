"""`make bench`: starts the product, measures, and writes what was measured."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pvesmb

CLONE = Path(__file__).resolve().parents[2]
SERVER = "backends/native/fileServers/files"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    figure: str


@contextmanager
def product() -> Iterator[Path]:
    """The stack, in a state directory of its own."""
    with tempfile.TemporaryDirectory(prefix="pvesmb-bench-") as base:
        os.chmod(base, 0o755)
        state = Path(base) / "var"
        command = [sys.executable, "-m", "packaging.stack"]
        subprocess.run([*command, "run", "--detach", "--state", state], cwd=CLONE, check=True, stdout=subprocess.DEVNULL)
        try:
            yield state
        finally:
            subprocess.run([*command, "stop", "--state", state], cwd=CLONE, check=True)


def median_ms(work: Callable[[int], object], times: int) -> float:
    """Median of so many runs, in milliseconds; the first is not counted."""
    taken = []
    for i in range(times + 1):
        begun = time.perf_counter()
        work(i)
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken[1:])


def resident_mib(pid_file: Path) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid_file.read_text().strip()}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmRSS")


def measure(state: Path, times: int) -> list[Row]:
    idle = {name: resident_mib(state / "run" / f"{name}.pid") for name in ("gateway", "native")}
    [conf] = (state / "native" / "servers").glob("*/smb.conf")
    with (
        pvesmb.Client(f"unix:{state}/run/gateway.sock") as client,
        pvesmb.Client(f"unix:{state}/run/native.sock") as direct,
    ):

        def create(i: int) -> None:
            client.shares.create(SERVER, f"bench{i}").result(timeout=60)

        def by_hand(i: int) -> None:
            command = ["net", "-s", str(conf), "conf", "addshare", f"hand{i}", "/tmp"]
            subprocess.run(command, check=True, capture_output=True)

        hand = median_ms(by_hand, times)
        ours = median_ms(create, times)
        handles = []
        begun = time.perf_counter()
        handles = [client.shares.create(SERVER, f"many{i}") for i in range(times)]
        for handle in handles:
            handle.result(timeout=120)
        together = (time.perf_counter() - begun) * 1000 / times
        name = f"{SERVER}/shares/bench0"
        through = median_ms(lambda _: client.shares.get(name), 500)
        straight = median_ms(lambda _: direct.shares.get(name), 500)
    return [
        Row(
            "create a share through the gateway, call to confirmed, p50, over one `net conf addshare`",
            f"{ours / hand:.2f} ({ours:.0f} ms / {hand:.0f} ms)",
        ),
        Row(
            f"{times} shares asked for at once, per share, over one `net conf addshare`",
            f"{together / hand:.2f} ({together:.0f} ms / {hand:.0f} ms)",
        ),
        Row(
            "`GetShare` through the gateway over direct, p50",
            f"{through / straight:.2f} ({through:.2f} ms / {straight:.2f} ms)",
        ),
        Row("gateway hop (the difference) over a confirmed create", f"{(through - straight) / ours:.2%}"),
        Row("resident memory of an idle gateway", f"{idle['gateway']:.0f} MiB"),
        Row("resident memory of an idle native backend", f"{idle['native']:.0f} MiB"),
    ]


def page(rows: list[Row], times: int) -> str:
    """The document."""
    smbd = subprocess.run(["smbd", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    table = "\n".join(f"| {row.what} | {row.figure} |" for row in rows)
    return f"""# Benchmarks

Made by `make bench` ({times} repetitions, medians; Samba: {smbd}; Python {platform.python_version()};
{os.cpu_count()} cores). Client, gateway, backend and smbd share the machine: read the ratios, not the milliseconds.

| what | measured |
|---|---|
{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--times", type=int, default=30, help="repetitions")
    parser.add_argument("--write", type=Path, help="file to write instead of standard output")
    arguments = parser.parse_args()
    with product() as state:
        text = page(measure(state, arguments.times), arguments.times)
    if arguments.write:
        arguments.write.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
