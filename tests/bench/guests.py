"""LXC mode: file servers in containers, against the same made by hand on the same node."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pvesmb

from packaging.stack import node as stand_in
from services.lxc.settings import LAYOUT
from tests.bench import waits
from tests.bench.by_hand import ByHand, add_share
from tests.bench.measuring import Row, cpu_seconds, ratio, seconds, turns
from tests.e2e import node as nodes
from tests.e2e.lxc import VOLUME_BYTES, LxcDeployment
from tests.e2e.node import TestNode
from tests.e2e.process import ServiceProcess
from tests.e2e.smb import smbclient
from tests.e2e.waiting import until
from tests.e2e.words import MIB, Server, password, users

USER = "ann"
CPU = "cpu"


@contextmanager
def product(node: TestNode) -> Iterator[LxcDeployment]:
    """A backend that says what it waits for."""
    deployment = LxcDeployment(node)
    try:
        config, socket, log = (deployment.state / f"lxc.{end}" for end in ("toml", "sock", "log"))
        deployment.service = ServiceProcess("tests.bench.waits", config, socket, log)
        deployment.running()
        yield deployment
    finally:
        deployment.close()


def template() -> Row:
    mib = nodes.template().stat().st_size / MIB
    return Row("packed size of our template", "≤ 130 MiB", f"{mib:.0f} MiB", mib <= 130)


def idle_memory(deployment: LxcDeployment, server: Server) -> Row:
    """Proportional, over all its processes, when the backend has left it alone for so long that no ssh session is open."""
    guest = deployment.guest(server.uid)
    until(lambda: all(b"sshd: root" not in _command(pid) for pid, _ in guest.processes()), "idleness", 120)
    kib = 0
    for pid, _ in guest.processes():
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kib += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    mib = kib / 1024
    what = "proportional memory (Pss) of an idle container, over all its processes"
    return Row(what, "≤ 45 MiB", f"{mib:.1f} MiB", mib <= 45)


def create(deployment: LxcDeployment, times: int) -> Iterator[Row]:
    """With one share: call to confirmed, in three ways to keep root disks."""
    node = deployment.node
    first = deployment.new_server(shares={"docs": pvesmb.Share()})
    paths = (LAYOUT.conf, LAYOUT.passwd, LAYOUT.group)
    hand = ByHand.on(node, {path: deployment.place(first, path).read_bytes() for path in paths})
    delete(deployment, first)
    kept = hand.keep_unpacked()
    spent: list[dict[str, float]] = []

    def ours(storage: str, _: int) -> float:
        before, begun = _spent(deployment), time.perf_counter()
        server = _new(deployment, storage)
        took = time.perf_counter() - begun
        if storage == stand_in.ROOTS:
            spent.append(
                {"call": took, **{kind: value - before.get(kind, 0) for kind, value in _spent(deployment).items()}}
            )
        delete(deployment, server)
        return took

    def theirs(storage: str, snapshot: bool, number: int) -> float:
        root = node.local.directory / storage / "by-hand" / f"{number}{'s' * snapshot}"
        root.parent.mkdir(mode=0o711, exist_ok=True)
        fill = hand.snapshot_of(kept) if snapshot else hand.unpack
        try:
            return seconds(lambda: hand.make(number, root, fill))
        finally:
            hand.remove(number, root)

    taken = turns(
        times,
        {
            "fast": partial(ours, stand_in.ROOTS),
            "fast by hand": partial(theirs, stand_in.ROOTS, False),
            "fast by hand, snapshot": partial(theirs, stand_in.ROOTS, True),
            "local": partial(ours, stand_in.STORE),
            "local by hand": partial(theirs, stand_in.STORE, False),
        },
    )
    ms = {name: 1000 * statistics.median(values) for name, values in taken.items()}
    what = "create a file server in a container with one share, call to confirmed, p50"
    yield ratio(f"{what}, over by hand", 1.25, ms["fast"], ms["fast by hand"])
    yield ratio(f"{what}, root disks in a directory, over by hand there", 1.25, ms["local"], ms["local by hand"])
    by_snapshot = ms["fast by hand, snapshot"]
    told = f"{ms['fast'] / by_snapshot:.2f} ({ms['fast']:.4g} ms / {by_snapshot:.4g} ms)"
    yield Row("the same on btrfs, over by hand with a snapshot of the unpacked template", "", told)
    yield from own(spent[1:])


def own(spent: list[dict[str, float]]) -> Iterator[Row]:
    """What of a create is not spent waiting for the node and the guest."""
    kinds = (waits.TASKS, waits.CALLS, waits.GUEST, waits.SMB, waits.PAUSES)
    medians = {kind: 1000 * statistics.median(each.get(kind, 0) for each in spent) for kind in kinds}
    ours = 1000 * statistics.median(each["call"] - sum(each.get(kind, 0) for kind in kinds) for each in spent)
    inside = 1000 * statistics.median(each[waits.STEPS] - sum(each.get(kind, 0) for kind in kinds) for each in spent)
    what = "own time in a create: everything but waiting for the node and the guest"
    yield Row(what, "≤ 300 ms", f"{ours:.0f} ms, of it in steps {inside:.0f} ms", ours <= 300)
    cpu = 1000 * statistics.median(each[CPU] for each in spent)
    yield Row("processor time of the backend in a create, its waiting included", "", f"{cpu:.0f} ms")
    yield Row("what it waits for", "", ", ".join(f"{kind} {value:.0f} ms" for kind, value in medians.items()))


def at_once(deployment: LxcDeployment, count: int) -> Row:
    """So many file servers together, over as many one after the other: those half before, and half after."""

    def one(_: int) -> Server:
        return _new(deployment, stand_in.ROOTS)

    def in_sequence(number: int) -> float:
        made: list[Server] = []
        took = seconds(lambda: made.extend(one(i) for i in range(number)))
        clear(made)
        return took

    def together() -> float:
        made: list[Server] = []
        with ThreadPoolExecutor(count) as pool:
            took = seconds(lambda: made.extend(pool.map(one, range(count))))
        clear(made)
        return took

    def clear(made: list[Server]) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(partial(delete, deployment), made))

    one_by_one = in_sequence(count // 2)
    parallel = together()
    one_by_one += in_sequence(count - count // 2)
    return ratio(f"{count} file servers at once, over as many one after the other", 0.5, parallel, one_by_one, "s")


def share(deployment: LxcDeployment, times: int) -> Row:
    """With its volume, on a file server that runs."""
    ours, theirs = (deployment.new_server(users=users(USER)) for _ in range(2))
    guest = deployment.guest(theirs.uid)
    directory = deployment.node.local.directory / stand_in.STORE / "by-hand-volumes"
    directory.mkdir(mode=0o711)

    def connect(name: str) -> None:
        told = smbclient(theirs.endpoint, name, USER, password(USER), "exit")
        assert told.ok, told.text

    def by_hand(number: int) -> float:
        return seconds(lambda: add_share(guest, directory, f"hand{number}", VOLUME_BYTES, connect))

    def through_the_product(number: int) -> float:
        work = partial(deployment.client.shares.create, ours.name, f"s{number}")
        return seconds(lambda: work().result(timeout=60))

    taken = turns(times, {"ours": through_the_product, "by hand": by_hand})
    for server in (ours, theirs):
        delete(deployment, server)
    for point in directory.iterdir():
        if point.is_mount():
            subprocess.run(["umount", str(point)], check=True)
    ms = {name: 1000 * statistics.median(values) for name, values in taken.items()}
    what = "add a share with its volume to a running file server, p50, over by hand"
    return ratio(what, 2, ms["ours"], ms["by hand"])


def delete(deployment: LxcDeployment, server: Server) -> None:
    deployment.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=100)


def _new(deployment: LxcDeployment, storage: str) -> Server:
    spec = deployment.spec()
    spec.lxc.placement.storage = storage
    create = deployment.client.file_servers.create
    handle = create(deployment.backend, deployment.new_id(), spec, shares={"docs": pvesmb.Share()})
    return Server(handle.result(timeout=200))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _spent(deployment: LxcDeployment) -> dict[str, float]:
    file = deployment.state / waits.FILE
    found: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    return {**found, CPU: cpu_seconds(deployment.service.pid)}
