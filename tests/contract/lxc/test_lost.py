"""Ids that others take, answers that get lost, and processes that end: afterwards there is what is wanted, or nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from fakepve import FakePve

from services.core.domain.guest import GuestPlacement
from services.core.errors import (
    HostTimeout,
    HostUnreachable,
    OperationCancelled,
    PreconditionFailed,
    ProxmoxFailed,
    PvesmbError,
)
from services.core.steps import Claim
from services.proxmox.containers import Guest, create
from services.proxmox.failures import Kind, kind_of
from services.proxmox.session import Session
from tests.contract.fake_node import TEMPLATE, grant
from tests.contract.lxc.world import (
    KEY,
    SETTINGS,
    Bench,
    Trouble,
    TroubledApi,
    cut_off,
    foreign,
    mutations,
    noted,
    sent,
    server,
    tagged,
    timed_out,
)
from tests.fakes import Killed, MemoryClaims


def claimed(bench: Bench, vmid: int) -> None:
    bench.claims.put(Claim("guest", str(vmid), bench.server.uid, {"node": "pve1", "template": TEMPLATE}))


def troubled(bench: Bench, *troubles: Trouble, longest: float = 30.0) -> TroubledApi:
    api = TroubledApi(bench.api, list(troubles), longest)
    bench.api = api
    return api


def assert_only_ours(bench: Bench, *others: int) -> None:
    """One container, ours, and the claims that go with it; nothing was asked of others' guests."""
    assert {ct.vmid for ct in bench.fake.cts} == {bench.vmid, *others}
    assert bench.kinds() == ["container", "guest"]
    for vmid in others:
        assert mutations(bench.fake, vmid) == []


def assert_removes_to_nothing(bench: Bench, *others: int) -> None:
    bench.remove()
    assert [ct.vmid for ct in bench.fake.cts] == [*others] and bench.claims.rows == {}
    for vmid in others:
        assert mutations(bench.fake, vmid) == []


# The race for an id


def test_an_id_that_a_stranger_takes_at_the_last_moment(bench: Bench) -> None:
    class Racing(TroubledApi):
        def call(self, method, path, params=None, **more):  # type: ignore[no-untyped-def]
            if method == "POST" and path[-1] == "lxc" and params["vmid"] < 103:
                foreign(bench.fake, params["vmid"])
            return super().call(method, path, params, **more)

    bench.api = Racing(bench.api)
    bench.make()
    assert bench.vmid == 103
    assert_only_ours(bench, 100, 101, 102)
    assert_removes_to_nothing(bench, 100, 101, 102)


def test_an_id_that_was_asked_for_and_is_taken(bench: Bench) -> None:
    bench.server = server(GuestPlacement(vmid=200))
    foreign(bench.fake, 200)
    with pytest.raises(PreconditionFailed, match="200 is taken"):
        bench.make()
    assert bench.claims.rows == {} and mutations(bench.fake, 200) == []


def test_an_id_that_was_asked_for_and_is_taken_at_the_last_moment(bench: Bench) -> None:
    bench.server = server(GuestPlacement(vmid=200))

    class Racing(TroubledApi):
        def call(self, method, path, params=None, **more):  # type: ignore[no-untyped-def]
            if method == "POST" and path[-1] == "lxc":
                foreign(bench.fake, 200)
            return super().call(method, path, params, **more)

    bench.api = Racing(bench.api)
    with pytest.raises(PreconditionFailed, match="200 is taken"):
        bench.make()
    assert bench.claims.rows == {} and mutations(bench.fake, 200) == []


def test_ten_at_once_get_ten(bench: Bench) -> None:
    class SharedClaims(MemoryClaims):
        lock = threading.Lock()

        def put(self, claim: Claim) -> Claim:
            with self.lock:
                return super().put(claim)

    claims = SharedClaims()
    benches = [replace(bench, server=server(), claims=claims) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(Bench.make, benches))
    assert len({each.vmid for each in benches}) == len(bench.fake.cts) == 10
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(Bench.remove, benches))
    assert bench.fake.cts == [] and claims.rows == {}


# Answers that get lost


@pytest.mark.parametrize("error", [timed_out, cut_off])
def test_a_create_that_happened_though_its_answer_was_lost(bench: Bench, error: object) -> None:
    troubled(bench, Trouble("POST", "/lxc", error))  # type: ignore[arg-type]
    bench.make()
    assert len(sent(bench.fake, "POST", "/lxc")) == 1
    assert_only_ours(bench)
    assert_removes_to_nothing(bench)


@pytest.mark.fakepve(time_scale=0.01)
def test_a_create_that_still_works_when_its_answer_is_lost(bench: Bench) -> None:
    bench.fake.ct_secs["create"] = 60
    troubled(bench, Trouble("POST", "/lxc", timed_out))
    bench.make()
    assert bench.ct.lock is None
    assert len(sent(bench.fake, "POST", "/lxc")) == 1
    assert_only_ours(bench)


@pytest.mark.parametrize("error", [timed_out, cut_off])
def test_a_create_that_never_happened_is_told_and_may_be_repeated(bench: Bench, error: object) -> None:
    troubled(bench, Trouble("POST", "/lxc", error, happens=False))  # type: ignore[arg-type]
    with pytest.raises((HostTimeout, HostUnreachable)):
        bench.make()
    assert bench.fake.cts == []
    bench.make()
    assert_only_ours(bench)
    assert_removes_to_nothing(bench)


