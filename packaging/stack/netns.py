"""Network namespaces: the stack can run inside one, made if absent."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

# setns(2)
_CLONE_NEWNET = 0x40000000


def ensure(name: str) -> bool:
    """Makes the namespace if there is none, with its loopback up; whether it was made."""
    made = not Path(f"/run/netns/{name}").exists()
    if made:
        subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    return made


def remove(name: str) -> None:
    """Takes the namespace's name away; the kernel ends it when nobody is in it any more."""
    subprocess.run(["ip", "netns", "delete", name], check=True)


def inside(name: str) -> bool:
    """Whether this process is in that namespace."""
    return os.stat("/proc/thread-self/ns/net").st_ino == os.stat(f"/run/netns/{name}").st_ino


def command(name: str, argv: list[str]) -> list[str]:
    """The command, to be run in that namespace; unlike `ip netns exec` it keeps the mounts of this process."""
    return ["nsenter", f"--net=/run/netns/{name}", "--", *argv]


def enter(name: str) -> None:
    """Moves this thread there, and with it every thread and process that it starts from now on."""
    with open(f"/run/netns/{name}") as namespace:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"network namespace {name} cannot be entered")
