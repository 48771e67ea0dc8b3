"""Operations through steps: ends, failures, kills, drift. On a fake mode, and a real SQLite store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.core.control import Call
from services.core.domain.account import GroupSpec, UserSpec
from services.core.domain.file_server import DriftPolicy, FileServerSpec
from services.core.domain.names import Kind
from services.core.domain.operation import StepState
from services.core.domain.resource import Resource, State
from services.core.domain.share import AccessLevel, AccessRule, PrincipalKind, ShareSpec
from services.core.errors import PathUnsuitable, PvesmbError, ResourceBusy
from services.core.runs import LeaseLost
from services.core.steps import Work
from services.core.worker import batch_length
from tests.fakes import FakeStep, Killed
from tests.unit.core.rig import SERVER, Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.store.close()


def refuse(*ids: str) -> Any:
    def refusing(step: str, resource: Resource[Any]) -> PvesmbError | None:
        return PathUnsuitable("no") if step == "confirm" and resource.name.last in ids else None

    return refusing


def test_a_file_server_with_contents_is_one_operation(rig: Rig) -> None:
    operation = rig.finished(
        rig.create_server(
            shares={"data": ShareSpec()}, users={"alice": (UserSpec(), "pw")}, groups={"g": GroupSpec(members=("alice",))}
        )
    )
    assert operation.error is None
    assert operation.progress_percent == 100
    assert [step.state for step in operation.steps] == [StepState.DONE] * 3
    assert [step.name for step in operation.steps] == ["process", "apply", "confirm"]
    for name in (SERVER, SERVER.child(Kind.SHARE, "data"), SERVER.child(Kind.USER, "alice")):
        found = rig.find(name)
        assert found is not None
        assert found.state is State.READY
        assert found.observed_generation == found.generation == 1
    assert rig.mode.world.of("apply")[str(SERVER.child(Kind.USER, "alice"))] == "pw"


def test_shares_that_wait_together_are_one_transaction(rig: Rig) -> None:
    rig.ready_server()
    rig.mode.world.transactions.clear()
    operations = [rig.create_share(f"s{i:02}") for i in range(10)]
    rig.drain()
    assert all(rig.operation(operation).error is None for operation in operations)
    assert rig.mode.world.transactions == [[f"s{i:02}" for i in range(10)]] * 2, "one for apply, one for confirm"


def test_one_that_fails_in_a_batch_is_undone_alone(rig: Rig) -> None:
    rig.ready_server()
    rig.mode.refuse = refuse("bad")
    good, bad = rig.create_share("good"), rig.create_share("bad")
    rig.drain()
    assert rig.operation(good).error is None
    failed = rig.operation(bad)
    assert failed.error is not None
    assert failed.error["reason"] == "PATH_UNSUITABLE"
    assert [step.state for step in failed.steps] == [StepState.UNDONE, StepState.FAILED]
    assert rig.share("bad") is None
    assert str(SERVER.child(Kind.SHARE, "bad")) not in rig.mode.world.of("apply")
    assert rig.share("good") is not None


def test_a_failed_file_server_leaves_nothing(rig: Rig) -> None:
    rig.mode.refuse = refuse("data")
    operation = rig.finished(rig.create_server(shares={"data": ShareSpec()}, users={"alice": (UserSpec(), "pw")}))
    assert operation.error is not None
    assert rig.mode.world.empty
    assert rig.find(SERVER) is None
    assert rig.share("data") is None
    assert rig.claims() == 0


def test_an_unexpected_exception_shows_only_an_incident(rig: Rig) -> None:
    rig.ready_server()

    def hook(step: str, action: str, phase: str) -> None:
        if (step, action) == ("apply", "ensure"):
            raise ValueError("inner secret")

    rig.mode.hook = hook
    operation = rig.finished(rig.create_share("data"))
    assert operation.error is not None
    assert operation.error["reason"] == "INTERNAL"
    assert "inner secret" not in str(operation.error)


def test_a_failed_update_puts_back_what_was(rig: Rig) -> None:
    rig.ready_server()
    rig.finished(rig.create_share("data", ShareSpec(comment="old")))

    def only_new(step: str, resource: Resource[Any]) -> PvesmbError | None:
        return PathUnsuitable("no") if step == "confirm" and resource.spec.comment == "new" else None

    rig.mode.refuse = only_new
    name = SERVER.child(Kind.SHARE, "data")
    operation = rig.control.update_share(Call(), name, lambda old: replace(old.spec, comment="new"))
    ended = rig.finished(rig.accepted(operation))
    assert ended.error is not None
    share = rig.share("data")
    assert share is not None
    assert share.spec.comment == "old"
    assert share.state is State.READY
    assert share.generation == share.observed_generation == 3, "there and back are two changes"
    assert rig.mode.world.of("apply")[str(name)].comment == "old"


def test_an_update_that_cannot_be_undone_says_so(rig: Rig) -> None:
    rig.ready_server()
    rig.finished(rig.create_share("data"))
    rig.mode.refuse = refuse("data")
    name = SERVER.child(Kind.SHARE, "data")
    operation = rig.control.update_share(Call(), name, lambda old: replace(old.spec, comment="new"))
    ended = rig.finished(rig.accepted(operation))
    assert ended.error is not None
    assert "undoing it failed too" in ended.error["message"]
    share = rig.share("data")
    assert share is not None
    assert share.state is State.DEGRADED
    assert [condition.type for condition in share.conditions] == ["UndoFailed"]
    rig.mode.refuse = lambda step, resource: None
    rig.worker.check(SERVER)
    rig.drain()
    healed = rig.share("data")
    assert healed is not None
    assert (healed.state, healed.conditions) == (State.READY, ())


def test_a_removal_that_fails_is_tried_again(rig: Rig) -> None:
    rig.ready_server()
    rig.finished(rig.create_share("data"))

    def hook(step: str, action: str, phase: str) -> None:
        if (step, action) == ("apply", "remove"):
            raise PathUnsuitable("busy")

    rig.mode.hook = hook
    name = SERVER.child(Kind.SHARE, "data")
    ended = rig.finished(rig.accepted(rig.control.delete_share(Call(), name, delete_data=True)))
    assert ended.error is not None
    share = rig.share("data")
    assert share is not None
    assert share.state is State.DELETING
    assert [condition.type for condition in share.conditions] == ["RemovalFailed"]
    rig.mode.hook = lambda step, action, phase: None
    rig.worker.check(SERVER)
    rig.drain()
    assert rig.share("data") is None
    assert str(name) not in rig.mode.world.of("apply")


STEPS = [
    (step, action, phase)
    for action in ("ensure", "remove")
    for step in ("process", "apply", "confirm")
    for phase in ("before", "after")
]


def kill_once(rig: Rig, point: tuple[str, str, str]) -> None:
    def hook(*now: str) -> None:
        if now == point:
            rig.mode.hook = lambda step, action, phase: None
            raise Killed

    rig.mode.hook = hook


@pytest.mark.parametrize("point", [p for p in STEPS if p[1] == "ensure"])
def test_a_kill_while_creating_ends_in_the_wanted_state(rig: Rig, point: tuple[str, str, str]) -> None:
    kill_once(rig, point)
    operation = rig.create_server(shares={"data": ShareSpec()}, users={"alice": (UserSpec(), "pw")})
    with pytest.raises(Killed):
        rig.drain()
    rig.reopen()
    ended = rig.finished(operation)
    assert ended.error is None
    assert ended.attempts == 2
    server = rig.find(SERVER)
    assert server is not None
    assert server.state is State.READY
    assert rig.mode.world.of("apply")[str(SERVER.child(Kind.USER, "alice"))] == "pw"


@pytest.mark.parametrize("point", [p for p in STEPS if p[1] == "remove"])
def test_a_kill_while_deleting_ends_in_nothing(rig: Rig, point: tuple[str, str, str]) -> None:
    assert rig.finished(rig.create_server(shares={"data": ShareSpec()})).error is None
    kill_once(rig, point)
    operation = rig.accepted(rig.control.delete_file_server(Call(), SERVER, force=True, delete_data=True))
    with pytest.raises(Killed):
        rig.drain()
    rig.reopen()
    assert rig.finished(operation).error is None
    assert rig.mode.world.empty
    assert rig.find(SERVER) is None
    assert rig.claims() == 0


@pytest.mark.parametrize("point", [p for p in STEPS if p[1] == "remove"])
def test_a_kill_while_undoing_ends_in_nothing(rig: Rig, point: tuple[str, str, str]) -> None:
    rig.mode.refuse = refuse("data")
    kill_once(rig, point)
    operation = rig.create_server(shares={"data": ShareSpec()})
    with pytest.raises(Killed):
        rig.drain()
    rig.mode.refuse = lambda step, resource: None
    rig.reopen()
    ended = rig.finished(operation)
    assert ended.error is not None, "an operation that has begun to be undone does not succeed after a kill"
    assert rig.mode.world.empty
    assert rig.find(SERVER) is None
    assert rig.claims() == 0


@pytest.mark.parametrize("point", [p for p in STEPS if p[:2] in (("apply", "ensure"), ("confirm", "ensure"))])
def test_a_kill_of_a_batch_loses_none_of_it(rig: Rig, point: tuple[str, str, str]) -> None:
    rig.ready_server()
    operations = [rig.create_share(f"s{i}") for i in range(5)]
    kill_once(rig, point)
    with pytest.raises(Killed):
        rig.drain()
    rig.reopen()
    later = rig.create_share("later")
    rig.drain()
    assert [rig.operation(op).error for op in [*operations, later]] == [None] * 6


def test_a_cancel_stops_at_the_next_step_and_undoes(rig: Rig) -> None:
    operation: list[str] = []

    def hook(step: str, action: str, phase: str) -> None:
        if (step, action, phase) == ("process", "ensure", "after"):
            with rig.store.transaction() as tx:
                tx.request_cancel(operation[0])

    rig.mode.hook = hook
    created = rig.create_server(shares={"data": ShareSpec()})
    operation.append(created.id)
    ended = rig.finished(created)
    assert ended.error is not None
    assert ended.error["reason"] == "OPERATION_CANCELLED"
    assert ("apply", "ensure", True) not in rig.telemetry.steps
    assert rig.mode.world.empty
    assert rig.find(SERVER) is None


def test_what_a_step_notes_goes_with_the_operation(rig: Rig) -> None:
    first = rig.mode.steps[0]

    class Noting(FakeStep):
        def ensure(self, work: Work) -> None:
            super().ensure(work)
            work.note("one volume is not mounted")

    assert isinstance(first, FakeStep)
    noting = Noting(first.name, first.server_only, first.world, first.hook, first.refuse)
    rig.mode.steps = [noting, *rig.mode.steps[1:]]
    ended = rig.finished(rig.create_server())
    assert ended.error is None
    assert [step.detail for step in ended.steps] == ["", "", "one volume is not mounted"]


def test_a_step_that_waits_learns_of_the_cancel(rig: Rig) -> None:
    """Only while it makes something; what brings back a former state goes through."""
    heard: list[tuple[bool, bool]] = []
    first = rig.mode.steps[1]

    class Waiting(FakeStep):
        def ensure(self, work: Work) -> None:
            before = work.cancelled()
            with rig.store.transaction() as tx:
                tx.request_cancel(operation)
            heard.append((before, work.cancelled()))
            super().ensure(work)

    assert isinstance(first, FakeStep)
    rig.ready_server()
    waiting = Waiting(first.name, first.server_only, first.world, first.hook, first.refuse)
    rig.mode.steps = [rig.mode.steps[0], waiting, *rig.mode.steps[2:]]
    update = rig.accepted(
        rig.control.update_file_server(Call(), SERVER, lambda old: replace(old.spec, description="other"))
    )
    operation = update.id
    ended = rig.finished(update)
    assert ended.error is not None
    assert ended.error["reason"] == "OPERATION_CANCELLED"
    assert heard == [(False, True), (False, False)]


def test_a_cancel_in_a_batch_spares_the_others(rig: Rig) -> None:
    rig.ready_server()
    stop, go = rig.create_share("stop"), rig.create_share("go")
    with rig.store.transaction() as tx:
        tx.request_cancel(stop.id)
    rig.drain()
    ended = rig.operation(stop)
    assert ended.error is not None
    assert ended.error["reason"] == "OPERATION_CANCELLED"
    assert rig.share("stop") is None
    assert rig.operation(go).error is None


def test_a_removal_can_be_cancelled_before_it_begins(rig: Rig) -> None:
    rig.ready_server()
    rig.finished(rig.create_share("data"))
    name = SERVER.child(Kind.SHARE, "data")
    operation = rig.accepted(rig.control.delete_share(Call(), name, delete_data=True))
    with rig.store.transaction() as tx:
        tx.request_cancel(operation.id)
    ended = rig.finished(operation)
    assert ended.error is not None
    assert ended.error["reason"] == "OPERATION_CANCELLED"
    share = rig.share("data")
    assert share is not None
    assert share.state is State.READY


def test_drift_is_repaired_and_counted(rig: Rig) -> None:
    rig.ready_server()
    rig.finished(rig.create_share("data"))
    del rig.mode.world.of("apply")[str(SERVER.child(Kind.SHARE, "data"))]
    rig.worker.check(SERVER)
    rig.drain()
    assert str(SERVER.child(Kind.SHARE, "data")) in rig.mode.world.of("apply")
    assert rig.telemetry.drifts == [(1, 1)]
    assert rig.telemetry.ended[-1] == ("REPAIR", "fileServers", "ok")


def test_a_check_that_finds_nothing_leaves_nothing(rig: Rig) -> None:
    rig.ready_server()
    with rig.store.snapshot() as tx:
        before = len(tx.operations_page(after=0, limit=100))
    rig.worker.check(SERVER)
    rig.worker.check(SERVER)
    rig.drain()
    with rig.store.snapshot() as tx:
        assert len(tx.operations_page(after=0, limit=100)) == before


def test_drift_is_only_reported_where_that_is_the_policy(rig: Rig) -> None:
    rig.ready_server()
    rig.finished(rig.create_share("data"))
    operation = rig.control.update_file_server(
        Call(), SERVER, lambda old: replace(old.spec, drift_policy=DriftPolicy.REPORT)
    )
    assert rig.finished(rig.accepted(operation)).error is None
    del rig.mode.world.of("apply")[str(SERVER.child(Kind.SHARE, "data"))]
    rig.worker.check(SERVER)
    rig.drain()
    share = rig.share("data")
    assert share is not None
    assert share.state is State.DEGRADED
    assert [(c.type, c.message) for c in share.conditions] == [("Drifted", "is not as desired")]
    assert str(share.name) not in rig.mode.world.of("apply")
    rig.mode.world.of("apply")[str(share.name)] = share.spec
    rig.worker.check(SERVER)
    rig.drain()
    mended = rig.share("data")
    assert mended is not None
    assert (mended.state, mended.conditions) == (State.READY, ())


def test_secrets_are_sealed_and_gone_when_the_operation_ends(rig: Rig, tmp_path: Path) -> None:
    rig.ready_server()
    operation = rig.create_user("alice", "unmistakable-canary")
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"unmistakable-canary" not in stored
    assert b"yranac-elbakatsimnu" in stored, "the fake vault turns it round"
    rig.finished(operation)
    with rig.store.snapshot() as tx:
        user = rig.find(SERVER.child(Kind.USER, "alice"))
        assert user is not None
        assert tx.secret(user.uid) is None


def test_server_changes_reach_the_server_steps(rig: Rig) -> None:
    rig.ready_server()
    operation = rig.control.update_file_server(Call(), SERVER, lambda old: FileServerSpec(description="new"))
    assert rig.finished(rig.accepted(operation)).error is None
    assert rig.mode.world.of("process")[str(SERVER)].description == "new"


def test_a_user_leaves_its_groups_when_it_is_gone_and_not_when_that_is_cancelled(rig: Rig) -> None:
    group = SERVER.child(Kind.GROUP, "g")
    contents = {"users": {"alice": (UserSpec(), "pw")}, "groups": {"g": GroupSpec(members=("alice",))}}
    assert rig.finished(rig.create_server(**contents)).error is None
    alice = SERVER.child(Kind.USER, "alice")
    cancelled = rig.accepted(rig.control.delete_user(Call(), alice))
    with rig.store.transaction() as tx:
        assert tx.contents(SERVER).groups[0].spec.members == (), "what is being deleted is no member any more"
        tx.request_cancel(cancelled.id)
    rig.drain()
    kept = rig.find(group)
    assert kept is not None
    assert kept.spec.members == ("alice",)
    assert rig.finished(rig.accepted(rig.control.delete_user(Call(), alice))).error is None
    left = rig.find(group)
    assert left is not None
    assert left.spec.members == ()
    assert left.generation == left.observed_generation == 2


def test_a_check_does_not_outlive_its_file_server(rig: Rig) -> None:
    rig.ready_server()
    rig.accepted(rig.control.delete_file_server(Call(), SERVER, force=False, delete_data=False))
    rig.worker.check(SERVER)
    rig.drain()
    with rig.store.snapshot() as tx:
        assert tx.pending_count() == 0


def test_an_account_that_is_being_made_is_not_built_on(rig: Rig) -> None:
    rig.ready_server()
    rig.create_user("bob")
    named = ShareSpec(access=(AccessRule(PrincipalKind.USER, "bob", AccessLevel.READ),))
    with pytest.raises(ResourceBusy):
        rig.create_share("data", named)
    with pytest.raises(ResourceBusy):
        rig.control.create_group(Call(), SERVER, "g", GroupSpec(members=("bob",)))
    rig.drain()
    assert rig.finished(rig.create_share("data", named)).error is None


def test_a_put_back_group_does_not_name_who_is_gone(rig: Rig) -> None:
    contents = {"users": {"ann": (UserSpec(), "pw")}, "groups": {"g": GroupSpec(members=("ann",))}}
    assert rig.finished(rig.create_server(**contents)).error is None
    group = SERVER.child(Kind.GROUP, "g")
    rig.accepted(rig.control.update_group(Call(), group, lambda old: replace(old.spec, description="new")))
    rig.accepted(rig.control.delete_user(Call(), SERVER.child(Kind.USER, "ann")))

    def only_new(step: str, resource: Resource[Any]) -> PvesmbError | None:
        new = isinstance(resource.spec, GroupSpec) and resource.spec.description == "new"
        return PathUnsuitable("no") if step == "confirm" and new else None

    rig.mode.refuse = only_new
    rig.drain()
    found = rig.find(group)
    assert found is not None
    assert found.spec == GroupSpec()


def test_cancelling_a_second_removal_does_not_bring_back_what_was_never_made(rig: Rig) -> None:
    rig.ready_server()
    rig.mode.refuse = refuse("data")

    def hook(step: str, action: str, phase: str) -> None:
        if (step, action) == ("apply", "remove"):
            raise PathUnsuitable("busy")

    rig.mode.hook = hook
    assert rig.finished(rig.create_share("data")).error is not None
    rig.mode.hook = lambda step, action, phase: None
    again = rig.accepted(rig.control.delete_share(Call(), SERVER.child(Kind.SHARE, "data"), delete_data=False))
    with rig.store.transaction() as tx:
        tx.request_cancel(again.id)
    assert rig.finished(again).error is None, "a removal that had begun goes on"
    assert rig.share("data") is None


def test_a_kill_while_a_check_removes_a_file_server_ends_in_nothing(rig: Rig) -> None:
    rig.ready_server()

    def fail(step: str, action: str, phase: str) -> None:
        if (step, action) == ("process", "remove"):
            raise PathUnsuitable("busy")

    rig.mode.hook = fail
    assert rig.finished(rig.accepted(rig.control.delete_file_server(Call(), SERVER, force=True, delete_data=False))).error
    kill_once(rig, ("process", "remove", "before"))
    rig.worker.check(SERVER)
    with pytest.raises(Killed):
        rig.drain()
    rig.reopen()
    rig.drain()
    assert rig.find(SERVER) is None
    assert rig.mode.world.empty


def test_a_check_does_not_judge_what_waits_to_be_made(rig: Rig) -> None:
    rig.ready_server()
    rig.worker.check(SERVER)
    later = rig.create_share("later")
    rig.drain()
    assert rig.telemetry.drifts == []
    assert rig.operation(later).error is None


def test_whoever_lost_the_lease_writes_nothing_more(rig: Rig) -> None:
    rig.ready_server()
    operation = rig.create_share("data")

    def taken_over(step: str, action: str, phase: str) -> None:
        if (step, action, phase) == ("confirm", "ensure", "after"):
            rig.mode.hook = lambda step, action, phase: None
            rig.clock.time += 61
            with rig.store.transaction() as tx:
                assert tx.lease("another", rig.clock.now(), 60.0, batch_length)

    rig.mode.hook = taken_over
    with pytest.raises(LeaseLost):
        rig.drain()
    assert not rig.operation(operation).done
