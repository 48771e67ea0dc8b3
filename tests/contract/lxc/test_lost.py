"""Answers that get lost: afterwards there is what is wanted, or nothing."""

from __future__ import annotations

import pytest
from fakepve import FakePve

from services.core.errors import (
    HostTimeout,
    HostUnreachable,
    OperationCancelled,
    ProxmoxFailed,
    PvesmbError,
)
from services.proxmox.failures import Kind, Refusal, error_of, kind_of
from tests.contract.lxc.trouble import (
    Trouble,
    TroubledApi,
    assert_only_ours,
    assert_removes_to_nothing,
    cut_off,
    timed_out,
    troubled,
)
from tests.contract.lxc.world import (
    Bench,
    foreign,
    sent,
)


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
    assert bench.fake.cts == [] and bench.claims.rows == {}, "what the node refused itself need not be waited for"
    assert_removes_to_nothing(bench)


def test_a_node_that_answers_500(bench: Bench) -> None:
    bench.fake.fail("POST", "/nodes/pve1/lxc", 500, "internal trouble", times=1)
    with pytest.raises(ProxmoxFailed, match="internal trouble"):
        bench.make()
    assert bench.claims.rows == {}
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


@pytest.mark.fakepve(time_scale=0.01)
def test_an_answer_of_500_while_the_task_works_keeps_the_claim(bench: Bench) -> None:
    """Nothing is sure before the container is there or is not."""
    bench.fake.ct_secs["create"] = 60
    refused = error_of(Refusal(500, "internal trouble", "it"))
    troubled(bench, Trouble("POST", "/lxc", lambda: refused))
    with pytest.raises(ProxmoxFailed):
        bench.make()
    assert bench.kinds() == ["guest"]
    assert_removes_to_nothing(bench)
