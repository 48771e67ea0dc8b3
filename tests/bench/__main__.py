"""`make bench`: starts the product, measures, and writes what was measured."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.bench import calls, files, guests, shares
from tests.bench.measuring import Row, resident, resident_mib
from tests.e2e import namespace
from tests.e2e import node as nodes
from tests.e2e.native import NativeDeployment
from tests.e2e.waiting import until

MARK, END = "<!-- measured -->\n", "<!-- end -->"


def measure(times: int, many: int, mib: int) -> Iterator[Row]:
    """Each on processes that have done nothing else, but for those that want to know what a create costs."""
    with _product() as deployment:
        deployment.new_server()
        until(lambda: not fork_servers(deployment.service.pid), "idleness", 90)
        yield resident("resident memory of an idle gateway", 70, deployment.gateway.pid)
        yield resident(
            "resident memory of an idle native backend, which has made a file server", 90, deployment.service.pid
        )
        row, create_ms = shares.create(deployment, times)
        yield row
        yield from calls.hop(deployment, times * 20, create_ms)
    with _product() as deployment:
        yield shares.create_many(deployment, many)
        pids = (deployment.service.pid, *fork_servers(deployment.service.pid))
        busy = ", ".join(f"{resident_mib(pid):.0f} MiB" for pid in pids)
        yield Row(f"resident memory of the backend that has just made {many:,} shares, and of its fork server", "", busy)
    with _product() as long, _product() as short:
        yield calls.lists(long, short, times * 3)
    with _product() as deployment:
        yield from files.throughput(deployment, mib, rounds=9)
    yield from measure_lxc(mib)


def measure_lxc(mib: int) -> Iterator[Row]:
    """LXC mode. One file server is left alone from the beginning, so that it is idle at the end."""
    with nodes.started() as node, guests.product(node) as deployment:
        yield guests.template()
        idle = deployment.new_server()
        yield from guests.create(deployment, times=4)
        yield guests.at_once(deployment, 10)
        yield guests.share(deployment, times=10)
        with _product() as native:
            yield from files.between_modes(native, deployment, mib // 2, rounds=5)
        yield guests.idle_memory(deployment, idle)
        mib_of_backend = resident_mib(deployment.service.pid)
        yield Row("resident memory of an idle lxc backend, which has made all these", "", f"{mib_of_backend:.0f} MiB")


def _product() -> closing[NativeDeployment]:
    deployment = NativeDeployment()
    deployment.running()
    return closing(deployment)


def fork_servers(pid: int) -> list[int]:
    """What a native backend keeps beside itself as long as it has something to do."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [child for task in tasks for child in (task / "children").read_text().split()]
    return [int(child) for child in children if Path(f"/proc/{child}/cmdline").read_bytes().endswith(b"\0serve\0")]


def written(document: str, rows: list[Row]) -> str:
    """The document with a new table: everything between the marks."""
    smbd = subprocess.run(["smbd", "-V"], capture_output=True, text=True, check=True).stdout.strip()
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, Samba {smbd.removeprefix('Version ')}"
    table = "".join(f"{row}\n" for row in rows)
    before, _, rest = document.partition(MARK)
    return f"{before}{MARK}| {machine} | must reach | measured |\n|---|---|---|\n{table}{END}{rest.partition(END)[2]}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="repetitions of what is measured one by one")
    parser.add_argument("--many", type=int, default=1000, help="shares that are made by many clients")
    parser.add_argument("--mib", type=int, default=1024, help="size of the file that is read and written")
    parser.add_argument("--write", type=Path, help="document whose table is replaced")
    arguments = parser.parse_args()
    rows = []
    # Before anything runs: threads that were started earlier would stay behind.
    namespace.enter()
    try:
        for row in measure(arguments.times, arguments.many, arguments.mib):
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
    finally:
        namespace.leave()
    if arguments.write:
        arguments.write.write_text(written(arguments.write.read_text(), rows))


if __name__ == "__main__":
    main()
