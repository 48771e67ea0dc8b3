"""A program that is forked behaves as one that is started."""

from __future__ import annotations

import contextlib
import json
import os
import select
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
from services.native import fork_server
from services.native.fork_server import ForkServer
from services.native.host import LocalHost
from tests.e2e.process import CLONE
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
    elif isinstance(told, str):
        child = subprocess.Popen(["sleep", "600"])
        with open(told, "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
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
    with pytest.raises(HostTimeout):
        run(forking, argv, str(tmp_path / "pids"), timeout=3.0)
    for pid in (tmp_path / "pids").read_text().split():
        until(lambda pid=pid: _state(pid) in ("Z", ""), "the end of it and its child")  # type: ignore[misc]
    assert run(forking, argv, "who").returncode == 0, "the next one is served"


def test_a_time_that_is_over_ends_it_wherever_it_is(forking: LocalHost, tmp_path: Path) -> None:
    """The child may not lead its group yet, or not read yet."""
    argv = instance(tmp_path, "ann")
    for _ in range(20):
        with pytest.raises(HostTimeout):
            forking.run(argv, stdin=b" " * 1_000_000, timeout=0.0)
    assert run(forking, argv, "who").returncode == 0


def test_a_server_that_hangs_is_done_without(
    server: ForkServer, forking: LocalHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server, "ANSWER_SECONDS", 0.5)
    argv = instance(tmp_path, "ann")
    first = int(run(forking, argv, "who").stdout.split()[1])
    os.kill(first, signal.SIGSTOP)
    assert int(run(forking, argv, "who").stdout.split()[1]) == os.getpid(), "started in the usual way"
    assert _state(str(first)) == ""
    assert int(run(forking, argv, "who").stdout.split()[1]) not in (first, os.getpid())


def test_it_outlives_its_idleness_as_long_as_a_child_lives(tmp_path: Path) -> None:
    """A child whose parent is gone takes itself for an orphan."""
    made = ForkServer(
        [*PROGRAM[:-1], "from services.samba.agent import serving\nserving.IDLE_SECONDS = 0.05\n" + PROGRAM_TEXT]
    )
    argv = [*instance(tmp_path, "ann")[: -len(PROGRAM)], *made._program]
    told = tmp_path / "pids"
    with contextlib.closing(made), ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(run, LocalHost(fork_server=made), argv, str(told), 30.0)
        until(told.exists, "the child")
        child, sleep = (int(pid) for pid in until(lambda: told.read_text().split(), "its pids"))
        parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
        with select.epoll() as ended:
            fd = os.pidfd_open(parent)
            ended.register(fd, select.EPOLLIN)
            assert ended.poll(0.5) == [], "it is idle, and has a child"
            os.kill(sleep, signal.SIGKILL)
            assert hanging.result().returncode == 0
            assert ended.poll(30) != []
            os.close(fd)


def test_it_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    text = (
        "import os, signal\n"
        "from services.native.host import LocalHost\n"
        "from tests.contract.native.test_fork_server import PROGRAM, ForkServer, run\n"
        f"argv = {instance(tmp_path, 'ann')[: -len(PROGRAM)]!r} + list(PROGRAM)\n"
        "print(run(LocalHost(fork_server=ForkServer(PROGRAM)), argv, 'who').stdout.split()[1].decode(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", text], cwd=CLONE, stdout=subprocess.PIPE, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    until(lambda: _state(ended.stdout.decode().strip()) == "", "the end of the server")


def test_descriptors_are_given_back(forking: LocalHost, tmp_path: Path) -> None:
    argv = instance(tmp_path, "ann")
    server = run(forking, argv, "who").stdout.split()[1].decode()
    before = [os.listdir(f"/proc/{pid}/fd") for pid in ("self", server)]
    for _ in range(20):
        assert run(forking, argv, "who").stdout.split()[1].decode() == server
    after = [os.listdir(f"/proc/{pid}/fd") for pid in ("self", server)]
    assert list(map(len, before)) == list(map(len, after))


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


def _state(pid: str) -> str:
    """Its letter in proc(5); empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
