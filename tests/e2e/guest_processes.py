"""Processes in containers of a stand-in node, as this machine has them."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from services.lxc.settings import LAYOUT

#: File in a deployment's directory that says where the containers of its node are kept.
NODE = "containers-of-node"


@dataclass(frozen=True)
class Guest:
    """A container that runs. `init` is the pid of its first process."""

    vmid: int
    init: int

    def runs(self) -> bool:
        try:
            status = Path(f"/proc/{self.init}/status").read_text()
            return re.search(r"^NSpid:.*\t1$", status, re.MULTILINE) is not None
        except (FileNotFoundError, ProcessLookupError):
            return False

    def path(self, path: str) -> Path:
        """A path in it."""
        return Path(f"/proc/{self.init}/root{path}")

    def processes(self) -> Iterator[tuple[int, int]]:
        """Pids on this machine and inside, for those that are not of containers within it."""
        namespace = os.stat(f"/proc/{self.init}/ns/pid").st_ino
        for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/pid").st_ino == namespace:
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                    yield pid, int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])

    def samba(self) -> list[int]:
        """The programs of Samba, on this machine."""
        return [pid for pid, _ in self.processes() if _name(pid) in ("smbd", "samba-dcerpcd", "rpcd_classic")]

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A command as root of the container, past the service."""
        words = ["nsenter", f"--target={self.init}", "--mount", "--uts", "--ipc", "--net", "--pid", "--user", "--root"]
        return subprocess.run(
            [*words, "--setuid=0", "--setgid=0", "--", *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL
        )


def guest(node: Path, vmid: int) -> Guest | None:
    """One that runs on the node that keeps its containers in this directory."""
    found = subprocess.run(["lxc-info", "-P", node, "-n", str(vmid), "-p", "-H"], capture_output=True, text=True)
    return Guest(vmid, int(found.stdout)) if found.stdout.strip().isdigit() and int(found.stdout) > 0 else None


def guests_of(state: Path) -> Iterator[Guest]:
    """Those that run of the deployment with this directory: its claims name them."""
    if (state / NODE).exists():
        with closing(sqlite3.connect(state / "lxc" / "store.db")) as store:
            vmids = [int(value) for (value,) in store.execute("SELECT value FROM claims WHERE kind = 'guest'")]
        for vmid in vmids:
            if (found := guest(Path((state / NODE).read_text()), vmid)) is not None:
                yield found


def smbd(guest: Guest) -> int | None:
    """The main smbd, on this machine."""
    try:
        inside = int(guest.path(f"{LAYOUT.pid_dir}/smbd.pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return next((pid for pid, own in guest.processes() if own == inside), None)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
