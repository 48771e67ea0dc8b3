"""`python -m tests.e2e.cleanup DIRECTORY`: takes away all that lives in a test's directory, as soon as stdin ends; with
`--netns NAME`, the name of a network namespace.

The test run holds the other end of the pipe, so that this happens too when the run is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from services.localnode.machine import MONITOR, end_guests
from services.native.volumes import remove_mount_point


def clean(base: str) -> None:
    """Ends every process whose command line or environment names the directory, unmounts, removes. Guests of a node that is
    there end first: they would outlive what keeps them."""
    config = Path(base, "localnode.toml")
    if config.exists():
        _kill([pid for pid in living(base) if b"services.localnode" in _read(pid, "cmdline")])
        subprocess.run([sys.executable, "-m", "services.localnode", "--config", str(config), "--clean"], check=False)
    end = time.monotonic() + 10
    while (pids := living(base)) and time.monotonic() < end:
        _kill(pids)
    end_guests(Path(base))
    for point in sorted(mounts(base), reverse=True):
        subprocess.run(["umount", point], check=False)
    for root, directories, _ in os.walk(base):
        for directory in directories:
            with contextlib.suppress(OSError):
                remove_mount_point(os.path.join(root, directory))
    shutil.rmtree(base, ignore_errors=True)


def living(base: str) -> list[int]:
    """Processes that were started for something below the directory: its path stands in their command line or (as for all
    programs of an instance) in their environment."""
    found = []
    for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        with contextlib.suppress(OSError):
            words = _read(pid, "cmdline") + _read(pid, "environ")
            if words.startswith(MONITOR):
                continue  # its container would outlive it: `end_guests`
            if base.encode() in words and pid not in (os.getpid(), os.getppid()) and b"tests.e2e.cleanup" not in words:
                found.append(pid)
    return found


def mounts(base: str) -> list[str]:
    """Mount points below the directory."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split(" ")[4] for line in file]
    return [point for point in points if point.startswith(base + "/")]


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid)
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            select.select([fd], [], [], 2)
            os.close(fd)


def _read(pid: int, name: str) -> bytes:
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    if sys.argv[1] == "--netns":
        subprocess.run(["ip", "netns", "delete", sys.argv[2]], check=False)
    else:
        clean(sys.argv[1])
