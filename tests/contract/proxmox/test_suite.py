"""The Proxmox VE calls that we make, on a node that answers: what lxc mode relies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.core.errors import PvesmbError
from services.proxmox.containers import (
    Guest,
    configure,
    create,
    destroy,
    find,
    interfaces,
    list_containers,
    pending,
    read_config,
    read_status,
    shutdown,
    start,
    stop,
)
from services.proxmox.failures import Kind, kind_of
from services.proxmox.ids import is_free, next_id, pick_id
from services.proxmox.mounts import NewVolume
from services.proxmox.storage import list_storages, list_stored, upload_template
from services.proxmox.tasks import Upid, wait
from services.proxmox.volumes import add_volume, destroy_detached, detach_volume, grow_volume, mounted_at
from tests.contract.proxmox.place import GIB, Place
from tests.e2e.waiting import until


def done(place: Place, upid: Upid | None) -> None:
    assert upid is not None
    wait(place.api, upid, timeout=120)


def refused(error: pytest.ExceptionInfo[PvesmbError]) -> Kind | None:
    return kind_of(error.value)


def test_a_container_carries_its_owner_from_the_create_call_on(place: Place) -> None:
    new = place.new(cores=2, note="made by the gateway")
    guest = Guest(place.node, next_id(place.api))
    done(place, create(place.api, guest, new))
    config = read_config(place.api, guest)
    assert config.owner == new.uid
    assert config.hostname == new.hostname
    assert config.mounts["rootfs"].size_bytes == GIB
    assert (int(config.raw["unprivileged"]), int(config.raw["cores"]), int(config.raw["swap"])) == (1, 2, 0)
    assert not read_status(place.api, guest).running


def test_a_foreign_one_with_our_tag_is_not_ours(place: Place) -> None:
    guest = place.made()
    configure(place.api, guest, {"description": "made by hand"})
    assert [each.vmid for each in list_containers(place.api, place.node) if "pvesmb" in each.tags] == [guest.vmid]
    assert read_config(place.api, guest).owner == ""


def test_an_id_that_is_taken_is_not_free(place: Place) -> None:
    guest = place.made()
    assert not is_free(place.api, guest.vmid)
    assert pick_id(place.api, lambda _: True) != guest.vmid


def test_the_race_for_an_id_is_lost_with_a_word(place: Place) -> None:
    guest = place.made()
    before = read_config(place.api, guest).owner
    with pytest.raises(PvesmbError) as error:
        done(place, create(place.api, guest, place.new()))
    assert refused(error) is Kind.ID_TAKEN
    assert read_config(place.api, guest).owner == before


def test_a_life_of_starts_and_stops(place: Place) -> None:
    guest = place.made()
    assert interfaces(place.api, guest) == []
    done(place, start(place.api, guest))
    assert read_status(place.api, guest).running
    done(place, shutdown(place.api, guest, timeout=5))
    assert not read_status(place.api, guest).running
    done(place, start(place.api, guest))
    done(place, stop(place.api, guest))
    assert not read_status(place.api, guest).running


def test_starting_a_running_one_is_refused(place: Place) -> None:
    guest = place.made()
    done(place, start(place.api, guest))
    with pytest.raises(PvesmbError) as error:
        start(place.api, guest)
    assert refused(error) is Kind.RUNNING


def test_the_address_is_told(place: Place) -> None:
    guest = place.made()
    done(place, start(place.api, guest))

    def told() -> bool:
        return "10.99.0.30/24" in [str(a) for each in interfaces(place.api, guest) for a in each.addresses]

    until(told, "the address")


def test_a_configuration_is_changed_only_as_it_was_seen(place: Place) -> None:
    guest = place.made()
    config = read_config(place.api, guest)
    configure(place.api, guest, {"memory": 256, "onboot": False}, digest=config.digest)
    after = read_config(place.api, guest)
    assert (int(after.raw["memory"]), int(after.raw["onboot"])) == (256, 0)
    with pytest.raises(PvesmbError) as error:
        configure(place.api, guest, {"memory": 512}, digest=config.digest)
    assert refused(error) is Kind.STALE
    assert int(read_config(place.api, guest).raw["memory"]) == 256


@pytest.mark.parametrize("running", [False, True])
def test_a_volume_is_added_once(place: Place, running: bool) -> None:
    guest = place.made()
    if running:
        done(place, start(place.api, guest))
    first = add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a"))
    assert add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a")) == first
    second = add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/b"))
    assert first.volume != second.volume
    assert first.size_bytes == GIB
    assert pending(place.api, guest) == frozenset()


@pytest.mark.parametrize("running", [False, True])
def test_a_volume_grows_to_its_size_and_no_further(place: Place, running: bool) -> None:
    guest = place.made()
    if running:
        done(place, start(place.api, guest))
    add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a"))
    done(place, grow_volume(place.api, guest, "/srv/a", 3 * GIB // 2))
    found = mounted_at(read_config(place.api, guest), "/srv/a")
    assert found is not None and found[1].size_bytes == 3 * GIB // 2
    assert grow_volume(place.api, guest, "/srv/a", 3 * GIB // 2) is None
    assert grow_volume(place.api, guest, "/srv/a", GIB) is None


def test_a_detached_volume_is_kept_until_it_is_destroyed(place: Place) -> None:
    guest = place.made()
    volume = add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a")).volume
    assert detach_volume(place.api, guest, "/srv/a")
    assert detach_volume(place.api, guest, "/srv/a")
    kept = [each.volid for each in list_stored(place.api, place.node, place.storage, vmid=guest.vmid)]
    assert volume in kept
    destroy_detached(place.api, guest, volume)
    destroy_detached(place.api, guest, volume)
    left = [each.volid for each in list_stored(place.api, place.node, place.storage, vmid=guest.vmid)]
    assert volume not in left
    assert all(each.volume != volume for each in read_config(place.api, guest).mounts.values())


def test_a_mounted_volume_is_not_destroyed(place: Place) -> None:
    guest = place.made()
    volume = add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a")).volume
    destroy_detached(place.api, guest, volume)
    assert mounted_at(read_config(place.api, guest), "/srv/a") is not None


def test_a_running_container_may_keep_what_is_detached_until_it_stops(place: Place) -> None:
    """Whether it does is the node's affair; afterwards it has let go."""
    guest = place.made()
    done(place, start(place.api, guest))
    add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a"))
    gone = detach_volume(place.api, guest, "/srv/a")
    assert gone or pending(place.api, guest) == {"mp0"}
    done(place, stop(place.api, guest))
    assert detach_volume(place.api, guest, "/srv/a")


