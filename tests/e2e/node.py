"""The stand-in node of a run of the tests: one for all deployments, each of which has a pool of its own on it."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.stack import node as stand_in
from packaging.stack.node import LocalNode
from services.proxmox.session import Session
from tests.e2e import guest_processes, namespace
from tests.e2e.guest_processes import Guest
from tests.e2e.process import CLONE

#: Kept from run to run.
TEMPLATES = CLONE / ".make" / "templates"


@dataclass(frozen=True)
class TestNode:
    """What tests ask of it, past the API where they can."""

    __test__ = False
    local: LocalNode
    root: Session
    _pools: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _running: dict[int, Guest] = field(default_factory=dict)
    _addresses: Iterator[int] = field(default_factory=lambda: itertools.cycle(range(2, 100)))

    @property
    def containers(self) -> Path:
        """Where LXC has them."""
        return self.local.state / "lxc"

    def new_pool(self) -> str:
        """One that the token of the tests may make guests in."""
        pool = f"e2e{next(self._pools)}"
        self.root.call("POST", ("pools",), {"poolid": pool})
        grant = {"path": f"/pool/{pool}", "users": stand_in.USER, "roles": "SMBGuest"}
        self.root.call("PUT", ("access", "acl"), grant)
        return pool

    def free_address(self) -> str:
        """With its prefix. All are used in turn, but for those that answer."""
        for number in self._addresses:
            address = stand_in.NETWORK.network[number]
            with socket.socket() as probe:
                probe.settimeout(0.2)
                if probe.connect_ex((str(address), 445)) != 0:
                    return f"{address}/{stand_in.NETWORK.network.prefixlen}"
        raise AssertionError("there is always a next one")

    def all_guests(self) -> list[int]:
        return [int(vmid) for vmid in self._state()["guests"]]

    def _state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.local.state / "state.json").read_text())
        return found

    def guests(self, pool: str) -> dict[int, dict[str, Any]]:
        """Configurations of the guests in a pool, as the node keeps them. Under `pending` is what waits for a stop."""
        state = self._state()
        mine = {int(vmid) for vmid, of in state["pool_of"].items() if of == pool}
        return {
            int(vmid): {**guest["config"], "pending": guest["pending"]}
            for vmid, guest in state["guests"].items()
            if int(vmid) in mine
        }

    def running(self, vmid: int) -> Guest | None:
        known = self._running.get(vmid)
        if known is None or not known.runs():
            known = guest_processes.guest(self.containers, vmid)
        if known is not None:
            self._running[vmid] = known
        return known

    def volumes(self) -> set[tuple[int, str]]:
        """Guest id and name of every volume."""
        places = [self.local.directory / name / "images" for name in (stand_in.ROOTS, stand_in.STORE)]
        return {(int(f.parent.name), f.name) for place in places for f in place.glob("*/*") if f.parent.name.isdigit()}

    def mounts(self) -> list[str]:
        """Mount points of guests' volumes, and what lies behind each loop device of the node."""
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            points = [line.split(" ")[4] for line in file]
        loops = subprocess.run(["losetup", "--noheadings", "--output", "BACK-FILE"], capture_output=True, text=True)
        files = [line.strip() for line in loops.stdout.splitlines()]
        return [path for path in (*points, *files) if path.startswith((f"{self.local.state}/mounts/", *self._images()))]

    def _images(self) -> tuple[str, ...]:
        return tuple(f"{self.local.directory}/{name}/images/" for name in (stand_in.ROOTS, stand_in.STORE))


@contextmanager
def started() -> Iterator[TestNode]:
    """One with our template on it."""
    home = namespace.enter()
    # /tmp may be small, and is slower than need be where it is a file system in memory.
    directory = Path(tempfile.mkdtemp(prefix="pvesmb-node-", dir="/var/tmp"))
    directory.chmod(0o711)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.cleanup", str(directory)],
        cwd=CLONE,
        stdin=subprocess.PIPE,
        start_new_session=True,
    ) as cleaner:
        stand_in.open_network(home.name)
        local = LocalNode(directory, home.name)
        local.start()
        cache = directory / stand_in.STORE / "template" / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copy(template(), cache)
        with closing(local.root()) as root:
            yield TestNode(local, root)
        local.stop()
        assert cleaner.stdin is not None
        cleaner.stdin.close()


@functools.cache
def template() -> Path:
    """Our template, built if it is not there; only the machine's own network reaches a mirror."""
    words = [sys.executable, "-m", "services.lxc.template", "--out", str(TEMPLATES)]
    done = subprocess.run(
        namespace.enter().command_outside(words), cwd=CLONE, stdout=subprocess.PIPE, text=True, check=True
    )
    return Path(done.stdout.strip())
