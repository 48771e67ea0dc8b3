"""`LxcMode` as worker, service and Samba steps ask it, up to where a guest is needed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from fakepve import FakePve

from services.core.domain.file_server import FileServerSpec, NativeDeployment
from services.core.domain.guest import GuestPlacement, LxcDeployment
from services.core.domain.operation import Verb
from services.core.domain.resource import Severity, State
from services.core.domain.share import DirectoryStorage, HostPathStorage, ShareSpec, VolumeStorage
from services.core.errors import (
    FeatureNotAvailable,
    HostUnreachable,
    InvalidField,
    PathNotAllowed,
    PreconditionFailed,
    StorageFull,
)
from services.core.ports import Host
from services.core.steps import Change
from services.lxc.known import addresses
from services.lxc.mode import LxcMode
from services.lxc.steps import AddressStep
from services.lxc.template.description import describe
from services.proxmox.session import Session
from tests.contract.fake_node import TEMPLATE
from tests.contract.lxc.trouble import (
    addressed,
)
from tests.contract.lxc.world import (
    GIB,
    KEY,
    NETWORK,
    SETTINGS,
    Bench,
    foreign,
    mutations,
    share,
    sized,
    with_lxc,
    with_placement,
)


@dataclass
class NoGuests:
    """Lets nobody in."""

    forgotten: list[str] = field(default_factory=list)

    def public_key(self, uid: str) -> str:
        return KEY

    def host(self, uid: str, address: str) -> Host:
        raise HostUnreachable("nobody is let in")

    def forget(self, uid: str) -> None:
        self.forgotten.append(uid)


def mode(bench: Bench, root: Session | None = None, **settings: object) -> LxcMode:
    chosen = replace(bench.settings, **settings)  # type: ignore[arg-type]
    return LxcMode(chosen, bench.api, bench.claims, NoGuests(), lambda _: TEMPLATE, lambda uid: f"probe of {uid}", root)


def messages(bench: Bench) -> list[str]:
    return [drift.message for drift in mode(bench).observe(bench.work())]


# What the service asks before it accepts


def test_another_modes_settings_are_refused(bench: Bench) -> None:
    with pytest.raises(InvalidField, match="lxc"):
        mode(bench).check_server(FileServerSpec(native=NativeDeployment()))


@pytest.mark.parametrize(
    ("field", "placement"),
    [
        ("node", GuestPlacement(node="other")),
        ("vmid", GuestPlacement(vmid=300)),
        ("pool", GuestPlacement(pool="other")),
        ("storage", GuestPlacement(storage="other")),
        ("template", GuestPlacement(template="other")),
    ],
)
def test_what_a_container_keeps_for_life(bench: Bench, field: str, placement: GuestPlacement) -> None:
    old, now = FileServerSpec(lxc=LxcDeployment()), FileServerSpec(lxc=LxcDeployment(placement))
    mode(bench).check_server(now)
    with pytest.raises(InvalidField) as refused:
        mode(bench).check_server(now, old)
    assert f"lxc.placement.{field}" in refused.value.message


def test_a_system_disk_does_not_shrink(bench: Bench) -> None:
    small, large = (FileServerSpec(lxc=LxcDeployment(GuestPlacement(system_disk_bytes=n * GIB))) for n in (5, 9))
    mode(bench).check_server(large, small)
    with pytest.raises(InvalidField, match="shrink"):
        mode(bench).check_server(small, large)


def test_what_can_be_changed(bench: Bench) -> None:
    placement = GuestPlacement(cores=2, memory_bytes=2**29, hostname="x", start_order=3, protection=True)
    mode(bench).check_server(FileServerSpec(lxc=LxcDeployment(placement)), FileServerSpec())


def test_a_share_that_says_nothing_gets_a_volume(bench: Bench) -> None:
    completed = mode(bench, volume_size_bytes=7 * GIB).complete_share(ShareSpec())
    assert completed.storage == VolumeStorage(7 * GIB)
    mode(bench).check_share(bench.server, "docs", completed)


def test_a_directory_of_the_container_is_refused(bench: Bench) -> None:
    with pytest.raises(FeatureNotAvailable, match="directory"):
        mode(bench).check_share(bench.server, "docs", ShareSpec(storage=DirectoryStorage("/srv/x")))


def test_a_directory_of_the_node_needs_a_password_login(bench: Bench) -> None:
    with pytest.raises(FeatureNotAvailable) as refused:
        mode(bench, host_path_roots=("/srv",)).check_share(bench.server, "d", ShareSpec(storage=HostPathStorage("/srv/d")))
    assert refused.value.message == (
        "host_path needs a password login of root@pam in the backend's configuration: "
        "Proxmox VE lets no API token bring a directory of the node into a container"
    )
    assert mode(bench, host_path_roots=("/srv",)).features == ("volumes",)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/srv/d", True), ("/srv", False), ("/srvd", False), ("/etc", False), ("/data/x/y", True), ("/data", False)],
)
def test_directories_of_the_node_lie_below_the_roots(bench: Bench, fake_root: Session, path: str, allowed: bool) -> None:
    lxc = mode(bench, fake_root, host_path_roots=("/srv", "/data"))
    assert lxc.features == ("volumes", "host_path")
    spec = ShareSpec(storage=HostPathStorage(path))
    if allowed:
        lxc.check_share(bench.server, "d", spec)
        return
    with pytest.raises(PathNotAllowed, match="/srv or /data"):
        lxc.check_share(bench.server, "d", spec)


def test_no_roots_no_directories(bench: Bench, fake_root: Session) -> None:
    assert mode(bench, fake_root).features == ("volumes",)
    with pytest.raises(PathNotAllowed):
        mode(bench, fake_root).check_share(bench.server, "d", ShareSpec(storage=HostPathStorage("/srv/d")))


@pytest.mark.parametrize("storage", ["fast", "local-lvm", "a_b"])
def test_names_of_storages(bench: Bench, storage: str) -> None:
    mode(bench).check_share(bench.server, "d", ShareSpec(storage=VolumeStorage(GIB, storage)))


@pytest.mark.parametrize("storage", ["a:b", "a,b", "a b", "../x", "1x"])
def test_names_that_no_storage_has(bench: Bench, storage: str) -> None:
    with pytest.raises(InvalidField):
        mode(bench).check_share(bench.server, "d", ShareSpec(storage=VolumeStorage(GIB, storage)))


def test_shares_with_volumes_keep_their_file_server(bench: Bench) -> None:
    one = share(bench.server)
    with pytest.raises(PreconditionFailed, match="docs"):
        mode(bench).check_removal(bench.server, [one])
    mode(bench).check_removal(bench.server, [])
    bench.ensure()
    bench.add(one)
    bench.drop(one)
    with pytest.raises(PreconditionFailed, match=f"vm-{bench.vmid}-disk-1"):
        mode(bench).check_removal(bench.server, [])


def test_each_share_has_a_place_that_none_had(bench: Bench) -> None:
    places = {mode(bench).share_path(bench.server.name, "docs", ShareSpec()) for _ in range(50)}
    assert len(places) == 50 and all(place.startswith("/srv/pvesmb/") and len(place) == 24 for place in places)


def test_a_way_into_a_container_ends_with_it(bench: Bench) -> None:
    guests = NoGuests()
    lxc = LxcMode(SETTINGS, bench.api, bench.claims, guests, lambda _: TEMPLATE, lambda uid: "x")
    container = lxc.steps[0]
    container.ensure(bench.work())
    assert guests.forgotten == []
    container.remove(bench.work())
    assert guests.forgotten == [bench.server.uid] and bench.claims.rows == {}


def test_a_new_address_takes_the_old_ones_place(bench: Bench) -> None:
    bench.server = with_lxc(bench.server, network=replace(NETWORK, ipv4_address="dhcp"))
    bench.ensure()
    session = bench.api
    for address in ("10.99.0.77", "10.99.0.78"):
        bench.api = session
        addressed(bench, f"{address}/24")
        AddressStep(bench.api, 0.1).ensure(bench.work())
        assert addresses(bench.claims, bench.server.uid) == (address,)
    assert mode(bench).endpoints(bench.server) == [("10.99.0.78", 445)]
    bench.remove()
    assert bench.claims.rows == {}


def test_no_host_without_an_address(bench: Bench) -> None:
    with pytest.raises(HostUnreachable, match="not known yet"):
        mode(bench).host(bench.server)


# Drift


def test_drift_of_a_file_server_without_container(bench: Bench) -> None:
    assert messages(bench) == ["it has no container"]


def test_drift_of_one_that_was_deleted_or_replaced(bench: Bench) -> None:
    bench.ensure()
    vmid = bench.vmid
    bench.fake.cts.clear()
    bench.fake.pools["smbgw"].clear()
    assert messages(bench) == [f"container {vmid} was removed on the node, with the files of its shares"]
    foreign(bench.fake, vmid)
    bench.fake.pools["smbgw"].add(vmid)
    bench.fake.requests.clear()
    assert "is not ours any more" in messages(bench)[0]
    assert mutations(bench.fake, vmid) == []


def test_one_that_was_migrated_is_no_drift(running: Bench) -> None:
    running.fake.add_node("pve2")
    running.ct.node = "pve2"
    running.ct.status = "stopped"
    assert messages(running) == [f"container {running.vmid} does not run"]


def test_drift_of_options_and_volumes_of_one_that_does_not_run(bench: Bench) -> None:
    small, gone = share(bench.server, "small"), share(bench.server, "gone")
    bench.shares = [small, gone]
    bench.ensure()
    bench.ct.status = "stopped"
    bench.ct.config["cores"] = 7
    del bench.ct.config["mp1"]
    bench.shares = [sized(small, 2 * GIB), gone]
    assert messages(bench) == [
        "its volume is smaller than wanted",
        "its volume is not mounted",
        "option cores of the container was changed",
        f"container {bench.vmid} does not run",
    ]
    assert mutations(bench.fake, bench.vmid)[-1][1].endswith("/status/start"), "an observer changes nothing"


def test_what_waits_for_a_start_is_no_drift(bench: Bench) -> None:
    bench.ensure()
    bench.server = with_lxc(bench.server, network=replace(NETWORK, nameservers=("9.9.9.9",)))
    bench.ensure()
    bench.ct.status = "stopped"
    assert messages(bench) == [f"container {bench.vmid} does not run"]


def test_a_volume_that_can_be_destroyed_now_is_drift(bench: Bench) -> None:
    gone = share(bench.server)
    bench.ensure()
    bench.add(gone)
    volume = bench.ct.config["mp0"].partition(",")[0]
    bench.drop(gone, delete_data=True)
    addressed(bench)
    assert messages(bench) == ["it has not the address that it should have"]
    bench.ct.config["unused0"] = volume
    del bench.ct.config["mp0"], bench.ct.pending["mp0"]
    assert f"volume {volume} of a deleted share is still there" in messages(bench)


# Plan


def test_the_plan_of_a_new_file_server(fake: FakePve, bench: Bench) -> None:
    added = Change(share(bench.server), Verb.CREATE)
    plan = mode(bench).plan(bench.work(added))
    assert plan.steps == tuple(step.name for step in mode(bench).steps)
    assert plan.steps[:4] == ("container", "volume", "start", "address")
    assert "a container is made on node pve1" in plan.effects[0] and "local-lvm:4" in plan.effects[0]
    assert any("local-lvm:1,mp=/srv/pvesmb/" in effect for effect in plan.effects)
    assert "smb ports" in plan.smb_conf_diff or "[global]" in plan.smb_conf_diff
    assert KEY not in str(plan)
    assert fake.cts == [] and bench.claims.rows == {}


def test_the_plan_says_what_is_refused(fake: FakePve, bench: Bench) -> None:
    fake.storages["local-lvm"]["avail"] = 5 * GIB
    large = Change(share(bench.server, storage=VolumeStorage(6 * GIB)), Verb.CREATE)
    mode(bench).plan(bench.work())
    with pytest.raises(StorageFull):
        mode(bench).plan(bench.work(large))
    bench.server = with_placement(bench.server, system_disk_bytes=6 * GIB)
    with pytest.raises(StorageFull):
        mode(bench).plan(bench.work())


def test_the_plan_knows_template_and_guest_id(fake: FakePve, bench: Bench) -> None:
    assert f"ostemplate={TEMPLATE}" in mode(bench).plan(bench.work()).effects[0]
    foreign(fake, 777)
    bench.server = with_placement(bench.server, vmid=777)
    with pytest.raises(PreconditionFailed, match="777 is taken"):
        mode(bench).plan(bench.work())


def test_the_plan_for_a_container_that_was_removed_says_so(fake: FakePve, bench: Bench) -> None:
    bench.ensure()
    fake.cts.clear()
    with pytest.raises(PreconditionFailed, match="was removed on the node"):
        mode(bench).plan(bench.work())


def test_the_plan_of_the_end(bench: Bench) -> None:
    bench.ensure()
    bench.server = replace(bench.server, state=State.DELETING)
    plan = mode(bench).plan(bench.work())
    assert plan.effects == (f"container {bench.vmid} is destroyed with its volumes", "all sessions end")
    assert plan.steps[-1] == "container"
    assert bench.ct.status == "running"


def test_the_preflight_is_that_of_what_is_configured(bench: Bench) -> None:
    assert [(each.type, each.severity) for each in mode(bench).preflight()] == [("TemplateMissing", Severity.WARNING)]
    bench.fake.store_file("local", describe().file_name, 1000, content="vztmpl")
    assert list(mode(bench).preflight()) == []
    assert [each.type for each in mode(bench, bridge="vmbr7").preflight() if "vmbr7" in each.message]
    assert SETTINGS.needs().volume_storages == ("local-lvm",)
