"""A program that is forked behaves as one that is started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.core.errors import HostNotPrepared, HostTimeout
from services.core.ports import Completed
from services.native.fork_server import ForkServer
from services.native.host import LocalHost
from tests.e2e.waiting import until

#: Does what it is told; as the agent, but for what it does.
PROGRAM_TEXT = """
import json, os, pwd, subprocess, sys
from services.samba.agent import serving
def main():
    told = json.load(sys.stdin)
    if told == "users":
        print(sorted(entry.pw_name for entry in pwd.getpwall()), os.environ["NSS_WRAPPER_PASSWD"])
        print(subprocess.run(["getent", "passwd"], capture_output=True, text=True).stdout)
    elif told == "who":
        print(os.getpid(), os.getppid(), os.getpgid(0))
    elif told == "hang":
        child = subprocess.Popen(["sleep", "600"])
        print(os.getpid(), child.pid, flush=True)
        child.wait()
    else:
        print("x" * told, file=sys.stderr)
serving.main = main
serving.serve() if sys.argv[1:] == ["serve"] else main()
"""
PROGRAM = (sys.executable, "-W", "error", "-c", PROGRAM_TEXT)


@pytest.fixture
def server() -> Iterator[ForkServer]:
    made = ForkServer(PROGRAM)
    yield made
    made.close()


@pytest.fixture
def forking(server: ForkServer) -> LocalHost:
    return LocalHost(fork_server=server)


def command(place: Path) -> list[str]:
    settings = {"LD_PRELOAD": "libnss_wrapper.so", "NSS_WRAPPER_PASSWD": f"{place}/passwd"}
    settings["NSS_WRAPPER_GROUP"] = f"{place}/group"
    return ["env", *(f"{name}={value}" for name, value in settings.items()), *PROGRAM]


def instance(base: Path, user: str) -> list[str]:
    """The command, for an instance with one user."""
    place = base / user
    place.mkdir()
    (place / "passwd").write_text(f"root:x:0:0::/:/bin/sh\n{user}:x:72001:72001::/:/bin/false\n")
    (place / "group").write_text("root:x:0:\n")
    return command(place)


def run(host: LocalHost, argv: list[str], told: object, timeout: float = 30.0) -> Completed:
    return host.run(argv, stdin=json.dumps(told).encode(), timeout=timeout)


def test_each_child_sees_the_users_of_its_instance(forking: LocalHost, tmp_path: Path) -> None:
    for user in ("ann", "ben"):
        argv = instance(tmp_path, user)
        forked = run(forking, argv, "users")
        assert forked.stdout.decode().splitlines()[0] == f"['{user}', 'root'] {tmp_path}/{user}/passwd"
        assert forked.stdout.decode().splitlines()[2].startswith(f"{user}:"), "programs that it starts see them too"
        assert forked == run(LocalHost(), argv, "users")


def test_it_ends_as_a_program_does(forking: LocalHost, tmp_path: Path) -> None:
    argv = instance(tmp_path, "ann")
    assert run(forking, argv, 300_000) == run(LocalHost(), argv, 300_000) == Completed(0, b"", b"x" * 300_000 + b"\n")
    failed = forking.run(argv, stdin=b"no json")
    assert (failed.returncode, failed.stdout) == (1, b"") and b"JSONDecodeError" in failed.stderr


def test_children_have_one_parent_and_a_group_of_their_own(forking: LocalHost, tmp_path: Path) -> None:
    argv = instance(tmp_path, "ann")
    with ThreadPoolExecutor(8) as pool:
        rows = [tuple(map(int, run(forking, argv, "who").stdout.split())) for _ in range(3)]
        rows += [tuple(map(int, done.stdout.split())) for done in pool.map(lambda _: run(forking, argv, "who"), range(16))]
    assert len({pid for pid, _, _ in rows}) == len(rows)
    assert len({parent for _, parent, _ in rows}) == 1
    assert all(pid == group for pid, _, group in rows)


def test_a_child_that_does_not_end_is_stopped_with_its_children(forking: LocalHost, tmp_path: Path) -> None:
    argv = instance(tmp_path, "ann")
    before = _processes()
    with pytest.raises(HostTimeout):
        run(forking, argv, "hang", timeout=3.0)
    until(lambda: not any(b"sleep\x00600" in _cmdline(pid) for pid in _processes() - before), "the end of its child")
    assert run(forking, argv, "who").returncode == 0, "the next one is served"


def test_a_server_that_died_is_started_again(forking: LocalHost, tmp_path: Path) -> None:
    argv = instance(tmp_path, "ann")
    first = int(run(forking, argv, "who").stdout.split()[1])
    os.kill(first, signal.SIGKILL)
    second = int(run(forking, argv, "who").stdout.split()[1])
    assert second != first


def test_it_ends_with_its_owner(server: ForkServer, forking: LocalHost, tmp_path: Path) -> None:
    parent = int(run(forking, instance(tmp_path, "ann"), "who").stdout.split()[1])
    server.close()
    assert not os.path.exists(f"/proc/{parent}")


def test_it_ends_when_it_is_idle() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    text = "from services.samba.agent import serving; serving.IDLE_SECONDS = 0.05; serving.serve()"
    with ours, theirs:
        assert subprocess.run([sys.executable, "-c", text], stdin=theirs.fileno(), timeout=60).returncode == 0


def test_other_commands_are_started(server: ForkServer, tmp_path: Path) -> None:
    argv = command(tmp_path)
    assert server.can_run(argv) is not None
    for other in (argv[1:], [*argv, "more"], [*argv[:1], "A=b", *argv[1:]], ["sh", *argv], list(PROGRAM), ["true"]):
        assert server.can_run(other) is None, other


def test_a_missing_program_is_told_as_ever(tmp_path: Path) -> None:
    missing = ForkServer(["/nowhere/python3", "-c", "pass"])
    host = LocalHost(fork_server=missing)
    argv = [*command(tmp_path)[: -len(PROGRAM)], "/nowhere/python3", "-c", "pass"]
    with pytest.raises(HostNotPrepared):
        host.run(argv)


def _processes() -> set[int]:
    return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
