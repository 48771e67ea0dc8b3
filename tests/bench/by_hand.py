"""File servers in containers, made by hand: what a script of an administrator would do on the node, and no more."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.stack import node as stand_in
from services.localnode.guests import hotplug
from services.localnode.guests.lxc import LxcContainers
from services.localnode.guests.ports import ContainerPlan, Network
from services.localnode.volumes import INNER_ROOT
from tests.e2e import node as nodes
from tests.e2e.guest_processes import Guest
from tests.e2e.node import TestNode

#: Of the first container; a node of ours begins at 100.
FIRST = 9000
SMB_PORT = 445


@dataclass(frozen=True)
class ByHand:
    """Makes containers as `lxc-create` and `lxc-start` do, beside those of the node. `files` are smb.conf of one of ours
    and the accounts that it names, which theirs get."""

    node: TestNode
    files: Mapping[str, bytes]
    containers: LxcContainers

    @classmethod
    def on(cls, node: TestNode, files: Mapping[str, bytes]) -> ByHand:
        directory = node.local.directory / "by-hand"
        directory.mkdir(mode=0o711)
        return cls(node, files, LxcContainers(directory, Path(f"/run/netns/{node.local.namespace}")))

    def make(self, number: int, root: Path, fill: Callable[[Path], None]) -> None:
        """A container with a running smbd that has one more share. `fill` puts the template's content into its root."""
        vmid = FIRST + number
        address = self.node.free_address()
        fill(root)
        for path, data in self.files.items():
            _own(root / path.lstrip("/"), data)
        net = Network("eth0", self.node.local.bridge, f"bc:24:11:00:{number >> 8:02x}:{number & 255:02x}", address)
        self.containers.start(ContainerPlan(vmid, f"hand{number}", root, networks=[net], memory_mib=256, cores=1))
        usage = self.containers.usage(vmid)
        assert usage is not None
        wait_for_smbd(address.partition("/")[0])
        guest = Guest(vmid, usage.pid)
        for argv in (["mkdir", "-p", "/srv/docs"], ["net", "conf", "addshare", "docs", "/srv/docs", "writeable=y"]):
            done = guest.run(*argv)
            assert done.returncode == 0, done.stderr

    def remove(self, number: int, root: Path) -> None:
        self.containers.stop(FIRST + number)
        self.containers.forget(FIRST + number)
        if subprocess.run(["btrfs", "subvolume", "delete", str(root)], capture_output=True, check=False).returncode:
            shutil.rmtree(root)

    # How a root comes to its content

    def unpack(self, root: Path) -> None:
        """As lxc-create does."""
        root.mkdir(parents=True, mode=0o755)
        os.chown(root, INNER_ROOT, INNER_ROOT)
        self.containers.unpack(nodes.template(), root)

    def snapshot_of(self, kept: Path) -> Callable[[Path], None]:
        """As an administrator does who has unpacked it once onto btrfs."""

        def fill(root: Path) -> None:
            root.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["btrfs", "subvolume", "snapshot", str(kept), str(root)], check=True, capture_output=True)

        return fill

    def keep_unpacked(self) -> Path:
        """A subvolume with the template's content."""
        kept = self.node.local.directory / stand_in.ROOTS / "by-hand-template"
        subprocess.run(["btrfs", "subvolume", "create", str(kept)], check=True, capture_output=True)
        os.chown(kept, INNER_ROOT, INNER_ROOT)
        self.containers.unpack(nodes.template(), kept)
        return kept


def add_share(guest: Guest, directory: Path, name: str, size: int, check: Callable[[str], None]) -> None:
    """A volume in a sparse file, mounted into the running container; a share on it; and a client that connects."""
    image, at, target = directory / f"{name}.raw", directory / name, f"/srv/{name}"
    at.mkdir()
    with open(image, "xb") as file:
        file.truncate(size)
    for argv in (
        ["mkfs.xfs", "-q", str(image)],
        ["mount", "-o", "loop,noatime", str(image), str(at)],
        ["chown", f"{INNER_ROOT}:{INNER_ROOT}", str(at)],
        [sys.executable, hotplug.__file__, str(guest.init), str(at), target, "rw"],
    ):
        subprocess.run(argv, check=True, capture_output=True)
    done = guest.run("net", "conf", "addshare", name, target, "writeable=y")
    assert done.returncode == 0, done.stderr
    check(name)


def wait_for_smbd(address: str) -> None:
    """Looks every hundredth of a second."""
    end = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            # No address yet: its neighbour is asked for again only after a second, so a short time is given.
            probe.settimeout(0.05)
            if probe.connect_ex((address, SMB_PORT)) == 0:
                return
        assert time.monotonic() < end, f"no smbd at {address}"
        time.sleep(0.01)


def _own(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    os.chown(path, INNER_ROOT, INNER_ROOT)
