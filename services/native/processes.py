"""Processes and listening sockets of this node, from /proc (proc(5)), without races.

A pid says nothing by itself: it may have been given to another process since it was read. So a process is pinned with a
pidfd first, then looked at, then seen to be alive still: what was seen was of that process.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

LISTEN = "0A"


@dataclass(frozen=True)
class Process:
    """A pinned process. Whoever holds it closes it."""

    pid: int
    pidfd: int

    def alive(self) -> bool:
        """False as soon as it has ended, reaped by its parent or not."""
        return not wait_ended([self], 0)

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        os.close(self.pidfd)


def wait_ended(processes: Iterable[Process], timeout: float) -> list[Process]:
    """Waits until at least one has ended, at most `timeout` seconds; those that have."""
    by_fd = {process.pidfd: process for process in processes}
    poll = select.poll()
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    return [by_fd[fd] for fd, _ in poll.poll(timeout * 1000)]


def pin(pid: int, fits: Callable[[int], bool]) -> Process | None:
    """The process, if it runs and `fits` says so of it."""
    try:
        process = Process(pid, os.pidfd_open(pid))
    except (ProcessLookupError, ValueError, OSError):
        return None
    if fits(pid) and process.alive():
        return process
    process.close()
    return None


def pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def arguments(pid: int) -> list[str]:
    """The command line; empty if the process has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.fsdecode(file.read()).split("\0")[:-1]
    except OSError:
        return []


def program(pid: int) -> str:
    """Base name of the executable, also after an upgrade has replaced it; empty if the process has ended."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)")
    except OSError:
        return ""


def session(pid: int) -> int:
    """Its session's id; 0 if the process has ended."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def is_own_users(pid: int) -> bool:
    """Whether it runs as the same user as this service."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return False


def describe(pid: int) -> str:
    """For people: `nginx (pid 42)`."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"{file.read().strip()} (pid {pid})"
    except OSError:
        return f"pid {pid}"


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket of this network namespace."""

    address: str
    port: int
    inode: int


def listeners(port: int) -> list[Listener]:
    """All that listen on this port, of both families."""
    found = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/thread-self/net/{table}", encoding="ascii") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                address, number = fields[1].split(":")
                if fields[3] == LISTEN and int(number, 16) == port:
                    found.append(Listener(_address(address), port, int(fields[9])))
    return found


def _address(text: str) -> str:
    # 32-bit words in the byte order of the machine, which is the little-endian one wherever Proxmox VE runs.
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def is_wildcard(address: str) -> bool:
    return ipaddress.ip_address(address).is_unspecified


def overlap(one: str, other: str) -> bool:
    """Whether two programs cannot both listen on these addresses at the same port. `::` may take IPv4 as well, so every
    wildcard overlaps with everything."""
    return is_wildcard(one) or is_wildcard(other) or ipaddress.ip_address(one) == ipaddress.ip_address(other)


def sockets(pid: int) -> set[int]:
    """Inodes of the sockets that a process holds."""
    inodes = set()
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
                if target.startswith("socket:["):
                    inodes.add(int(target[8:-1]))
    return inodes


def holder(inode: int) -> str:
    """Who holds a socket, for people."""
    return next((describe(pid) for pid in pids() if inode in sockets(pid)), "a program")


def holders_below(path: str) -> list[str]:
    """Who has a file or directory at or below `path` open, works in it, or runs from it; for people, at most five."""
    prefix = path.rstrip("/") + "/"
    found = []
    for pid in pids():
        links = [f"/proc/{pid}/{link}" for link in ("cwd", "root", "exe")]
        with contextlib.suppress(OSError):
            links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
        if any((_target(link) + "/").startswith(prefix) for link in links):
            found.append(describe(pid))
    return found[:5]


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def first_conflict(endpoints: Sequence[tuple[str, int]], own: set[int]) -> tuple[tuple[str, int], Listener] | None:
    """The first of the endpoints on which a socket that is none of our `own` listens."""
    for address, port in endpoints:
        for listener in listeners(port):
            if listener.inode not in own and overlap(address, listener.address):
                return (address, port), listener
    return None
