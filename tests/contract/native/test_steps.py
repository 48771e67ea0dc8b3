"""The steps of the instance itself, with real directories, sockets and smbd."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.core.domain.file_server import FileServerSpec, NativeDeployment
from services.core.errors import AddressInUse, PathUnsuitable, PreconditionFailed, SambaUnavailable
from services.core.steps import Work
from services.native.host import LocalHost
from services.native.settings import NativeSettings
from services.native.steps import AddressStep, InstanceStep, ProcessStep, endpoint_text
from services.native.supervisor import Supervisor
from services.samba.config import needs_restart
from services.samba.instance import Server
from tests.contract.native.instance import Events, alive, pid, prepare, processes_of, write_conf
from tests.fakes import MemoryClaims
from tests.unit.native import builders

pytestmark = pytest.mark.root


@pytest.fixture
def claims() -> MemoryClaims:
    return MemoryClaims()


@pytest.fixture
def supervisor(settings: NativeSettings, host: LocalHost) -> Iterator[Supervisor]:
    supervisor = Supervisor(settings, host, Events())
    supervisor.open()
    yield supervisor
    supervisor.stop_all()
    supervisor.close()


@pytest.fixture
def process_step(settings: NativeSettings, host: LocalHost, supervisor: Supervisor) -> ProcessStep:
    return ProcessStep(settings, host, supervisor, needs_restart)


def whole(server: Server, claims: MemoryClaims) -> Work:
    return builders.work(server, claims, whole=True)


def moved(server: Server, *addresses: str) -> Server:
    port = server.spec.native.port if server.spec.native else 0
    return replace(server, spec=FileServerSpec(native=NativeDeployment(addresses, port)))


class TestAddress:
    def test_it_claims_every_endpoint_and_gives_them_up(self, settings: NativeSettings, claims: MemoryClaims) -> None:
        server = builders.server(addresses=["127.0.0.1", "127.0.0.2"], port=settings.default_port)
        step = AddressStep(settings)
        step.ensure(whole(server, claims))
        step.ensure(whole(server, claims))
        port = settings.default_port
        assert set(claims.rows) == {("address", f"127.0.0.1:{port}"), ("address", f"127.0.0.2:{port}")}
        step.remove(whole(server, claims))
        step.remove(whole(server, claims))
        assert claims.rows == {}

    def test_the_same_address_in_another_spelling_is_the_same_claim(self) -> None:
        assert endpoint_text("::0001", 445) == endpoint_text("0:0:0:0:0:0:0:1", 445) == "[::1]:445"

    @pytest.mark.parametrize(
        ("first", "second", "fits"),
        [
            ("127.0.0.1", "127.0.0.1", False),
            ("127.0.0.1", "127.0.0.2", True),
            ("0.0.0.0", "127.0.0.2", False),
            ("127.0.0.2", "0.0.0.0", False),
            ("::", "127.0.0.2", False),
        ],
    )
    def test_two_file_servers_do_not_share_an_endpoint(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims, first: str, second: str, fits: bool
    ) -> None:
        one, two = builders.server("one", addresses=[first]), builders.server("two", addresses=[second])
        for step in (AddressStep(settings), InstanceStep(settings, host)):
            step.ensure(whole(one, claims))
        if fits:
            AddressStep(settings).ensure(whole(two, claims))
            return
        with pytest.raises(AddressInUse) as caught:
            AddressStep(settings).ensure(whole(two, claims))
        assert "ss -ltnp" in caught.value.help
        AddressStep(settings).remove(whole(two, claims))
        assert [claim.owner for claim in claims.rows.values()] == [one.uid] * 2, "the first keeps address and instance"

    @pytest.mark.parametrize(
        ("theirs", "ours"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.3"), ("127.0.0.3", "0.0.0.0")]
    )
    def test_a_foreign_listener_is_named(
        self, settings: NativeSettings, claims: MemoryClaims, theirs: str, ours: str
    ) -> None:
        with socket.socket() as taken:
            taken.bind((theirs, settings.default_port))
            taken.listen()
            with pytest.raises(AddressInUse, match=rf"pid {os.getpid()}\b") as caught:
                AddressStep(settings).ensure(whole(builders.server(addresses=[ours]), claims))
            assert "ss -ltnp" in caught.value.help and claims.rows == {}

    def test_a_foreign_listener_on_another_address_is_no_matter(
        self, settings: NativeSettings, claims: MemoryClaims
    ) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.9", settings.default_port))
            taken.listen()
            AddressStep(settings).ensure(whole(builders.server(), claims))

    def test_our_own_running_smbd_is_no_stranger(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims, supervisor: Supervisor
    ) -> None:
        server = builders.server()
        prepare(settings, host, server, claims)
        supervisor.start(server)
        AddressStep(settings).ensure(whole(server, claims))

    @pytest.mark.parametrize("address", ["203.0.113.7", "2001:db8::7"])
    def test_an_address_that_the_node_does_not_have_is_refused(
        self, settings: NativeSettings, claims: MemoryClaims, address: str
    ) -> None:
        with pytest.raises(PreconditionFailed, match="does not have"):
            AddressStep(settings).ensure(whole(builders.server(addresses=[address]), claims))
        assert claims.rows == {}


class TestInstance:
    def test_its_directories_have_the_right_modes(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims
    ) -> None:
        server = builders.server()
        old = os.umask(0o077)
        try:
            InstanceStep(settings, host).ensure(whole(server, claims))
        finally:
            os.umask(old)
        layout = settings.layout(server.uid)
        modes = {
            path: os.stat(path).st_mode & 0o7777 for path in (layout.private_dir, layout.ncalrpc_dir, layout.state_dir)
        }
        assert modes == {layout.private_dir: 0o700, layout.ncalrpc_dir: 0o755, layout.state_dir: 0o755}
        base = settings.instance_dir(server.uid)
        while base != "/":
            assert os.stat(base).st_mode & 0o001, f"nobody can pass {base}"
            base = os.path.dirname(base)

    def test_making_it_again_keeps_what_is_in_it(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims
    ) -> None:
        server = builders.server()
        step = InstanceStep(settings, host)
        step.ensure(whole(server, claims))
        layout = settings.layout(server.uid)
        host.write_file(layout.passwd, b"users", 0o644)
        os.chmod(layout.private_dir, 0o755)
        step.ensure(whole(server, claims))
        assert host.read_file(layout.passwd) == b"users"
        assert os.stat(layout.private_dir).st_mode & 0o777 == 0o700

    def test_removing_leaves_nothing_and_can_be_repeated(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims
    ) -> None:
        server = builders.server()
        step = InstanceStep(settings, host)
        step.ensure(whole(server, claims))
        step.remove(whole(server, claims))
        step.remove(whole(server, claims))
        assert os.listdir(settings.servers_dir) == [] and claims.rows == {}

    @pytest.mark.parametrize("left", [[], [".instance.json.00"]])
    def test_one_that_was_killed_before_its_mark_is_made_and_removed(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims, left: list[str]
    ) -> None:
        for end in ("made", "removed"):
            server = builders.server(end)
            step = InstanceStep(settings, host)
            step.ensure(whole(server, claims))
            base = settings.instance_dir(server.uid)
            for entry in os.scandir(base):
                os.rmdir(entry.path) if entry.is_dir() else os.unlink(entry.path)
            for name in left:
                host.write_file(f"{base}/{name}", b"half")
            if end == "made":
                step.ensure(whole(server, claims))
            step.remove(whole(server, claims))
            assert not os.path.exists(base)

    def test_a_removal_that_was_killed_half_way_goes_on(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims
    ) -> None:
        server = builders.server()
        step = InstanceStep(settings, host)
        step.ensure(whole(server, claims))
        os.rmdir(settings.layout(server.uid).cache_dir)
        step.remove(whole(server, claims))
        assert os.listdir(settings.servers_dir) == []

    def test_a_directory_that_does_not_carry_the_uid_is_left_alone(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims
    ) -> None:
        server, other = builders.server("one"), builders.server("two")
        step = InstanceStep(settings, host)
        step.ensure(whole(other, claims))
        os.rename(settings.instance_dir(other.uid), settings.instance_dir(server.uid))
        with pytest.raises(PathUnsuitable):
            step.ensure(whole(server, claims))
        step.remove(whole(server, claims))
        assert os.path.isdir(settings.layout(server.uid).private_dir)

    def test_without_a_claim_nothing_is_removed(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims
    ) -> None:
        server = builders.server()
        step = InstanceStep(settings, host)
        step.ensure(whole(server, claims))
        step.remove(whole(server, MemoryClaims()))
        assert os.path.isdir(settings.instance_dir(server.uid))


class TestProcess:
    def test_a_running_one_is_left_running(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims, process_step: ProcessStep
    ) -> None:
        server = builders.server()
        prepare(settings, host, server, claims)
        process_step.ensure(whole(server, claims))
        before = pid(settings, server)
        write_conf(settings, server, comment="another text, which smbd takes over by itself")
        process_step.ensure(whole(server, claims))
        assert pid(settings, server) == before

    def test_one_that_listens_elsewhere_now_is_restarted_and_gives_the_old_address_up(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims, process_step: ProcessStep
    ) -> None:
        server = builders.server(addresses=["127.0.0.1"])
        AddressStep(settings).ensure(whole(server, claims))
        prepare(settings, host, server, claims)
        process_step.ensure(whole(server, claims))
        before = pid(settings, server)
        server = moved(server, "127.0.0.2")
        AddressStep(settings).ensure(whole(server, claims))
        assert ("address", f"127.0.0.1:{settings.default_port}") in claims.rows, "still listened on"
        write_conf(settings, server)
        process_step.ensure(whole(server, claims))
        assert not alive(before)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", settings.default_port), timeout=10)
        socket.create_connection(("127.0.0.2", settings.default_port), timeout=10).close()
        assert [value for kind, value in claims.rows if kind == "address"] == [f"127.0.0.2:{settings.default_port}"]

    def test_one_of_which_nobody_knows_how_it_was_started_is_restarted(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims, process_step: ProcessStep
    ) -> None:
        server = builders.server()
        prepare(settings, host, server, claims)
        process_step.ensure(whole(server, claims))
        before = pid(settings, server)
        os.unlink(settings.layout(server.uid).conf + ".running")
        process_step.ensure(whole(server, claims))
        assert pid(settings, server) != before

    def test_a_dead_one_is_started(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims, process_step: ProcessStep
    ) -> None:
        server = builders.server()
        prepare(settings, host, server, claims)
        process_step.ensure(whole(server, claims))
        before = pid(settings, server)
        os.kill(before, signal.SIGKILL)
        process_step.ensure(whole(server, claims))
        assert pid(settings, server) != before

    def test_removing_stops_everything_and_can_be_repeated(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims, process_step: ProcessStep
    ) -> None:
        server = builders.server()
        prepare(settings, host, server, claims)
        process_step.ensure(whole(server, claims))
        process_step.remove(whole(server, claims))
        process_step.remove(whole(server, claims))
        assert processes_of(settings, server) == []

    def test_a_configuration_that_smbd_cannot_use_is_told_with_its_words(
        self, settings: NativeSettings, host: LocalHost, claims: MemoryClaims, process_step: ProcessStep
    ) -> None:
        server = builders.server()
        prepare(settings, host, server, claims)
        os.rmdir(settings.layout(server.uid).private_dir)
        host.write_file(settings.layout(server.uid).private_dir, b"in the way")
        with pytest.raises(SambaUnavailable, match="private"):
            process_step.ensure(whole(server, claims))
        process_step.remove(whole(server, claims))
        assert processes_of(settings, server) == []
