"""What becomes of a host that is another, is gone, hangs, or goes in the middle."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from logging import DEBUG, getLogger
from pathlib import Path

import pytest

from services.core.errors import HostNotPrepared, HostNotTrusted, HostTimeout, HostUnreachable
from services.ssh import connection
from services.ssh.host import SshHost
from services.ssh.hosts import SshHosts
from services.ssh.keys import Key, key_from
from tests.contract.ssh.conftest import UID, Pins
from tests.contract.ssh.proxy import Proxy
from tests.contract.ssh.sshd import Sshd
from tests.e2e.waiting import until

pytestmark = pytest.mark.root


@pytest.fixture
def far(proxy: Proxy, hosts: SshHosts, key: Key) -> SshHost:
    """A host behind the proxy."""
    return hosts.host(f"{UID}-far", "127.0.0.1", key, proxy.port)


@pytest.fixture
def own(sshd: Sshd, hosts: SshHosts, key: Key) -> SshHost:
    """A host on an sshd that the test may stop and change."""
    return hosts.host(UID, "127.0.0.1", key, sshd.port)


# Who is it?


def test_first_contact_pins_the_ed25519_key(own: SshHost, sshd: Sshd, pins: Pins) -> None:
    own.run(["true"])
    assert pins == {UID: " ".join((sshd.place / "host_key.pub").read_text().split()[:2])}


def test_the_key_is_pinned_before_anything_goes_over(sshd: Sshd, key: Key) -> None:
    def refuse(uid: str, line: str) -> None:
        raise LookupError(uid)

    hosts = SshHosts(lambda uid: None, refuse)
    with pytest.raises(LookupError):
        hosts.host(UID, "127.0.0.1", key, sshd.port).run(["true"])
    hosts.close()
    until(lambda: re.search("Connection (closed|reset) by", sshd.log()), "sshd has seen the end of the connection")
    assert "publickey" not in sshd.log()


def test_another_process_may_have_pinned_first(sshd: Sshd, key: Key) -> None:
    answers: Iterator[str | None] = iter([None, None, key_from("of another host").public_line])
    hosts = SshHosts(lambda uid: next(answers), lambda uid, line: None)
    with pytest.raises(HostNotTrusted):
        hosts.host(UID, "127.0.0.1", key, sshd.port).run(["true"])
    hosts.close()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_another_host_key_is_not_trusted(own: SshHost, sshd: Sshd, pins: Pins, kind: str) -> None:
    own.run(["true"])
    sshd.stop()
    (sshd.place / "log").write_text("")
    shown = sshd.new_host_key(kind)
    sshd.start()
    with pytest.raises(HostNotTrusted) as caught:
        own.run(["touch", f"{sshd.place}/touched"])
    assert caught.value.metadata == {"pinned": connection.fingerprint(pins[UID]), "shown": connection.fingerprint(shown)}
    assert "ssh-keygen -lf" in caught.value.help
    assert "publickey" not in sshd.log() and not (sshd.place / "touched").exists()


def test_a_host_that_has_further_keys_is_the_same(own: SshHost, sshd: Sshd, pins: Pins) -> None:
    sshd.stop()
    sshd.new_host_key("ecdsa")
    sshd.start()
    own.run(["true"])
    sshd.stop()
    os.rename(sshd.place / "host_key", sshd.place / "first_key")
    sshd.more = f"HostKey {sshd.place}/first_key"
    sshd.new_host_key("ed25519")
    sshd.start()
    own.run(["true"])


def test_a_host_that_does_not_know_our_key(own: SshHost, sshd: Sshd, key: Key) -> None:
    (sshd.place / "authorized_keys").write_text(key_from("another").public_line)
    with pytest.raises(HostNotPrepared) as caught:
        own.run(["true"])
    assert key.public_line in caught.value.help


# Is it there?


def test_a_host_that_is_off_and_comes_back(own: SshHost, sshd: Sshd) -> None:
    assert own.run(["echo", "1"]).stdout == b"1\n"
    sshd.stop()
    with pytest.raises(HostUnreachable, match="refused"):
        own.run(["true"])
    sshd.start()
    assert own.run(["echo", "2"]).stdout == b"2\n"


def test_a_connection_that_was_cut_while_idle_is_made_anew(far: SshHost, proxy: Proxy) -> None:
    far.run(["true"])
    proxy.cut()
    assert far.run(["echo", "well"]).stdout == b"well\n"
    assert proxy.accepted == 2


def test_a_connection_that_hangs_is_made_anew(far: SshHost, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CHANNEL_SECONDS", 1.0)
    far.run(["true"])
    proxy.hang_open()
    assert far.run(["echo", "well"], timeout=60).stdout == b"well\n"
    assert proxy.accepted == 2


@pytest.mark.parametrize("seconds", [0.5, 60])
def test_a_host_that_never_greets(far: SshHost, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Either our own patience or the caller's is over first."""
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1.0)
    proxy.hang()
    with pytest.raises(HostTimeout if seconds < 1 else HostUnreachable):
        far.run(["true"], timeout=seconds)


def test_what_answers_is_no_ssh_server(hosts: SshHosts, key: Key, proxy: Proxy) -> None:
    talker = Proxy(proxy.port)  # A proxy of which both ends are cut at the first byte.
    talker.cut_after(1)
    with pytest.raises(HostUnreachable):
        hosts.host(UID, "127.0.0.1", key, talker.port).run(["true"])
    talker.close()


# And in the middle?


