"""Native mode whole: its steps and those of Samba, with a real client."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from services.core.domain.account import UserSpec
from services.core.domain.names import Kind
from services.core.domain.operation import Verb
from services.core.domain.resource import Resource, State
from services.core.domain.share import AccessLevel, AccessRule, PrincipalKind, ShareSpec
from services.core.errors import AddressInUse, PathNotAllowed, StorageFull
from services.core.steps import Change, Contents, Work
from services.native.host import LocalHost
from services.native.mode import NativeMode
from services.native.settings import NativeSettings
from services.native.supervisor import Supervisor
from services.samba.instance import Server
from tests.contract.native.instance import Events, alive, pid, processes_of
from tests.fakes import MemoryClaims
from tests.unit.native import builders
from tests.unit.native.builders import MIB

pytestmark = pytest.mark.root

PASSWORD = "correct horse"
RULES = (AccessRule(PrincipalKind.EVERYONE, "", AccessLevel.READ_WRITE),)


class Bench:
    """One file server with a user, a share in a directory and one on a volume."""

    def __init__(self, settings: NativeSettings, host: LocalHost) -> None:
        self.settings = settings
        self.host = host
        self.events = Events()
        self.claims = MemoryClaims()
        self.server: Server = replace(builders.server(), state=State.CREATING)
        os.makedirs(settings.data_root)
        self.open()
        self.user = builders.resource(self.server.name.child(Kind.USER, "ann"), UserSpec(), State.CREATING, unix_id=500_010)
        self.plain = self.share("d", builders.directory(self.server, "").spec)
        self.volume = self.share("v", builders.volume(self.server, "").spec)

    def open(self) -> None:
        self.supervisor = Supervisor(self.settings, self.host, self.events)
        self.supervisor.open()
        self.mode = NativeMode(self.settings, self.supervisor, lambda uid: f"probe-{uid}", self.host)

    def share(self, id: str, spec: ShareSpec) -> Resource[ShareSpec]:
        spec = replace(spec, access=RULES)
        path = self.mode.share_path(self.server.name, id, spec)
        return builders.resource(self.server.name.child(Kind.SHARE, id), spec, State.CREATING, path=path)

    def work(self, verb: Verb, *resources: Resource[ShareSpec], whole: bool = False, **options: bool) -> Work:
        changes = [Change(r, verb, dict(options)) for r in resources]
        if whole:
            changes.append(Change(self.user, verb, dict(options), lambda: PASSWORD))
        gone = verb is Verb.DELETE
        shares = () if gone and whole else tuple(s for s in (self.plain, self.volume) if not (gone and s in resources))
        contents = Contents(shares, () if gone and whole else (self.user,))
        return Work(self.server, whole, changes, contents, self.claims, options)

    def ensure(self, work: Work) -> None:
        for step in self.mode.steps:
            if work.whole or not step.server_only:
                step.ensure(work)
                assert [c.error for c in work.changes if c.error] == [], step.name

    def remove(self, work: Work) -> list[str]:
        for step in reversed(self.mode.steps):
            if work.whole or not step.server_only:
                step.remove(work)
                assert [c.error for c in work.changes if c.error] == [], step.name
        return [note for change in work.changes for note in change.notes]

    def create(self) -> None:
        self.ensure(self.work(Verb.CREATE, self.plain, self.volume, whole=True))
        self.server = replace(self.server, state=State.READY, observed_generation=1)

    def observe(self) -> list[str]:
        return [f"{d.resource.last}: {d.message}" for d in self.mode.observe(self.work(Verb.REPAIR))]

    def client(self, share: str, command: str) -> subprocess.Popen[str]:
        """smbclient in the share; commands go on by its standard input."""
        address, port = self.settings.endpoints(self.server.spec)[0]
        argv = ["smbclient", f"//{address}/{share}", "-p", str(port), "-s", "/dev/null", "-U", "ann"]
        environment = {"PATH": os.environ["PATH"], "PASSWD": PASSWORD}
        client = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        assert client.stdin is not None
        client.stdin.write(command + "\n")
        client.stdin.flush()
        return client

    def put(self, share: str, name: str) -> str:
        """What smbclient says; empty of errors if the file was put and read."""
        client = self.client(share, f"put /etc/hostname {name}\nget {name} /dev/null")
        said, _ = client.communicate(timeout=60)
        assert client.returncode == 0, said
        return said


@pytest.fixture
def bench(settings: NativeSettings, host: LocalHost) -> Iterator[Bench]:
    bench = Bench(settings, host)
    yield bench
    bench.supervisor.stop_all()
    bench.supervisor.close()


def test_a_share_that_works_and_then_nothing(bench: Bench) -> None:
    bench.create()
    bench.put("d", "one")
    bench.put("v", "two")
    assert sorted(os.listdir(bench.settings.server_root(bench.server.name))) == ["d", "v"]
    assert os.listdir(bench.volume.assigned["path"]) == ["two"]
    assert bench.observe() == []

    bench.remove(bench.work(Verb.DELETE, bench.plain, bench.volume, whole=True, delete_data=True))
    assert processes_of(bench.settings, bench.server) == []
    assert os.listdir(bench.settings.servers_dir) == [] and os.listdir(bench.settings.image_dir) == []
    assert os.listdir(bench.settings.data_root) == [] and bench.claims.rows == {}
    bench.remove(bench.work(Verb.DELETE, bench.plain, bench.volume, whole=True, delete_data=True))


def test_making_it_again_restarts_nothing(bench: Bench) -> None:
    bench.create()
    before = pid(bench.settings, bench.server)
    bench.ensure(bench.work(Verb.REPAIR, bench.plain, bench.volume, whole=True))
    assert pid(bench.settings, bench.server) == before


def test_deleting_keeps_the_files_and_says_where(bench: Bench) -> None:
    bench.create()
    bench.put("d", "one")
    bench.put("v", "two")
    notes = bench.remove(bench.work(Verb.DELETE, bench.plain, bench.volume, whole=True))
    assert any(bench.settings.image_dir in note for note in notes)
    assert os.listdir(bench.plain.assigned["path"]) == ["one"]
    assert len(os.listdir(bench.settings.image_dir)) == 1


def test_a_volume_goes_while_a_client_is_in_it(bench: Bench) -> None:
    bench.create()
    client = bench.client("v", "put /etc/hostname f")
    try:
        while not os.path.exists(f"{bench.volume.assigned['path']}/f"):
            assert client.poll() is None, client.communicate()
        bench.remove(bench.work(Verb.DELETE, bench.volume, delete_data=True))
        assert not os.path.lexists(bench.volume.assigned["path"]) and os.listdir(bench.settings.image_dir) == []
    finally:
        client.kill()
        client.communicate()
    assert bench.supervisor.running(bench.server)


def test_an_unfinished_creation_is_undone_at_every_step(bench: Bench) -> None:
    steps = bench.mode.steps
    for stop in range(len(steps) + 1):
        work = bench.work(Verb.CREATE, bench.plain, bench.volume, whole=True)
        for step in steps[:stop]:
            step.ensure(work)
        bench.remove(bench.work(Verb.DELETE, bench.plain, bench.volume, whole=True, rollback=True))
        assert processes_of(bench.settings, bench.server) == []
        assert os.listdir(bench.settings.data_root) == [] and bench.claims.rows == {}
        for directory in (bench.settings.servers_dir, bench.settings.image_dir):
            assert not os.path.isdir(directory) or os.listdir(directory) == []


def test_what_runs_is_compared_with_what_is_wanted(bench: Bench) -> None:
    bench.create()
    subprocess.run(["umount", bench.volume.assigned["path"]], check=True)
    assert bench.observe() == ["v: its volume is not mounted"]
    bench.supervisor.stop(bench.server)
    assert [line.split(":")[0] for line in bench.observe()] == ["one"]
    bench.ensure(bench.work(Verb.REPAIR, bench.plain, bench.volume, whole=True))
    assert bench.observe() == []
    bench.put("v", "two")


def test_a_new_service_takes_over_what_runs(bench: Bench) -> None:
    bench.create()
    before = pid(bench.settings, bench.server)
    bench.mode.close()
    assert alive(before)
    bench.open()
    bench.mode.resume(bench.work(Verb.REPAIR))
    assert pid(bench.settings, bench.server) == before
    os.kill(before, signal.SIGKILL)
    bench.events.await_count(bench.server.uid, "SmbdRestarted")
    bench.put("d", "one")


def test_after_a_reboot_volumes_are_mounted_before_smbd_runs(bench: Bench) -> None:
    bench.create()
    bench.put("v", "two")
    bench.supervisor.stop(bench.server)
    subprocess.run(["umount", bench.volume.assigned["path"]], check=True)
    bench.mode.resume(bench.work(Verb.REPAIR))
    assert os.listdir(bench.volume.assigned["path"]) == ["two"]
    # `watch` starts it in the background; a start asked for now waits for that.
    bench.supervisor.start(bench.server)
    bench.put("v", "three")


def test_locks_that_lie_apart_may_be_gone_after_a_reboot(settings: NativeSettings, host: LocalHost) -> None:
    apart = replace(settings, run_dir=f"{settings.state_dir}-run")
    bench = Bench(apart, host)
    try:
        bench.create()
        assert os.listdir(apart.run_dir) == [bench.server.uid]
        assert not os.path.exists(f"{apart.instance_dir(bench.server.uid)}/lock")
        bench.supervisor.stop(bench.server)
        shutil.rmtree(apart.run_dir)
        bench.mode.resume(bench.work(Verb.REPAIR))
        bench.supervisor.start(bench.server)
        bench.put("d", "one")
        bench.remove(bench.work(Verb.DELETE, bench.plain, bench.volume, whole=True))
        assert os.listdir(apart.run_dir) == []
    finally:
        bench.supervisor.stop_all()
        bench.supervisor.close()


def test_a_service_that_shall_stop_its_servers_leaves_no_process_and_no_mount(
    bench: Bench, settings: NativeSettings
) -> None:
    bench.mode.close()
    bench.settings = replace(settings, stop_servers_on_exit=True)
    bench.open()
    bench.create()
    bench.mode.close()
    assert processes_of(settings, bench.server) == [] and not os.path.ismount(bench.volume.assigned["path"])


def test_a_plan_says_what_would_be_and_changes_nothing(bench: Bench, place: str) -> None:
    work = bench.work(Verb.CREATE, bench.plain, bench.volume, whole=True)
    plan = bench.mode.plan(work)
    assert plan.steps == ("address", "instance", "volume", "config", "process", "apply", "confirm")
    effects = "\n".join(plan.effects)
    assert f"{512 * MIB} bytes" in effects and bench.settings.instance_dir(bench.server.uid) in effects
    assert os.listdir(place) == ["data"] and os.listdir(bench.settings.data_root) == [] and bench.claims.rows == {}

    bench.create()
    restarts = "smbd is restarted; all sessions end"
    assert restarts not in bench.mode.plan(bench.work(Verb.UPDATE, whole=True)).effects
    here, there = bench.server, replace(bench.server, spec=builders.server(addresses=["127.0.0.2"]).spec)
    bench.server = there
    assert restarts in bench.mode.plan(bench.work(Verb.UPDATE, whole=True)).effects
    bench.server = here
    content = bench.mode.plan(bench.work(Verb.DELETE, bench.volume))
    assert content.steps == ("confirm", "apply", "volume")
    assert any("kept" in effect and bench.settings.image_dir in effect for effect in content.effects)
    bench.server = replace(bench.server, state=State.DELETING)
    removal = bench.mode.plan(bench.work(Verb.DELETE, bench.plain, bench.volume, whole=True, delete_data=True))
    assert removal.steps[0] == "confirm" and removal.steps[-1] == "address"
    assert any("smbd is stopped" in effect for effect in removal.effects)


def test_a_plan_fails_as_the_steps_would(bench: Bench, settings: NativeSettings) -> None:
    huge = replace(bench.volume, spec=replace(builders.volume(bench.server, "", 1024**2 * 900).spec, access=RULES))
    with pytest.raises(StorageFull):
        bench.mode.plan(bench.work(Verb.CREATE, huge, whole=True))
    root = bench.settings.data_root
    os.symlink("/tmp", f"{root}/link")
    with pytest.raises(PathNotAllowed):
        bench.mode.plan(bench.work(Verb.CREATE, builders.directory(bench.server, f"{root}/link/x"), whole=True))
    os.unlink(f"{root}/link")
    bench.create()
    bench.server = builders.server("two")
    with pytest.raises(AddressInUse):
        bench.mode.plan(bench.work(Verb.CREATE, whole=True))


def test_paths_outside_the_roots_are_refused(bench: Bench) -> None:
    root = bench.settings.data_root
    for path in ("/etc", root, f"{root}er/x", "/"):
        with pytest.raises(PathNotAllowed):
            bench.mode.check_share(bench.server, "d", builders.directory(bench.server, path).spec)
    bench.mode.check_share(bench.server, "d", builders.directory(bench.server, f"{root}/x").spec)


def test_our_own_state_is_not_shared(bench: Bench, settings: NativeSettings) -> None:
    root = bench.settings.data_root
    mode = NativeMode(replace(settings, state_dir=f"{root}/state"), bench.supervisor, lambda uid: uid)
    for path in (f"{root}/state", f"{root}/state/servers"):
        with pytest.raises(PathNotAllowed, match="own state"):
            mode.check_share(bench.server, "d", builders.directory(bench.server, path).spec)
    mode.check_share(bench.server, "d", builders.directory(bench.server, f"{root}/states").spec)


def test_a_wildcard_is_shown_as_addresses_that_clients_reach(bench: Bench) -> None:
    server = replace(bench.server, spec=builders.server(addresses=["0.0.0.0", "127.0.0.9"]).spec)
    shown = bench.mode.reachable(server)
    assert shown[-1][0] == "127.0.0.9"
    assert len(shown) >= 2
    assert all(address not in ("0.0.0.0", "::") for address, _ in shown)
    assert bench.mode.endpoints(server)[0][0] == "0.0.0.0", "smbd is still told the wildcard"


def test_this_machine_is_prepared(bench: Bench) -> None:
    assert [condition.message for condition in bench.mode.preflight()] == []
    assert bench.mode.features == ("volumes",)
    assert bench.mode.samba_version()[0].isdigit()
