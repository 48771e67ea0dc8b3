"""The supervisor with real smbd processes: they die, are started again, adopted, stopped."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import NoReturn

import pytest

from services.core.domain.resource import State
from services.core.errors import AddressInUse, SambaUnavailable
from services.native import smbd
from services.native.host import LocalHost
from services.native.settings import NativeSettings
from services.native.supervisor import Pace, Supervisor
from services.samba.instance import Server
from tests.contract.native.instance import Events, alive, eventually, listing, pid, prepare, processes_of, write_conf
from tests.unit.native import builders

pytestmark = pytest.mark.root

QUICK = Pace(first=0.05, longest=0.4, steady=3600)


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def supervisor(settings: NativeSettings, host: LocalHost, events: Events) -> Iterator[Supervisor]:
    supervisor = Supervisor(settings, host, events, QUICK)
    supervisor.open()
    yield supervisor
    supervisor.stop_all()
    supervisor.close()


@pytest.fixture
def server(settings: NativeSettings, host: LocalHost) -> Server:
    server = builders.server()
    prepare(settings, host, server)
    return server


def test_it_starts_and_stops_with_everything_that_it_started(
    supervisor: Supervisor, settings: NativeSettings, server: Server
) -> None:
    supervisor.start(server)
    assert supervisor.running(server)
    listing(settings, server)
    assert len(processes_of(settings, server)) >= 4, "smbd, its children, and the RPC helpers with their own session"
    supervisor.stop(server)
    assert processes_of(settings, server) == []
    assert not supervisor.running(server)
    supervisor.stop(server)


def test_a_killed_smbd_is_restarted_and_told(
    supervisor: Supervisor, settings: NativeSettings, server: Server, events: Events
) -> None:
    supervisor.start(server)
    for count in (1, 2):
        # Makes smbd start a helper that outlives it and leads a session too.
        listing(settings, server)
        before = pid(settings, server)
        os.kill(before, signal.SIGKILL)
        events.await_count(server.uid, "SmbdRestarted", count)
        assert supervisor.running(server) and pid(settings, server) != before
    assert [type for _, type in events.seen] == ["SmbdDown", "SmbdRestarted"] * 2


def test_the_condition_is_taken_back_when_it_has_lived_for_a_while(
    settings: NativeSettings, host: LocalHost, server: Server, events: Events
) -> None:
    supervisor = Supervisor(settings, host, events, Pace(first=0.05, longest=0.1, steady=0.3))
    supervisor.open()
    supervisor.start(server)
    os.kill(pid(settings, server), signal.SIGKILL)
    events.await_count(server.uid, "-")
    assert [type for _, type in events.seen] == ["SmbdDown", "SmbdRestarted", "-"]
    supervisor.close()


def test_one_that_cannot_start_is_tried_again_until_it_can(
    supervisor: Supervisor, settings: NativeSettings, server: Server, events: Events
) -> None:
    supervisor.start(server)
    address, port = settings.endpoints(server.spec)[0]
    conf = settings.layout(server.uid).conf
    os.rename(conf, conf + ".away")
    os.kill(pid(settings, server), signal.SIGKILL)
    events.await_count(server.uid, "SmbdDown", 3)
    os.rename(conf + ".away", conf)
    events.await_count(server.uid, "SmbdRestarted")
    socket.create_connection((address, port), timeout=10).close()


def test_a_new_supervisor_adopts_and_does_not_restart(
    supervisor: Supervisor, settings: NativeSettings, host: LocalHost, server: Server, events: Events
) -> None:
    supervisor.start(server)
    before = pid(settings, server)
    supervisor.close()
    assert alive(before)
    later = Supervisor(settings, host, events, QUICK)
    later.open()
    try:
        later.watch(server)
        later.start(server)
        assert pid(settings, server) == before and events.seen == []
        os.kill(before, signal.SIGKILL)
        events.await_count(server.uid, "SmbdRestarted")
    finally:
        later.stop_all()
        later.close()


def test_one_that_does_not_run_is_started_when_it_is_watched(
    supervisor: Supervisor, settings: NativeSettings, server: Server, events: Events
) -> None:
    supervisor.watch(server)
    eventually(lambda: supervisor.running(server), "started")
    assert events.seen == []


@pytest.mark.parametrize("state", [State.DELETING, State.CREATING])
def test_one_that_is_being_removed_or_made_is_not_started(
    supervisor: Supervisor, settings: NativeSettings, server: Server, state: State
) -> None:
    other = builders.server("two", addresses=["127.0.0.2"])
    prepare(settings, LocalHost(), other)
    supervisor.watch(replace(server, state=state))
    supervisor.watch(other)
    eventually(lambda: supervisor.running(other), "the other started")
    assert processes_of(settings, server) == []


def test_a_stopped_one_is_not_restarted(
    supervisor: Supervisor, settings: NativeSettings, server: Server, events: Events
) -> None:
    other = builders.server("two", addresses=["127.0.0.2"])
    prepare(settings, LocalHost(), other)
    supervisor.start(server)
    supervisor.start(other)
    supervisor.stop(server)
    os.kill(pid(settings, other), signal.SIGKILL)
    events.await_count(other.uid, "SmbdRestarted")
    assert processes_of(settings, server) == []
    assert {uid for uid, _ in events.seen} == {other.uid}


def test_an_unwatched_one_lives_on_and_is_not_restarted(
    supervisor: Supervisor, settings: NativeSettings, server: Server, events: Events
) -> None:
    other = builders.server("two", addresses=["127.0.0.2"])
    prepare(settings, LocalHost(), other)
    supervisor.start(server)
    supervisor.start(other)
    supervisor.unwatch(server.uid)
    before = pid(settings, server)
    assert alive(before)
    os.kill(before, signal.SIGKILL)
    os.kill(pid(settings, other), signal.SIGKILL)
    events.await_count(other.uid, "SmbdRestarted")
    assert not supervisor.running(server)


def test_a_pid_file_that_names_a_stranger_is_not_believed(
    supervisor: Supervisor, settings: NativeSettings, server: Server
) -> None:
    # Its command line names our smb.conf, as an editor's would; and a pid may have been given anew.
    stranger = subprocess.Popen(["sleep", "600"])
    editor = subprocess.Popen(["tail", "-f", settings.layout(server.uid).conf], stdout=subprocess.DEVNULL)
    try:
        for process in (stranger, editor):
            with open(f"{settings.layout(server.uid).pid_dir}/smbd.pid", "w", encoding="ascii") as file:
                file.write(f"{process.pid}\n")
            assert smbd.find(settings.layout(server.uid)) is None
            supervisor.stop(server)
            assert process.poll() is None, "a stranger was stopped"
        supervisor.start(server)
        supervisor.stop(server)
        assert stranger.poll() is None and editor.poll() is None
    finally:
        for process in (stranger, editor):
            process.kill()
            process.wait()


def test_it_is_found_without_its_pid_file(supervisor: Supervisor, settings: NativeSettings, server: Server) -> None:
    supervisor.start(server)
    before = pid(settings, server)
    os.unlink(f"{settings.layout(server.uid).pid_dir}/smbd.pid")
    process = smbd.find(settings.layout(server.uid))
    assert process is not None and process.pid == before
    process.close()


def test_a_fresh_start_replaces_the_running_one(
    supervisor: Supervisor, settings: NativeSettings, server: Server, events: Events
) -> None:
    supervisor.start(server)
    before = pid(settings, server)
    supervisor.start(server, fresh=True)
    assert pid(settings, server) != before and not alive(before)
    assert events.seen == [], "a wanted restart is no incident"


def test_an_endpoint_that_somebody_has_is_refused_with_the_name_of_who_it_is(
    supervisor: Supervisor, settings: NativeSettings, server: Server
) -> None:
    address, port = settings.endpoints(server.spec)[0]
    with socket.socket() as taken:
        taken.bind((address, port))
        taken.listen()
        with pytest.raises(AddressInUse, match=rf"pid {os.getpid()}\b") as caught:
            supervisor.start(server)
        assert "ss -ltnp" in caught.value.help
        supervisor.stop(server)


def test_a_start_that_fails_says_what_smbd_said(supervisor: Supervisor, settings: NativeSettings, server: Server) -> None:
    with open(settings.layout(server.uid).conf, encoding="utf-8") as file:
        text = file.read()
    # 127.0.0.1 is what is wanted; smbd is told an address that this machine does not have.
    LocalHost().write_file(
        settings.layout(server.uid).conf, text.replace("interfaces = 127.0.0.1/8", "interfaces = 203.0.113.7").encode()
    )
    with pytest.raises(SambaUnavailable) as caught:
        supervisor.start(server)
    assert "open_sockets_smbd" in caught.value.message or "interface" in caught.value.message
    assert caught.value.message.isprintable()
    supervisor.stop(server)
    assert processes_of(settings, server) == []
    write_conf(settings, server)
    supervisor.start(server)


def test_many_can_be_started_and_stopped_from_many_threads(
    supervisor: Supervisor, settings: NativeSettings, host: LocalHost
) -> None:
    servers = [builders.server(f"s{i}", addresses=[f"127.0.1.{i}"]) for i in range(1, 5)]
    for server in servers:
        prepare(settings, host, server)

    def churn(server: Server) -> None:
        supervisor.start(server)
        supervisor.start(server, fresh=True)
        supervisor.stop(server)

    threads = [threading.Thread(target=churn, args=(server,)) for server in [*servers, *servers]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [processes_of(settings, server) for server in servers] == [[]] * 4


def test_it_does_not_spin_when_it_cannot_wait(settings: NativeSettings, host: LocalHost, events: Events) -> None:
    """As without a file descriptor left; and it ends at once nevertheless."""
    tried, again = threading.Event(), threading.Event()

    class OutOfFiles(Supervisor):
        def _wait(self) -> NoReturn:
            (again if tried.is_set() else tried).set()
            raise OSError(errno.EMFILE, "Too many open files")

    supervisor = OutOfFiles(settings, host, events, Pace(first=3600, longest=3600))
    supervisor.open()
    assert tried.wait(30)
    assert not again.wait(0.5)
    supervisor.close()
