"""A program that stays on the host behaves as one that is started for each request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.core.errors import HostNotPrepared, HostTimeout, HostUnreachable
from services.samba.apply import PROGRAM as AGENT
from services.ssh import connection, resident
from services.ssh.host import SshHost
from services.ssh.hosts import SshHosts
from services.ssh.keys import Key
from tests.contract.ssh.conftest import UID, Pins
from tests.contract.ssh.proxy import Proxy
from tests.e2e.waiting import until

pytestmark = pytest.mark.root

#: Does what it is told; as the agent, but for what it does.
PROGRAM_TEXT = """
import os, signal, subprocess, sys
from services.samba.agent import serving
def main():
    told = sys.stdin.read()
    if told == "who":
        print(os.getppid(), os.getpgid(0) == os.getpid(), os.getcwd(), sorted(os.environ))
    elif told == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif told.startswith("/"):
        child = subprocess.Popen(["sleep", "600"])
        with open(told, "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        os.rename(told, told + ".begun")
        child.wait()
    else:
        print(told, file=sys.stderr)
        print(told)
serving.main = main
serving.IDLE_SECONDS, serving.OLD_SECONDS = IDLE, OLD
serving.stream() if sys.argv[1:] == ["stream"] else main()
"""


def program(idle: float = 60, old: float = 600) -> list[str]:
    return [sys.executable, "-c", PROGRAM_TEXT.replace("IDLE, OLD", f"{idle}, {old}")]


class Far:
    """A host behind the proxy that keeps `argv`."""

    def __init__(self, proxy: Proxy, key: Key, argv: list[str]) -> None:
        pins = Pins()
        self.argv = argv
        self.hosts = SshHosts(pins.get, pins.pin, program=argv)
        self.host: SshHost = self.hosts.host(UID, "127.0.0.1", key, proxy.port)

    def who(self) -> str:
        """The process that the one that answered is a child of."""
        return self.host.run(self.argv, stdin=b"who").stdout.decode().split()[0]


@pytest.fixture
def far(request: pytest.FixtureRequest, proxy: Proxy, key: Key) -> Iterator[Far]:
    made = Far(proxy, key, getattr(request, "param", None) or program())
    yield made
    made.hosts.close()


def ended(host: SshHost, begun: Path) -> None:
    """Those who wrote this file are gone, or dead."""
    script = 'for p in "$@"; do read -r _ _ state _ < /proc/$p/stat && [ $state != Z ] && exit 1; done; exit 0'
    pids = begun.read_text().split()
    until(lambda: host.run(["sh", "-c", script, "-", *pids]).returncode == 0, "they have ended", 20)


@pytest.mark.parametrize("told", ["", "a", "ééé\n\0 ", "x" * 300_000, "die"])
def test_it_answers_as_one_that_is_started(far: Far, host: SshHost, told: str) -> None:
    kept, started = (h.run(far.argv, stdin=told.encode()) for h in (far.host, host))
    assert (kept.returncode, kept.stdout) == (started.returncode, started.stdout)
    assert kept.stderr == started.stderr or told == "die", "a shell tells of a signal"


def test_the_agent_itself(proxy: Proxy, key: Key, host: SshHost) -> None:
    far = Far(proxy, key, list(AGENT))
    kept, started = (h.run(AGENT, stdin=b'{"op": "?"}') for h in (far.host, host))
    assert kept.returncode == started.returncode == 1 and b"KeyError" in kept.stderr and b"KeyError" in started.stderr
    far.hosts.close()


def test_it_is_loaded_once_and_its_children_stand_alone(far: Far) -> None:
    first = far.host.run(far.argv, stdin=b"who").stdout.decode()
    assert first.split()[1:] == ["True", "/", "['LC_ALL',", "'PATH']"]
    assert {far.who() for _ in range(5)} == {first.split()[0]}


def test_one_that_is_busy_is_not_waited_for(far: Far, host: SshHost, place: str) -> None:
    before = far.who()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(far.host.run, far.argv, stdin=f"{place}/f".encode(), timeout=100)
        begun = Path(f"{place}/f.begun")
        until(begun.exists, "it runs")
        assert far.who() != before
        host.run(["kill", "-9", begun.read_text().split()[1]])
        assert running.result().returncode == 0
    assert far.who() == before


def test_at_the_end_of_its_time_it_is_stopped_with_its_children(far: Far, host: SshHost, place: str) -> None:
    before = far.who()
    with pytest.raises(HostTimeout, match="was stopped"):
        far.host.run(far.argv, stdin=f"{place}/f".encode(), timeout=1.5)
    ended(host, Path(f"{place}/f.begun"))
    assert far.who() == before


def test_a_cut_ends_it_at_once(far: Far, host: SshHost, proxy: Proxy, place: str) -> None:
    before = far.who()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(far.host.run, far.argv, stdin=f"{place}/f".encode(), timeout=100)
        until(Path(f"{place}/f.begun").exists, "it runs")
        proxy.cut()
        with pytest.raises(HostUnreachable, match="may have happened"):
            running.result()
    ended(host, Path(f"{place}/f.begun"))
    assert far.who() != before


def test_a_cut_while_it_waits_is_not_noticed(far: Far, proxy: Proxy) -> None:
    before = far.who()
    proxy.cut()
    assert far.who() != before


def test_a_connection_that_hangs_is_made_anew(far: Far, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CHANNEL_SECONDS", 1.0)
    before = far.who()
    proxy.hang_open()
    assert far.who() != before


def test_a_host_that_hangs_while_it_runs(far: Far, proxy: Proxy, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "GRACE_SECONDS", 1.0)
    far.who()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(far.host.run, far.argv, stdin=f"{place}/f".encode(), timeout=3)
        until(Path(f"{place}/f.begun").exists, "it runs")
        proxy.hang()
        with pytest.raises(HostTimeout):
            running.result()


@pytest.mark.parametrize("far", [program(idle=0.3), program(old=0.0)], indirect=True)
def test_one_that_is_idle_or_old_ends_and_the_next_takes_its_place(far: Far, host: SshHost) -> None:
    before = far.who()
    until(lambda: host.run(["test", "-e", f"/proc/{before}"]).returncode, "it has ended")
    assert far.who() != before
    # And at the very moment: whatever comes first, each gets its answer.
    for _ in range(20):
        assert far.host.run(far.argv, stdin=b"abc").stdout == b"abc\n"


def test_without_the_program_the_usual_way_tells_why(proxy: Proxy, key: Key) -> None:
    far = Far(proxy, key, ["/nowhere/python3", "-c", "pass"])
    with pytest.raises(HostNotPrepared) as caught:
        far.host.run(far.argv)
    assert caught.value.metadata["name"] == "python3"
    far.hosts.close()


def test_a_program_that_does_not_know_the_word_is_run_in_the_usual_way(
    proxy: Proxy, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "START_SECONDS", 0.5)
    far = Far(proxy, key, ["sh", "-c", "cat; exit 5"])
    ended = far.host.run(far.argv, stdin=b"data", timeout=30)
    assert (ended.returncode, ended.stdout) == (5, b"data")
    far.hosts.close()


def test_what_kills_the_kept_one_is_no_answer(far: Far, host: SshHost, place: str) -> None:
    before = far.who()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(far.host.run, far.argv, stdin=f"{place}/f".encode(), timeout=100)
        until(Path(f"{place}/f.begun").exists, "it runs")
        host.run(["kill", "-9", before])
        with pytest.raises(HostUnreachable):
            running.result()
    host.run(["kill", "-9", *Path(f"{place}/f.begun").read_text().split()])
    assert far.who() != before


def test_many_threads(far: Far) -> None:
    with ThreadPoolExecutor(12) as pool:
        outputs = list(pool.map(lambda n: far.host.run(far.argv, stdin=b"%d" % n, timeout=100).stdout, range(36)))
    assert outputs == [b"%d\n" % n for n in range(36)]


def test_it_ends_with_the_connection(proxy: Proxy, key: Key, host: SshHost) -> None:
    far = Far(proxy, key, program())
    kept = far.who()
    far.hosts.close()
    until(lambda: host.run(["test", "-e", f"/proc/{kept}"]).returncode, "the kept one has ended")