def test_a_create_that_never_happened_is_undone_to_nothing(bench: Bench) -> None:
    troubled(bench, Trouble("POST", "/lxc", cut_off, happens=False))
    with pytest.raises(HostUnreachable):
        bench.make()
    assert_removes_to_nothing(bench)


def test_a_create_whose_answer_was_lost_to_a_stranger(bench: Bench) -> None:
    """The id went to somebody whose guest we may not even look at."""
    troubled(bench, Trouble("POST", "/lxc", cut_off, happens=False, then=lambda: foreign(bench.fake, 100)))
    with pytest.raises(HostUnreachable):
        bench.make()
    bench.make()
    assert bench.vmid == 101
    assert_only_ours(bench, 100)


def test_a_task_that_the_node_forgot_and_that_had_done_its_work(bench: Bench) -> None:
    class Forgetting(TroubledApi):
        def call(self, method, path, params=None, **more):  # type: ignore[no-untyped-def]
            answer = super().call(method, path, params, **more)
            if method == "POST" and path[-1] == "lxc":
                bench.fake.tasks.clear()
                bench.fake.tasklog.clear()
            return answer

    bench.api = Forgetting(bench.api)
    bench.make()
    assert_only_ours(bench)


def test_a_task_that_the_node_forgot_with_its_container(bench: Bench) -> None:
    class Forgetting(TroubledApi):
        def call(self, method, path, params=None, **more):  # type: ignore[no-untyped-def]
            answer = super().call(method, path, params, **more)
            if method == "POST" and path[-1] == "lxc":
                bench.fake.tasks.clear()
                bench.fake.tasklog.clear()
                bench.fake.cts.clear()
            return answer

    bench.api, session = Forgetting(bench.api), bench.api
    with pytest.raises(ProxmoxFailed) as lost:
        bench.make()
    assert kind_of(lost.value) is Kind.TASK_LOST
    assert_removes_to_nothing(bench)
    bench.api = session
    bench.make()
    assert_only_ours(bench)


def test_a_task_that_fails_leaves_nothing(bench: Bench) -> None:
    bench.fake.storages["local"]["volumes"].clear()
    bench.fake.store_file("local", "another_1_amd64.tar.zst", 1, content="vztmpl")
    with pytest.raises(PvesmbError) as failed:
        bench.make()
    assert kind_of(failed.value) is Kind.NO_VOLUME
    assert bench.fake.cts == []
    assert_removes_to_nothing(bench)


def test_a_node_that_answers_500(bench: Bench) -> None:
    bench.fake.fail("POST", "/nodes/pve1/lxc", 500, "internal trouble", times=1)
    with pytest.raises(ProxmoxFailed, match="internal trouble"):
        bench.make()
    bench.make()
    assert_only_ours(bench)


def test_a_node_that_hangs_is_not_waited_for_longer_than_the_call_may_take(fake: FakePve, bench: Bench) -> None:
    troubled(bench, longest=0.3)
    fake.flaky_network(hang_rate=1.0, hang_secs=1)
    with pytest.raises(HostTimeout):
        bench.make()
    fake.flaky_network()
    bench.make()
    assert_only_ours(bench)


def test_connections_that_drop_in_mid_task(fake: FakePve, bench: Bench) -> None:
    class Dropping(TroubledApi):
        """After the create call, for the next looks."""

        def call(self, method, path, params=None, **more):  # type: ignore[no-untyped-def]
            answer = super().call(method, path, params, **more)
            if method == "POST" and path[-1] == "lxc":
                self.troubles += [Trouble("GET", "/status", cut_off, happens=False) for _ in range(3)]
            return answer

    bench.api = Dropping(bench.api)
    bench.make()
    assert len(sent(fake, "POST", "/lxc")) == 1
    assert_only_ours(bench)


@pytest.mark.fakepve(time_scale=0.01)
def test_a_create_that_nobody_wants_any_more(bench: Bench) -> None:
    """What is under way is waited for, and then taken away."""
    bench.fake.ct_secs["create"] = 60
    bench.cancelled = lambda: True
    with pytest.raises(OperationCancelled):
        bench.make()
    assert_removes_to_nothing(bench)


@pytest.mark.parametrize("error", [timed_out, cut_off])
@pytest.mark.parametrize("happens", [True, False])
def test_a_destroy_whose_answer_was_lost(bench: Bench, error: object, happens: bool) -> None:
    bench.ensure()
    troubled(bench, Trouble("DELETE", f"/lxc/{bench.vmid}", error, happens))  # type: ignore[arg-type]
    if not happens:
        with pytest.raises(ProxmoxFailed, match="is still there"):
            bench.remove()
    assert_removes_to_nothing(bench)


@pytest.mark.parametrize("error", [timed_out, cut_off])
@pytest.mark.parametrize("happens", [True, False])
def test_a_start_whose_answer_was_lost(bench: Bench, error: object, happens: bool) -> None:
    troubled(bench, Trouble("POST", "/status/start", error, happens))  # type: ignore[arg-type]
    if not happens:
        with pytest.raises((HostTimeout, HostUnreachable)):
            bench.ensure()
    bench.ensure()
    assert bench.ct.status == "running"


def test_somebody_else_starts_it_first(bench: Bench) -> None:
    bench.make()
    bench.ct.status = "running"
    stopped = dict(bench.api.call("GET", ("nodes", "pve1", "lxc", bench.vmid, "status", "current")), status="stopped")
    bench.api = TroubledApi(bench.api, answers={f"/nodes/pve1/lxc/{bench.vmid}/status/current": stopped})
    bench.ensure()
    assert len(sent(bench.fake, "POST", "/status/start")) == 1


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