def test_a_cut_in_the_middle_says_that_it_may_have_happened(far: SshHost, host: SshHost, proxy: Proxy, place: str) -> None:
    script = f"echo $$ > {place}/pid; mv {place}/pid {place}/begun; sleep 600"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(far.run, ["sh", "-c", script], timeout=5)
        until(lambda: Path(f"{place}/begun").exists(), "the command runs")
        proxy.cut()
        with pytest.raises(HostUnreachable, match="may have happened"):
            running.result()
    # And at the end of its time it ends, although nobody is there to stop it.
    pid = Path(f"{place}/begun").read_text().strip()
    until(lambda: host.run(["test", "-e", f"/proc/{pid}"]).returncode, "the command has been stopped")


def test_a_host_that_hangs_in_the_middle(far: SshHost, proxy: Proxy, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ssh.host.GRACE_SECONDS", 1.0)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(far.run, ["sh", "-c", f"touch {place}/begun; sleep 600"], timeout=3)
        until(lambda: Path(f"{place}/begun").exists(), "the command runs")
        proxy.hang()
        with pytest.raises(HostTimeout, match="did not say"):
            running.result()


def test_a_host_that_takes_nothing_more(far: SshHost, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is more than fits into sshd's window and into the kernel."""
    monkeypatch.setattr("services.ssh.host.GRACE_SECONDS", 0.5)
    monkeypatch.setattr(connection, "CHANNEL_SECONDS", 1.0)
    far.run(["true"])
    proxy.hang()
    with pytest.raises((HostTimeout, HostUnreachable)):
        far.run(["cat"], stdin=b"x" * 40_000_000, timeout=2)


@pytest.mark.parametrize("count", [3_000, 100_000, 900_000])
def test_a_cut_while_a_file_is_written_leaves_the_old_one(
    far: SshHost, host: SshHost, proxy: Proxy, place: str, count: int
) -> None:
    far.write_file(f"{place}/f", b"old")
    proxy.cut_after(count)
    with pytest.raises(HostUnreachable):
        far.write_file(f"{place}/f", b"new" * 400_000)
    until(lambda: host.run(["ls", "-A", place]).stdout == b"f\n", "nothing else is left")
    assert host.read_file(f"{place}/f") == b"old"


# Many at once, and none.


def test_many_threads_share_one_connection(far: SshHost, proxy: Proxy) -> None:
    def work(number: int) -> None:
        data = f"{number} ".encode() * 20_000
        for _ in range(3):
            assert far.run(["cat"], stdin=data, timeout=100).stdout == data

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(work, range(24)))
    assert proxy.accepted == 1


def test_a_host_that_allows_fewer_sessions(own: SshHost, sshd: Sshd) -> None:
    sshd.stop()
    sshd.more = "MaxSessions 2"
    sshd.start()
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda n: own.run(["echo", str(n)], timeout=100).stdout, range(16)))
    assert outputs == [b"%d\n" % n for n in range(16)]


def test_who_finds_no_place_in_time_is_told(far: SshHost, place: str) -> None:
    with ThreadPoolExecutor(connection.SESSIONS) as pool:
        script = f"echo x >> {place}/begun; until [ -e {place}/go ]; do sleep 0.1; done"
        running = [pool.submit(far.run, ["sh", "-c", script], timeout=100) for _ in range(connection.SESSIONS)]
        try:
            begun = Path(f"{place}/begun")
            until(lambda: begun.exists() and begun.read_text().count("x") == connection.SESSIONS, "all run")
            with pytest.raises(HostTimeout, match="nothing was begun"):
                far.run(["true"], timeout=0.5)
        finally:
            Path(f"{place}/go").touch()
        assert [done.result().returncode for done in running] == [0] * connection.SESSIONS


def test_an_idle_connection_is_closed_and_made_again(sshd: Sshd, key: Key, pins: Pins) -> None:
    hosts = SshHosts(pins.get, pins.pin, idle_seconds=0.5)
    host = hosts.host(UID, "127.0.0.1", key, sshd.port)
    for _ in range(2):
        host.run(["sleep", "1.5"])
        until(lambda: not hosts._connections[UID].is_open, "it is closed")
    hosts.close()


def test_another_address_takes_the_place_of_the_first(host: SshHost, hosts: SshHosts, proxy: Proxy, key: Key) -> None:
    host.run(["true"])
    first = hosts._connections[UID]
    hosts.host(UID, "127.0.0.1", key, proxy.port).run(["true"])
    assert not first.is_open and proxy.accepted == 1
    with pytest.raises(HostUnreachable, match="given up"):
        host.run(["true"])
    hosts.forget(UID)
    assert not hosts._connections


def test_nothing_is_left_at_the_end(shared_sshd: Sshd, key: Key, pins: Pins) -> None:
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    hosts = SshHosts(pins.get, pins.pin)
    host = hosts.host(UID, "127.0.0.1", key, shared_sshd.port)
    for _ in range(3):
        host.run(["true"])
    hosts.close()
    until(lambda: (set(os.listdir("/proc/self/fd")), threading.active_count()) == before, "threads and sockets are gone")
    with pytest.raises(RuntimeError):
        hosts.host(UID, "127.0.0.1", key, shared_sshd.port)


def test_nothing_of_what_goes_over_is_logged(host: SshHost, place: str, caplog: pytest.LogCaptureFixture) -> None:
    level = getLogger("paramiko").level
    with caplog.at_level(DEBUG):
        host.run(["cat"], stdin=b"canary")
        host.write_file(f"{place}/f", b"canary")
    assert level > 0 and "canary" not in caplog.text and "paramiko" not in caplog.text


def test_the_time_is_kept_while_connecting(far: SshHost, proxy: Proxy) -> None:
    proxy.hang()
    begun = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        for waiting in [pool.submit(far.run, ["true"], timeout=1.0) for _ in range(4)]:
            with pytest.raises(HostTimeout):
                waiting.result()
    assert time.monotonic() - begun < 60, "they waited one after the other"
