"""Processes that end half-way, and what others do behind our back: afterwards there is what is wanted, or nothing, and
nobody else's guest was touched."""

from __future__ import annotations

import pytest
from fakepve import FakePve

from services.core.errors import (
    PreconditionFailed,
    PvesmbError,
)
from services.proxmox.containers import Guest, create
from services.proxmox.failures import Kind, kind_of
from services.proxmox.session import Session
from tests.contract.fake_node import TEMPLATE, grant
from tests.contract.lxc.trouble import (
    Trouble,
    assert_only_ours,
    assert_removes_to_nothing,
    claimed,
    troubled,
)
from tests.contract.lxc.world import (
    KEY,
    SETTINGS,
    Bench,
    foreign,
    mounts,
    noted,
    sent,
    share,
    tagged,
    with_placement,
)
from tests.fakes import Killed

# A process that ends


def killed_at(bench: Bench, method: str, end: str, *, happens: bool) -> None:
    session = bench.api
    troubled(bench, Trouble(method, end, Killed, happens))
    with pytest.raises(Killed):
        bench.make()
    bench.api = session


@pytest.mark.parametrize("happens", [True, False])
def test_killed_around_the_create_call(bench: Bench, happens: bool) -> None:
    killed_at(bench, "POST", "/lxc", happens=happens)
    assert bench.kinds() == ["guest"]
    bench.make()
    assert len(sent(bench.fake, "POST", "/lxc")) == 1
    assert_only_ours(bench)
    assert_removes_to_nothing(bench)


@pytest.mark.parametrize("happens", [True, False])
def test_killed_around_the_create_call_and_then_not_wanted(bench: Bench, happens: bool) -> None:
    killed_at(bench, "POST", "/lxc", happens=happens)
    assert_removes_to_nothing(bench)


@pytest.mark.fakepve(time_scale=0.01)
@pytest.mark.parametrize("wanted", [True, False])
def test_killed_while_the_task_runs(bench: Bench, wanted: bool) -> None:
    bench.fake.ct_secs["create"] = 60
    killed_at(bench, "POST", "/lxc", happens=True)
    if wanted:
        bench.make()
        assert len(sent(bench.fake, "POST", "/lxc")) == 1
        assert_only_ours(bench)
    assert_removes_to_nothing(bench)


@pytest.mark.parametrize("seen", [True, False])
def test_killed_after_the_claim_and_a_stranger_has_the_id(fake: FakePve, bench: Bench, seen: bool) -> None:
    claimed(bench, 100)
    foreign(fake, 100)
    if seen:
        grant(fake, "/vms/100", "VM.Audit")
    bench.make()
    assert bench.vmid == 101
    assert_only_ours(bench, 100)
    assert_removes_to_nothing(bench, 100)


@pytest.mark.parametrize("seen", [True, False])
def test_killed_after_the_claim_and_removed_beside_a_stranger(fake: FakePve, bench: Bench, seen: bool) -> None:
    claimed(bench, 100)
    foreign(fake, 100)
    if seen:
        grant(fake, "/vms/100", "VM.Audit")
    assert_removes_to_nothing(bench, 100)


def test_a_login_that_may_see_nothing_does_not_give_up_what_may_be_ours(fake: FakePve, bench: Bench) -> None:
    """Without VM.Audit on the pool a container of ours looks like a stranger's."""
    bench.make()
    bench.claims.release("container", str(bench.vmid), bench.server.uid)
    assert fake.acl is not None
    for who in fake.acl:
        fake.acl[who] = [(path, has - {"VM.Audit"}) for path, has in fake.acl[who]]
    for act in (bench.make, bench.remove):
        with pytest.raises(PvesmbError) as refused:
            act()
        assert kind_of(refused.value) is Kind.PRIVILEGE
    assert bench.kinds() == ["guest"] and len(fake.cts) == 1


# Behind our back


def test_one_that_was_deleted_is_not_made_anew(bench: Bench) -> None:
    bench.ensure()
    bench.fake.cts.clear()
    bench.fake.pools["smbgw"].clear()
    with pytest.raises(PreconditionFailed, match="was removed on the node") as gone:
        bench.make()
    assert "Restore it from a backup" in gone.value.help
    assert bench.fake.cts == [] and "container" in bench.kinds()
    assert_removes_to_nothing(bench)


