"""The life of a container by `ContainerStep`, when nothing goes wrong, and its options."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakepve import FakePve

from services.core.domain.guest import GuestPlacement
from services.core.errors import PreconditionFailed, PvesmbError, ResourceBusy, StorageFull
from services.proxmox.containers import Guest
from services.proxmox.failures import Kind, kind_of
from services.proxmox.ownership import owner_of
from tests.contract.fake_node import grant, revoke
from tests.contract.lxc.trouble import (
    TroubledApi,
)
from tests.contract.lxc.world import (
    GIB,
    KEY,
    NETWORK,
    Bench,
    mutations,
    sent,
    share,
    with_lxc,
    with_placement,
)


def test_a_life_leaves_nothing(bench: Bench) -> None:
    bench.shares = [share(bench.server, "a"), share(bench.server, "b")]
    bench.ensure()
    bench.ensure()
    ct = bench.ct
    assert ct.status == "running"
    assert ct.config["unprivileged"] == 1
    assert owner_of(ct.config["tags"].split(";"), ct.config["description"]) == bench.server.uid
    assert sorted(key for key in ct.config if key.startswith("mp")) == ["mp0", "mp1"]
    assert bench.vmid in bench.fake.pools["smbgw"]
    assert bench.kinds() == ["container", "guest", "volume", "volume", "volume-made", "volume-made"]
    assert len(sent(bench.fake, "POST", "/lxc")) == 1
    bench.remove()
    assert bench.fake.cts == [] and bench.claims.rows == {}
    bench.remove()
    assert bench.fake.cts == [] and bench.claims.rows == {}


def test_what_is_asked_for_at_create(bench: Bench) -> None:
    placement = GuestPlacement(
        cores=2,
        memory_bytes=512 * 2**20,
        start_order=7,
        protection=True,
        hostname="files",
        vmid=321,
        system_disk_bytes=6 * GIB,
    )
    network = replace(NETWORK, vlan=12, ipv4_gateway="10.99.0.1", nameservers=("9.9.9.9",), search_domain="x.lan")
    bench.server = with_lxc(bench.server, placement=placement, network=network, swap_bytes=64 * 2**20)
    bench.make()
    asked = {key: value for key, [value] in sent(bench.fake, "POST", "/lxc")[0].items()}
    assert asked.pop("description").endswith(f"pvesmb-uid: {bench.server.uid}")
    assert asked == {
        "vmid": "321",
        "ostemplate": "local:vztmpl/debian-12-smb_1_amd64.tar.zst",
        "unprivileged": "1",
        "rootfs": "local-lvm:6",
        "net0": "name=eth0,bridge=vmbr0,ip=10.99.0.30/24,gw=10.99.0.1,tag=12",
        "ssh-public-keys": KEY,
        "pool": "smbgw",
        "hostname": "files",
        "nameserver": "9.9.9.9",
        "searchdomain": "x.lan",
        "cores": "2",
        "memory": "512",
        "swap": "64",
        "onboot": "1",
        "startup": "order=7",
        "protection": "1",
        "tags": f"pvesmb;pvesmb-{bench.server.uid}",
    }


def test_options_change_and_what_waits_is_said(bench: Bench) -> None:
    bench.ensure()
    hwaddr = bench.ct.config["net0"].partition("hwaddr=")[2][:17]
    placement = GuestPlacement(cores=3, memory_bytes=1024 * 2**20, start_on_boot=False, start_order=4, hostname="other")
    network = replace(NETWORK, ipv4_address="10.99.0.31/24", nameservers=("9.9.9.9", "1.1.1.1"))
    bench.server = with_lxc(bench.server, placement=placement, network=network, swap_bytes=128 * 2**20)
    bench.ensure()
    config = bench.ct.config
    assert (config["cores"], config["memory"], config["swap"]) == (3, 1024, 128)
    assert config["startup"] == "order=4" and config["hostname"] == "other" and not config.get("onboot")
    assert "ip=10.99.0.31/24" in config["net0"] and f"hwaddr={hwaddr}" in config["net0"]
    assert bench.ct.pending == {"nameserver": "9.9.9.9 1.1.1.1"}
    assert bench.notes == [f"container {bench.vmid} takes on nameserver when it starts next"]


def test_what_waits_is_not_asked_for_again(bench: Bench) -> None:
    bench.ensure()
    bench.server = with_lxc(bench.server, network=replace(NETWORK, nameservers=("9.9.9.9",)))
    bench.ensure()
    before = mutations(bench.fake, bench.vmid)
    bench.ensure()
    assert mutations(bench.fake, bench.vmid) == before
    planned = bench.container.planned(Guest("pve1", bench.vmid))
    assert bench.container.differences(bench.server, planned) == ({}, [])


def test_options_are_taken_out_again(bench: Bench) -> None:
    bench.server = with_placement(bench.server, start_order=3)
    bench.server = with_lxc(bench.server, network=replace(NETWORK, nameservers=("9.9.9.9",), search_domain="x.lan"))
    bench.make()
    bench.server = with_lxc(bench.server, placement=GuestPlacement(start_on_boot=False), network=NETWORK)
    bench.make()
    assert not {"onboot", "startup", "nameserver", "searchdomain"} & {
        key for key, value in bench.ct.config.items() if value not in (0, "0")
    }


def test_nothing_is_asked_for_that_is_so(bench: Bench) -> None:
    bench.ensure()
    before = mutations(bench.fake, bench.vmid)
    bench.ensure()
    assert mutations(bench.fake, bench.vmid) == before


def test_the_root_disk_grows_and_is_never_shrunk(bench: Bench) -> None:
    bench.ensure()
    bench.server = with_placement(bench.server, system_disk_bytes=9 * GIB)
    bench.ensure()
    assert "size=9G" in bench.ct.config["rootfs"]
    bench.server = with_placement(bench.server, system_disk_bytes=0)
    bench.ensure()
    assert "size=9G" in bench.ct.config["rootfs"]


@pytest.mark.parametrize("changes", [{"cores": 100}, {"memory_bytes": 4096 * GIB}])
def test_more_than_the_node_has_is_refused_where_it_is_known(fake: FakePve, bench: Bench, changes: dict[str, int]) -> None:
    grant(fake, "/nodes/pve1", "Sys.Audit")
    size = {"cpuinfo": {"cpus": 4}, "memory": {"total": 8 * GIB}}
    bench.api = TroubledApi(bench.api, answers={"/nodes/pve1/status": size})
    wanted = with_placement(bench.server, **changes)
    small, bench.server = bench.server, wanted
    with pytest.raises(PreconditionFailed, match="the node has"):
        bench.make()
    assert fake.cts == [] and bench.claims.rows == {}
    bench.server = small
    bench.make()
    before = dict(bench.ct.config)
    bench.server = wanted
    with pytest.raises(PreconditionFailed, match="the node has"):
        bench.make()
    assert bench.ct.config == before
    revoke(fake, "/nodes/pve1", "Sys.Audit")
    bench.make()
    assert bench.ct.config != before


def test_a_storage_without_space(fake: FakePve, bench: Bench) -> None:
    fake.storages["local-lvm"]["avail"] = 3 * GIB
    with pytest.raises(StorageFull):
        bench.make()
    assert fake.cts == [] and bench.claims.rows == {}
    fake.storages["local-lvm"]["avail"] = 4 * GIB
    bench.make()
    bench.server = with_placement(bench.server, system_disk_bytes=10 * GIB)
    with pytest.raises(StorageFull):
        bench.make()
    assert "size=4G" in bench.ct.config["rootfs"]
    bench.settings = replace(bench.settings, overcommit=True)
    bench.make()
    assert "size=10G" in bench.ct.config["rootfs"]


def test_a_storage_that_is_not_there(fake: FakePve, bench: Bench) -> None:
    bench.server = with_placement(bench.server, storage="nothere")
    with pytest.raises(PreconditionFailed, match="nothere"):
        bench.make()
    assert fake.cts == [] and bench.claims.rows == {}


def test_protection_is_lifted_for_the_end(bench: Bench) -> None:
    bench.server = with_placement(bench.server, protection=True)
    bench.ensure()
    assert bench.ct.config["protection"] in (1, "1")
    bench.remove()
    assert bench.fake.cts == [] and bench.claims.rows == {}


@pytest.mark.parametrize("protection", [False, True])
def test_a_locked_container_waits(bench: Bench, protection: bool) -> None:
    bench.server = with_placement(bench.server, protection=protection)
    bench.ensure()
    bench.fake.snapshot_lock(bench.vmid, "backup")
    smaller, bench.server = bench.server, with_placement(bench.server, cores=2)
    for act in (bench.make, bench.remove):
        with pytest.raises(ResourceBusy) as refused:
            act()
        assert kind_of(refused.value) is Kind.LOCKED
        assert "pct unlock" in refused.value.help and refused.value.metadata["lock"] == "backup"
    assert bench.ct.config.get("cores") in (1, "1") and "container" in bench.kinds()
    bench.fake.unlock(bench.vmid)
    bench.make()
    assert bench.ct.config["cores"] == 2
    bench.server = smaller
    bench.remove()
    assert bench.fake.cts == [] and bench.claims.rows == {}


def test_a_stopped_one_is_started(bench: Bench) -> None:
    bench.ensure()
    bench.ct.status = "stopped"
    bench.ensure()
    assert bench.ct.status == "running"


def test_a_start_that_fails_is_told(bench: Bench) -> None:
    bench.make()
    bench.ct.start_error = "startup for container failed"
    with pytest.raises(PvesmbError, match="startup for container failed"):
        bench.ensure()