def test_a_delete_takes_a_running_one_with_its_volumes(place: Place) -> None:
    guest = place.made()
    add_volume(place.api, guest, NewVolume(place.storage, GIB, "/srv/a"))
    done(place, start(place.api, guest))
    done(place, destroy(place.api, guest))
    assert find(place.api, guest) is None
    assert list_stored(place.api, place.node, place.storage, vmid=guest.vmid) == []
    assert is_free(place.api, guest.vmid)


def test_what_is_gone_is_told_as_gone(place: Place) -> None:
    guest = Guest(place.node, 999)
    assert find(place.api, guest) is None
    for ask in (read_config, read_status):
        with pytest.raises(PvesmbError) as error:
            ask(place.api, guest)
        assert refused(error) in (Kind.NO_GUEST, Kind.PRIVILEGE)


def test_an_unknown_storage_is_named(place: Place) -> None:
    guest = place.made()
    with pytest.raises(PvesmbError) as error:
        add_volume(place.api, guest, NewVolume("nope", GIB, "/srv/a"))
    assert refused(error) in (Kind.NO_STORAGE, Kind.PRIVILEGE)


def test_storages_tell_what_they_take(place: Place) -> None:
    there = {each.name: each for each in list_storages(place.api, place.node)}
    assert "rootdir" in there[place.storage].content
    assert "vztmpl" in there[place.templates].content
    assert there[place.storage].active


def templates(place: Place) -> list[str]:
    return [each.volid for each in list_stored(place.api, place.node, place.templates, content="vztmpl")]


def test_a_template_is_uploaded_and_listed(place: Place, tmp_path: Path) -> None:
    """Larger than what proxmoxer sends in one piece."""
    name = "pvesmb-debian-12_9_amd64.tar.zst"
    volid = f"{place.templates}:vztmpl/{name}"
    assert volid not in templates(place)
    (tmp_path / name).write_bytes(b"\x28\xb5\x2f\xfd" + bytes(11 * 2**20))
    done(place, upload_template(place.api, place.node, place.templates, str(tmp_path / name)))
    assert volid in templates(place)