@pytest.mark.parametrize("carries", ["nothing", "tag", "uid", "both of another"])
def test_one_that_was_replaced_is_never_touched(fake: FakePve, bench: Bench, carries: str) -> None:
    bench.ensure()
    vmid, uid = bench.vmid, bench.server.uid
    fake.cts.clear()
    config = {
        "nothing": {},
        "tag": tagged(uid),
        "uid": noted(uid),
        "both of another": {**tagged("5f0c-other"), **noted("5f0c-other")},
    }[carries]
    foreign(fake, vmid, config=config)
    fake.requests.clear()
    with pytest.raises(PreconditionFailed, match="is not ours any more"):
        bench.make()
    assert_removes_to_nothing(bench, vmid)
    assert bench.notes == [f"container {vmid} does not carry our uid any more and was left alone"]


@pytest.mark.parametrize("carries", ["tag", "uid"])
def test_a_strangers_tag_or_notes_alone_do_not_make_it_ours(fake: FakePve, bench: Bench, carries: str) -> None:
    uid = bench.server.uid
    claimed(bench, 100)
    foreign(fake, 100, config=tagged(uid) if carries == "tag" else noted(uid))
    grant(fake, "/vms/100", "VM.Audit")
    bench.make()
    assert bench.vmid == 101
    assert_only_ours(bench, 100)


def test_a_restored_one_is_ours_again(fake: FakePve, bench: Bench, session: Session) -> None:
    bench.ensure()
    ct = bench.ct
    fake.cts.clear()
    with pytest.raises(PreconditionFailed):
        bench.make()
    fake.cts.append(ct)
    ct.status = "stopped"
    bench.ensure()
    assert bench.ct.status == "running"


def test_a_create_goes_on_that_another_process_had_begun(bench: Bench) -> None:
    claimed(bench, 100)
    create(bench.api, Guest("pve1", 100), SETTINGS.container(bench.server, TEMPLATE, KEY))
    bench.make()
    assert len(sent(bench.fake, "POST", "/lxc")) == 1
    assert_only_ours(bench)


# Migration


@pytest.fixture
def moved(fake: FakePve, running: Bench) -> Bench:
    """Its container is on another node by now."""
    running.add(share(running.server))
    fake.add_node("pve2")
    running.ct.node = "pve2"
    return running


def test_one_that_was_migrated_is_followed(moved: Bench) -> None:
    moved.server = with_placement(moved.server, cores=2)
    moved.ct.status = "stopped"
    moved.ensure()
    assert moved.ct.config["cores"] == 2 and moved.ct.status == "running"
    moved.fake.requests.clear()
    assert moved.add(share(moved.server, "more")).error is None
    assert {path.split("/")[4] for _, path, _ in moved.fake.requests if path.endswith("/storage")} == {"pve2"}
    moved.ct.node = "pve1"
    moved.ensure()
    assert moved.add(share(moved.server, "still-more")).error is None
    assert_removes_to_nothing(moved)


def test_shares_of_one_that_was_migrated(moved: Bench) -> None:
    [old], new = moved.shares, share(moved.server, "new")
    assert moved.drop(old, delete_data=True).error is None
    assert moved.ct.pending == {"mp0": None} and "volume-doomed" in moved.kinds()
    moved.ct.node = "pve1"
    assert moved.add(new).error is None
    assert list(mounts(moved)) == ["mp0", "mp1"]


def test_one_that_was_migrated_is_removed_where_it_is(moved: Bench) -> None:
    assert_removes_to_nothing(moved)


def test_a_strangers_on_another_node_is_not_followed(fake: FakePve, moved: Bench) -> None:
    vmid = moved.vmid
    moved.ct.config.update(tags="", description="")
    fake.requests.clear()
    with pytest.raises(PreconditionFailed, match="is not ours any more"):
        moved.make()
    assert_removes_to_nothing(moved, vmid)
