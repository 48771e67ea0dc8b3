"""Sockets and processes as /proc tells them; of this test process itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import pytest

from services.native import processes


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")]
)
def test_a_listener_is_found_with_its_holder(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as own:
        own.bind((address, 0))
        port = own.getsockname()[1]
        assert processes.listeners(port) == [], "bound is not listening"
        own.listen()
        [found] = processes.listeners(port)
        assert (found.address, found.port) == (address, port)
        assert found.inode in processes.sockets(os.getpid())
        assert f"(pid {os.getpid()})" in processes.holder(found.inode)
        assert processes.first_conflict([(address, port)], {found.inode}) is None
        assert processes.first_conflict([(address, port + 1), (address, port)], set()) == ((address, port), found)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "0.0.0.0", True),
        ("::", "10.0.0.1", True),
        ("fd00::1", "fd00:0::1", True),
        ("fd00::1", "10.0.0.1", False),
    ],
)
def test_which_addresses_overlap(one: str, other: str, expected: bool) -> None:
    assert processes.overlap(one, other) is expected
    assert processes.overlap(other, one) is expected


def test_a_pinned_process_is_the_one_that_was_looked_at() -> None:
    # While a program is being started its command line is empty for a moment; one that speaks has been started.
    argv = ["sh", "-c", "echo ready; read line"]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None and child.stdout is not None and child.stdout.readline() == b"ready\n"
    pinned = processes.pin(child.pid, lambda pid: processes.arguments(pid) == argv)
    assert pinned is not None and pinned.alive()
    assert processes.pin(child.pid, lambda _: False) is None
    pinned.signal(signal.SIGKILL)
    assert processes.wait_ended([pinned], 30) == [pinned]
    # A zombie has ended, though its pid is still there.
    assert not pinned.alive() and processes.pin(child.pid, lambda _: True) is None
    child.communicate()
    pinned.signal(signal.SIGKILL)
    pinned.close()
    assert processes.pin(child.pid, lambda _: True) is None
    assert processes.arguments(child.pid) == [] and processes.program(child.pid) == "" and processes.session(child.pid) == 0


def test_pinning_leaves_no_descriptors_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    pinned = processes.pin(os.getpid(), lambda _: True)
    assert pinned is not None
    pinned.close()
    assert processes.pin(os.getpid(), lambda _: False) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_who_works_below_a_directory_is_named() -> None:
    child = subprocess.Popen(["sleep", "600"], cwd="/usr/share")
    try:
        assert any(f"(pid {child.pid})" in holder for holder in processes.holders_below("/usr/share"))
        assert not any(f"(pid {child.pid})" in holder for holder in processes.holders_below("/usr/sha"))
    finally:
        child.kill()
        child.wait()
