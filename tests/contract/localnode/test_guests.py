"""Real containers: the API on one side, processes in a network namespace on the other."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from packaging.stack.node import LocalNode
from services.core.errors import PvesmbError
from services.proxmox.failures import Kind, kind_of
from services.proxmox.session import Session
from services.proxmox.tasks import Upid, wait
from tests.e2e.waiting import until
from tests.local_node import local_node
from tests.tiny import tiny_template

pytestmark = pytest.mark.root

TEMPLATE = "local:vztmpl/tiny.tar.gz"
GIB = 1 << 30


@dataclass
class Guests:
    """Containers of one node, made as root@pam; the address of each is its own."""

    node: LocalNode
    api: Session
    _ids: count[int] = field(default_factory=lambda: count(100))

    def address(self, vmid: int) -> str:
        return str(self.node.network[vmid - 98])

    def nic(self, vmid: int) -> str:
        return f"name=eth0,bridge={self.node.bridge},ip={self.address(vmid)}/24"

    def task(self, method: str, *path: str | int, **params: Any) -> None:
        """A call that starts a task, waited for."""
        wait(self.api, Upid.parse(self.call(method, *path, **params)), timeout=60)

    def call(self, method: str, *path: str | int, **params: Any) -> Any:
        given = {name.replace("_", "-"): value for name, value in params.items()}
        return self.api.call(method, ("nodes", "pve1", "lxc", *path), given)

    def made(self, **more: Any) -> int:
        """One that was started."""
        vmid = next(self._ids)
        given = {"rootfs": "fast:0.0625", "unprivileged": 1, "memory": 64, "net0": self.nic(vmid), "ostemplate": TEMPLATE}
        self.task("POST", vmid=vmid, **(given | more))
        self.task("POST", vmid, "status", "start")
        return vmid

    def pid(self, vmid: int) -> int:
        return int(self.call("GET", vmid, "status", "current")["pid"])

    def root(self, vmid: int) -> Path:
        """Its files, as the node sees them."""
        return Path(f"/proc/{self.pid(vmid)}/root")

    def owner_inside(self, vmid: int, file: str) -> str:
        inside = ["nsenter", "-t", str(self.pid(vmid)), "-U", "-m", "--", "/bin/busybox", "stat", "-c", "%u:%g", file]
        return subprocess.run(inside, capture_output=True, text=True, check=True).stdout.strip()

    def addresses(self, vmid: int) -> set[str]:
        found = self.call("GET", vmid, "interfaces") or []
        return {a["ip-address"] for each in found if each["name"] == "eth0" for a in each["ip-addresses"]}

    def pending(self, vmid: int) -> dict[str, Any]:
        changed = self.call("GET", vmid, "pending")
        return {each["key"]: each.get("pending") for each in changed if "pending" in each or "delete" in each}

    def config(self, vmid: int) -> dict[str, Any]:
        return dict(self.call("GET", vmid, "config", current=1))

    def volumes(self, vmid: int) -> list[str]:
        return sorted(each.name for each in self.node.directory.glob(f"*/images/{vmid}/*"))


def opened(node: LocalNode) -> Guests:
    cache = node.directory / "local" / "template" / "cache"
    cache.mkdir(parents=True)
    tiny_template(cache / "tiny.tar.gz")
    return Guests(node, node.root())


@pytest.fixture(scope="module")
def guests() -> Iterator[Guests]:
    with local_node() as node:
        opening = opened(node)
        yield opening
        opening.api.close()


def test_a_container_is_what_it_was_asked_to_be(guests: Guests) -> None:
    vmid = guests.made(hostname="smb-1", password="secret1", ssh_public_keys="ssh-ed25519 AAAA x", nameserver="10.98.0.1")
    inside = guests.root(vmid)
    assert (inside / "etc/hostname").read_text() == "smb-1\n"
    assert (inside / "etc/resolv.conf").read_text() == "nameserver 10.98.0.1\n"
    assert (inside / "root/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAA x\n"
    assert (inside / "root/was-set").read_text() == "root:secret1\n"
    assert inside.parent.stat().st_uid == 100000
    address = guests.address(vmid)
    until(lambda: address in guests.addresses(vmid), "an address")
    with pytest.raises(ConnectionRefusedError):  # by the container's own kernel side: packets go there and back
        socket.create_connection((address, 445), timeout=10)
    guests.task("POST", vmid, "status", "shutdown", timeout=20)
    assert guests.call("GET", vmid, "interfaces") is None


@pytest.mark.parametrize("storage", ["fast", "local"])
def test_volumes_are_added_and_grow_while_it_runs(guests: Guests, storage: str) -> None:
    vmid = guests.made(rootfs=f"{storage}:0.3125", mp0=f"{storage}:0.3125,mp=/srv/share one")
    guests.call("PUT", vmid, "config", mp1=f"{storage}:0.3125,mp=/srv/added")
    guests.call("PUT", vmid, "config", mp2=f"{storage}:0.3125,mp=/srv/fixed,ro=1")
    inside = guests.root(vmid)
    for share in ("share one", "added", "fixed"):
        assert (inside / "srv" / share).stat().st_uid == 100000
    assert os.statvfs(inside / "srv/fixed").f_flag & os.ST_RDONLY
    assert not fits(inside / "srv/added", 330 << 20)
    guests.task("PUT", vmid, "resize", disk="mp1", size="+128M")
    assert guests.config(vmid)["mp1"].endswith("size=448M")
    assert fits(inside / "srv/added", 330 << 20)
    guests.task("POST", vmid, "status", "stop")
    guests.task("PUT", vmid, "resize", disk="mp0", size="1G")
    guests.task("POST", vmid, "status", "start")
    assert fits(guests.root(vmid) / "srv/share one", 600 << 20)


def fits(directory: Path, size: int) -> bool:
    """Whether so much can be written there."""
    file = directory / "filling"
    try:
        with file.open("wb") as f:
            os.posix_fallocate(f.fileno(), 0, size)
        return True
    except OSError:
        return False
    finally:
        file.unlink()


@pytest.mark.parametrize("storage", ["fast", "local"])
def test_there_is_no_more_space_than_there_is(guests: Guests, storage: str) -> None:
    vmid = guests.made(mp0=f"{storage}:0.3125,mp=/srv/a")
    wanted = 2 + (shutil.disk_usage(guests.node.directory / storage).free >> 30)
    for act in (
        lambda: guests.task("PUT", vmid, "resize", disk="mp0", size=f"{wanted}G"),
        lambda: guests.call("PUT", vmid, "config", mp1=f"{storage}:{wanted},mp=/srv/b"),
        lambda: guests.made(rootfs=f"{storage}:{wanted}"),
    ):
        with pytest.raises(PvesmbError) as refused:
            act()
        assert kind_of(refused.value) is Kind.SPACE
    assert guests.config(vmid)["mp0"].endswith("size=320M")
    assert "mp1" not in guests.config(vmid)
    assert guests.volumes(vmid + 1) == []


def test_a_volume_that_is_too_small_for_its_file_system_is_refused(guests: Guests) -> None:
    vmid = guests.made()
    with pytest.raises(PvesmbError, match=r"mkfs\.xfs"):
        guests.call("PUT", vmid, "config", mp0="local:0.125,mp=/srv/a")
    assert "mp0" not in guests.config(vmid)
    assert len(guests.volumes(vmid)) == 1


def test_addresses_by_dhcp_and_by_router(guests: Guests) -> None:
    vmid = guests.made(net0=f"name=eth0,bridge={guests.node.bridge},ip=dhcp,ip6=auto,firewall=1")
    assert "firewall=1" in guests.config(vmid)["net0"]
    leased = {str(guests.node.network[n]) for n in range(100, 251)}
    until(lambda: guests.addresses(vmid) & leased, "an address by DHCP")
    until(lambda: any(each.startswith("fd98:") for each in guests.addresses(vmid)), "an address by router advertisement")


def test_a_bridge_that_is_not_there_is_named_at_start(guests: Guests) -> None:
    assert guests.node.bridge in {each["iface"] for each in guests.api.call("GET", ("nodes", "pve1", "network"))}
    with pytest.raises(PvesmbError) as refused:
        guests.made(net0="name=eth0,bridge=vmbr999,ip=manual")
    assert kind_of(refused.value) is Kind.NO_BRIDGE


def test_a_tagged_interface_is_on_a_network_of_its_own(guests: Guests) -> None:
    vmid = guests.made(net0=f"name=eth0,bridge={guests.node.bridge},ip=10.99.0.7/24,ip6=fd99::7/64,tag=7")
    show = ["ip", "-n", guests.node.namespace, "-o", "link", "show", "master"]
    assert (
        f"veth{vmid}i0"
        in subprocess.run([*show, f"{guests.node.bridge}v7"], capture_output=True, text=True, check=True).stdout
    )
    assert (
        f"veth{vmid}i0"
        not in subprocess.run([*show, guests.node.bridge], capture_output=True, text=True, check=True).stdout
    )
    until(lambda: {"10.99.0.7", "fd99::7"} <= guests.addresses(vmid), "both addresses")


def test_a_running_one_takes_another_address_at_once_and_a_resolver_at_its_next_start(guests: Guests) -> None:
    vmid = guests.made()
    net0 = guests.config(vmid)["net0"]
    until(lambda: guests.address(vmid) in guests.addresses(vmid), "the first address")
    other = str(guests.node.network[90])
    guests.call("PUT", vmid, "config", net0=net0.replace(guests.address(vmid), other), nameserver="10.98.0.9")
    assert {other} == {each for each in guests.addresses(vmid) if "." in each}
    assert guests.pending(vmid) == {"nameserver": "10.98.0.9"}
    assert not (guests.root(vmid) / "etc/resolv.conf").exists()
    guests.task("POST", vmid, "status", "stop")
    guests.task("POST", vmid, "status", "start")
    assert (guests.root(vmid) / "etc/resolv.conf").read_text() == "nameserver 10.98.0.9\n"
    until(lambda: other in guests.addresses(vmid), "the other address again")


@pytest.mark.parametrize("storage", ["fast", "local"])
def test_a_volume_is_let_go_when_its_container_starts_anew(guests: Guests, storage: str) -> None:
    vmid = guests.made(mp0=f"{storage}:0.3125,mp=/srv/a")
    digest = guests.config(vmid)["digest"]
    guests.call("PUT", vmid, "config", delete="mp0")
    assert guests.pending(vmid) == {"mp0": None}
    assert "mp0" in guests.config(vmid) and guests.config(vmid)["digest"] != digest
    assert "mp0" not in guests.call("GET", vmid, "config")
    guests.task("POST", vmid, "status", "shutdown", timeout=20)
    assert "mp0" in guests.config(vmid)
    guests.task("POST", vmid, "status", "start")
    config = guests.config(vmid)
    assert "mp0" not in config and config["unused0"].startswith(f"{storage}:{vmid}/")
    assert config["unused0"].rpartition("/")[2] in guests.volumes(vmid)
    guests.call("PUT", vmid, "config", delete="unused0")
    assert "unused0" not in guests.config(vmid)
    assert len(guests.volumes(vmid)) == 1


def test_a_directory_of_the_node_has_its_own_owners(guests: Guests) -> None:
    """As on a real one: ids are not shifted, so 100000 more on the node is what the container sees."""
    bound = guests.node.directory / "bound"
    bound.mkdir()
    (bound / "file").touch()
    os.chown(bound / "file", 110005, 100006)
    vmid = guests.made(mp0=f"{bound},mp=/srv/bound")
    assert guests.owner_inside(vmid, "/srv/bound/file") == "10005:6"
    guests.call("PUT", vmid, "config", mp1=f"{bound},mp=/srv/later")
    assert guests.owner_inside(vmid, "/srv/later/file") == "10005:6"
    guests.task("DELETE", vmid, force=1)
    assert (bound / "file").exists()


def test_snapshots_where_the_storage_can(guests: Guests) -> None:
    vmid = guests.made()
    mark = guests.root(vmid) / "root/mark"
    mark.write_text("before")
    guests.task("POST", vmid, "snapshot", snapname="before", description="x")
    mark.write_text("after")
    guests.task("POST", vmid, "snapshot", "before", "rollback")
    assert guests.call("GET", vmid, "status", "current")["status"] == "stopped"
    guests.task("POST", vmid, "status", "start")
    assert (guests.root(vmid) / "root/mark").read_text() == "before"
    assert [each["name"] for each in guests.call("GET", vmid, "snapshot")] == ["before", "current"]
    guests.task("DELETE", vmid, "snapshot", "before")
    assert [each["name"] for each in guests.call("GET", vmid, "snapshot")] == ["current"]
    guests.task("POST", vmid, "snapshot", snapname="again")
    guests.task("DELETE", vmid, force=1)
    assert guests.volumes(vmid) == []


def test_a_template_that_is_uploaded_anew_is_unpacked_anew(guests: Guests) -> None:
    file = guests.node.directory / "local/template/cache/other.tar.gz"
    for text in ("one", "two"):
        with_mark(file, text)
        vmid = guests.made(ostemplate="local:vztmpl/other.tar.gz")
        assert (guests.root(vmid) / "etc/passwd").read_text().endswith(text)
    assert len(list((guests.node.directory / "fast/.templates").glob("other*"))) == 1


def with_mark(file: Path, text: str) -> None:
    fresh = file.with_name("fresh.tar.gz")
    tiny_template(fresh, passwd=f"root:x:0:0::/root:/bin/sh\n{text}")
    fresh.rename(file)


def test_twenty_at_once(guests: Guests) -> None:
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda _: guests.made(mp0="local:0.3125,mp=/srv/a"), range(20)))
    assert {each["vmid"] for each in guests.call("GET") if each["status"] == "running"} >= set(made)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda vmid: guests.task("DELETE", vmid, force=1), made))
    assert [vmid for vmid in made if guests.volumes(vmid)] == []


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_node_ends_and_guests_do_not(guests: Guests, how: str) -> None:
    vmid = guests.made(mp0="local:0.3125,mp=/srv/a")
    pid = guests.pid(vmid)
    (guests.root(vmid) / "srv/a/file").write_text("kept")
    unfinished = next(guests._ids)
    guests.call("POST", vmid=unfinished, rootfs="local:0.3125", ostemplate=TEMPLATE, unprivileged=1)
    getattr(guests.node, how)()
    assert Path(f"/proc/{pid}").exists()
    guests.node.start()
    guests.api.close()
    guests.api = guests.node.root()
    assert guests.pid(vmid) == pid
    there = [each["vmid"] for each in guests.call("GET")]
    assert (unfinished in there) == bool(guests.volumes(unfinished))
    assert unfinished not in there or "lock" not in guests.config(unfinished)
    guests.call("PUT", vmid, "config", mp1="local:0.3125,mp=/srv/b")
    guests.task("POST", vmid, "status", "stop")
    guests.task("POST", vmid, "status", "start")
    assert (guests.root(vmid) / "srv/a/file").read_text() == "kept"


def test_a_guest_that_ended_by_itself_is_stopped(guests: Guests) -> None:
    vmid = guests.made(mp0="local:0.3125,mp=/srv/a")
    os.kill(guests.pid(vmid), 9)
    until(lambda: guests.call("GET", vmid, "status", "current")["status"] == "stopped", "its end")
    guests.task("POST", vmid, "status", "start")
    assert guests.pid(vmid)


def test_nothing_is_left_of_a_node_that_is_cleaned() -> None:
    with local_node() as node:
        guests = opened(node)
        pid = guests.pid(guests.made(mp0="local:0.3125,mp=/srv/a"))
        guests.api.close()
        base = str(node.directory)
        loops = subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
        assert base in loops
    assert not Path(f"/proc/{pid}").exists()
    assert base not in Path("/proc/mounts").read_text()
    assert base not in subprocess.run(["losetup", "-a"], capture_output=True, text=True, check=True).stdout
    assert not node.directory.exists()
