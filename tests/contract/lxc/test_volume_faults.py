"""Volumes when answers get lost, and when the container may not be changed."""

from __future__ import annotations

import pytest
from fakepve import FakePve

from services.core.domain.share import VolumeStorage
from services.core.errors import (
    ResourceBusy,
)
from services.proxmox.failures import Kind, kind_of
from tests.contract.lxc.trouble import (
    Trouble,
    TroubledApi,
    cut_off,
    timed_out,
)
from tests.contract.lxc.world import (
    GIB,
    Bench,
    mounts,
    restart,
    share,
    sized,
    with_placement,
)
from tests.fakes import Killed


@pytest.mark.parametrize("error", [timed_out, cut_off, Killed])
@pytest.mark.parametrize("happens", [True, False])
def test_a_lost_answer_makes_no_second_volume(running: Bench, error: type[BaseException], happens: bool) -> None:
    session, added = running.api, share(running.server)
    running.api = TroubledApi(session, [Trouble("PUT", "/config", error, happens)])
    if error is Killed:
        with pytest.raises(Killed):
            running.add(added)
    else:
        assert running.add(added).error is not None
    assert "volume" in running.kinds()
    assert running.add(added).error is None
    assert list(mounts(running)) == ["mp0"]


@pytest.mark.parametrize("error", [timed_out, cut_off, Killed])
@pytest.mark.parametrize("happens", [True, False])
def test_a_lost_answer_at_the_end_loses_no_volume(running: Bench, error: type[BaseException], happens: bool) -> None:
    session, gone = running.api, share(running.server)
    running.add(gone)
    running.api = TroubledApi(session, [Trouble("PUT", "/config", error, happens)])
    if error is Killed:
        with pytest.raises(Killed):
            running.drop(gone, delete_data=True)
    else:
        assert running.drop(gone, delete_data=True).error is not None
    assert running.drop(gone, delete_data=True).error is None
    restart(running)
    assert mounts(running) == {} and running.kinds() == ["container", "guest"]


@pytest.mark.parametrize("happens", [True, False])
def test_a_lost_answer_to_a_growth(running: Bench, happens: bool) -> None:
    added = share(running.server)
    running.add(added)
    running.api = TroubledApi(running.api, [Trouble("PUT", "/resize", timed_out, happens)])
    assert running.add(sized(added, 5 * GIB)).error is not None
    assert running.add(sized(added, 5 * GIB)).error is None
    assert running.ct.config["mp0"].endswith("size=5G")


def test_a_locked_container_takes_none_and_does_later(running: Bench) -> None:
    added = share(running.server)
    running.fake.snapshot_lock(running.vmid, "backup")
    error = running.add(added).error
    assert isinstance(error, ResourceBusy) and kind_of(error) is Kind.LOCKED
    running.fake.unlock(running.vmid)
    assert running.add(added).error is None
    running.fake.snapshot_lock(running.vmid, "backup")
    assert isinstance(running.drop(added, delete_data=True).error, ResourceBusy)
    running.fake.unlock(running.vmid)
    assert running.drop(added, delete_data=True).error is None
    restart(running)
    assert mounts(running) == {} and running.kinds() == ["container", "guest"]


def test_a_volume_that_was_not_let_go_is_not_said_to_be_kept(running: Bench) -> None:
    added = share(running.server)
    running.add(added)
    running.fake.snapshot_lock(running.vmid, "backup")
    assert isinstance(running.drop(added).error, ResourceBusy)
    assert "volume-kept" not in running.kinds()
    running.fake.unlock(running.vmid)
    assert running.drop(added).error is None
    assert "volume-kept" in running.kinds()


def test_a_protected_container_takes_and_loses_volumes_and_stays_protected(bench: Bench) -> None:
    bench.server = with_placement(bench.server, protection=True)
    bench.ensure()
    added = share(bench.server)
    assert bench.add(added).error is None
    assert bench.ct.config["protection"] in (1, "1") and list(mounts(bench)) == ["mp0"]
    assert bench.drop(added, delete_data=True).error is None
    assert bench.ct.config["protection"] in (1, "1")
    restart(bench)
    assert mounts(bench) == {} and bench.ct.config["protection"] in (1, "1")


def test_a_protection_that_we_left_off_comes_back(bench: Bench) -> None:
    bench.server = with_placement(bench.server, protection=True)
    bench.ensure()
    session, added = bench.api, share(bench.server)
    lifted = Trouble("PUT", "/config", Killed)
    bench.api = TroubledApi(session, [lifted])
    with pytest.raises(Killed):
        bench.add(added)
    assert not bench.ct.config.get("protection")
    bench.ensure()
    assert bench.ct.config["protection"] in (1, "1")


def test_a_whole_file_server_serves_the_shares_that_it_can(fake: FakePve, bench: Bench) -> None:
    bench.shares = [share(bench.server, "large", VolumeStorage(64 * GIB)), share(bench.server, "small")]
    fake.storages["local-lvm"]["avail"] = 8 * GIB
    bench.ensure()
    assert bench.ct.status == "running" and list(mounts(bench)) == ["mp0"]
    assert len(bench.notes) == 1 and "large" in bench.notes[0]
