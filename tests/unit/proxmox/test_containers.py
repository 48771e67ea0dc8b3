"""How containers are asked for, and how recorded answers are read."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import pytest

from services.core.errors import ProxmoxDenied
from services.proxmox.containers import (
    Guest,
    NewContainer,
    Nic,
    find,
    interfaces,
    list_containers,
    read_config,
    read_status,
)
from services.proxmox.failures import Refusal, error_of
from services.proxmox.ids import next_id, pick_id
from services.proxmox.mounts import Mount, NewVolume, parse_size
from services.proxmox.ownership import description, owner_of, owner_tag
from services.proxmox.session import Value
from tests.unit.proxmox.fakes import ScriptedApi
from tests.unit.proxmox.recorded import data, record

CT = Guest("pve1", 102)


def answering(value: Any) -> ScriptedApi:
    return ScriptedApi(lambda method, path, params: value)


@pytest.mark.parametrize(
    ("size", "text"), [(8 * 2**30, "s:8"), (2**29, "s:0.5"), (2**20, "s:0.0009765625"), (10 * 2**30 + 1, "s:10.0009765625")]
)
def test_a_volume_is_asked_for_in_gibibytes_that_are_whole_mebibytes(size: int, text: str) -> None:
    assert NewVolume("s", size).text() == text


def test_a_volume_for_a_share_says_where_it_is_mounted() -> None:
    assert NewVolume("local", 2**30, "/srv/share").text() == "local:1,mp=/srv/share,backup=1,acl=1"


def test_a_mount_point_reads_back() -> None:
    mount = Mount.parse("local:302/vm-302-disk-1.raw,mp=/srv/share,backup=1,size=1536M")
    assert (mount.volume, mount.mount, mount.size_bytes) == ("local:302/vm-302-disk-1.raw", "/srv/share", 1536 * 2**20)


@pytest.mark.parametrize(("text", "size"), [("8G", 2**33), ("512M", 2**29), ("4K", 4096), ("77", 77), ("x", 0)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("id", ["lxc-002", "lxc-005", "lxc-008", "lxc-013"])
def test_a_recorded_configuration_reads(id: str) -> None:
    config = read_config(answering(data(id)), CT)
    assert config.digest == data(id)["digest"]
    assert config.mounts["rootfs"].size_bytes == 2**30
    assert config.owner == ""


def test_recorded_status() -> None:
    status = read_status(answering(data("lxc-020")), CT)
    assert (status.running, status.uptime, status.ha_managed) == (True, 5.0, False)


def test_recorded_status_under_ha() -> None:
    excerpt = {**data("lxc-020"), **record("lxc-010")["response_excerpt"]}
    assert read_status(answering(excerpt), CT).ha_managed


def test_recorded_interfaces_have_no_address_at_first() -> None:
    found = {each.name: each.addresses for each in interfaces(answering(data("lxc-019")), CT)}
    assert found["eth0"] == ()
    assert ipaddress.ip_interface("127.0.0.1/8") in found["lo"]


def test_interfaces_of_a_stopped_container() -> None:
    assert interfaces(answering(data("lxc-054")), CT) == []


def test_interfaces_of_a_node_before_8_4() -> None:
    found = interfaces(answering([{"name": "eth0", "hwaddr": "x", "inet": "10.0.0.5/24"}]), CT)
    assert found[0].addresses == (ipaddress.ip_interface("10.0.0.5/24"),)


def test_a_login_without_rights_sees_an_empty_list() -> None:
    assert list_containers(answering(data("lxc-031")), "pve1") == []


def test_the_next_id_is_text() -> None:
    assert next_id(answering(data("cluster-004"))) == 100


def test_the_first_id_is_taken_that_can_be_claimed() -> None:
    assert pick_id(answering("100"), lambda vmid: vmid == 103) == 103


def test_what_is_sent_to_create_one() -> None:
    new = NewContainer("u1", "smb-1", "local:vztmpl/t.tar.zst", NewVolume("local", 2**33), Nic("vmbr0", vlan=7), pool="p")
    params = new.params()
    assert params["unprivileged"] is True
    assert params["net0"] == "name=eth0,bridge=vmbr0,ip=dhcp,tag=7"
    assert owner_of(str(params["tags"]).split(";"), str(params["description"])) == "u1"
    assert "password" not in params


@pytest.mark.parametrize(
    ("tags", "notes"),
    [
        (["pvesmb"], ""),
        (["pvesmb"], description("u1")),
        (["pvesmb", owner_tag("u1")], "made by hand"),
        (["pvesmb", owner_tag("u1")], description("u2")),
        ([owner_tag("u1")], description("u1")),
        (["pvesmb", owner_tag("u1")], description("u1") + "\n" + description("u2")),
    ],
)
def test_a_guest_that_does_not_say_it_in_both_places_is_not_ours(tags: list[str], notes: str) -> None:
    assert owner_of(tags, notes) == ""


def test_notes_of_people_do_not_matter() -> None:
    assert owner_of(["pvesmb", owner_tag("u1"), "prod"], "ours!\n\n" + description("u1") + "\n") == "u1"


def test_one_that_is_gone_is_none() -> None:
    def answer(method: str, path: str, params: Mapping[str, Value]) -> Any:
        gone = record("errors-002")["response"]
        raise error_of(Refusal(gone["status"], gone["reason"], "container 500"))

    assert find(ScriptedApi(answer), CT) is None


def test_one_out_of_sight_is_none_only_if_its_id_is_free() -> None:
    """A login with rights by pool is refused what is gone and what is foreign alike."""
    refused = record("errors-020")["response"]
    taken = record("errors-025")["response"]

    def node(free: bool) -> ScriptedApi:
        def answer(method: str, path: str, params: Mapping[str, Value]) -> Any:
            if path != "/cluster/nextid":
                raise error_of(Refusal(refused["status"], refused["reason"], "container 102"))
            if not free:
                raise error_of(Refusal(taken["status"], taken["reason"], "container 102", taken["body"]["errors"]))
            return "102"

        return ScriptedApi(answer)

    assert find(node(free=True), CT) is None
    with pytest.raises(ProxmoxDenied):
        find(node(free=False), CT)
