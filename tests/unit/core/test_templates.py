"""Templates in the store: built, kept, refused, killed half way. On fake steps, and a real SQLite store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.core.control import Call, NewContents, Planned
from services.core.domain.file_server import FileServerSpec
from services.core.domain.guest import GuestPlacement, LxcDeployment
from services.core.domain.names import template_name
from services.core.domain.operation import Operation, StepState, Verb
from services.core.domain.resource import State
from services.core.errors import (
    EtagMismatch,
    FeatureNotAvailable,
    InvalidField,
    NotFound,
    OperationCancelled,
    PreconditionFailed,
    ProxmoxFailed,
    ResourceBusy,
)
from services.core.runs.making import Teller
from services.core.steps import Claim
from tests.fakes import Killed
from tests.unit.core.rig import SERVER, Rig

OURS = template_name("b", "ours-12")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.store.close()


def build(rig: Rig, release: int = 0, *, rebuild: bool = False, call: Call | None = None) -> Operation:
    return rig.accepted(rig.control.build_template(call or Call(), release, rebuild=rebuild))


def delete(rig: Rig, call: Call | None = None) -> Operation:
    return rig.accepted(rig.control.delete_template(call or Call(), OURS))


def test_one_is_built_and_kept(rig: Rig) -> None:
    operation = rig.finished(build(rig))
    assert (operation.error, operation.progress_percent, operation.verb) == (None, 100, Verb.CREATE)
    found = rig.control.get_template(OURS)
    assert (found.state, found.spec.debian_release, found.assigned["size"]) == (State.READY, 12, 1000)
    assert rig.control.is_current(found)
    again = rig.finished(build(rig))
    assert (again.error, again.verb) == (None, Verb.UPDATE)
    assert rig.control.get_template(OURS).uid == found.uid


def test_how_far_it_is_can_be_seen_while_it_is_built(rig: Rig) -> None:
    operation, seen = build(rig), []

    def look(step: str, action: str, phase: str) -> None:
        if (step, phase) == ("build", "after"):
            seen.append(rig.operation(operation))

    rig.templates.hook = look
    rig.drain()
    assert [(step.name, step.state, step.detail, step.percent) for step in seen[0].steps] == [
        ("build", StepState.RUNNING, "fetching", 25),
        ("upload", StepState.PENDING, "", 0),
    ]
    assert seen[0].progress_percent == 12


def test_many_words_are_few_writes() -> None:
    told: list[tuple[int, str]] = []
    teller = Teller(lambda percent, text: told.append((percent, text)))
    for number in range(1, 1001):
        teller(number / 1000, str(number))
    assert told[0] == (0, "1") and len(told) < 500


def test_what_cannot_be_built_leaves_nothing(rig: Rig) -> None:
    def fail(step: str, action: str, phase: str) -> None:
        if (step, action, phase) == ("upload", "ensure", "after"):
            raise ProxmoxFailed("no")

    rig.templates.hook = fail
    operation = rig.finished(build(rig))
    assert operation.error is not None and operation.error["reason"] == "PROXMOX_FAILED"
    assert rig.find(OURS) is None and rig.templates.held == {} and rig.claims() == 0


def test_a_cancelled_build_leaves_nothing(rig: Rig) -> None:
    operation = build(rig)

    def cancel(step: str, action: str, phase: str) -> None:
        if (step, action, phase) == ("build", "ensure", "before"):
            with rig.store.transaction() as tx:
                tx.request_cancel(operation.id)

    rig.templates.hook = cancel
    ended = rig.finished(operation)
    assert ended.error is not None and ended.error["reason"] == OperationCancelled.reason
    assert rig.find(OURS) is None and rig.templates.held == {} and rig.claims() == 0


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("step", ["build", "upload"])
@pytest.mark.parametrize("action", ["ensure", "remove"])
def test_killed_at_every_place_it_ends_as_wanted(rig: Rig, step: str, action: str, phase: str) -> None:
    def kill(*place: str) -> None:
        if place == (step, action, phase):
            rig.templates.hook = lambda *_: None
            raise Killed

    if action == "ensure":
        rig.templates.hook = kill
        operation = build(rig)
    else:
        rig.finished(build(rig))
        rig.templates.hook = kill
        operation = delete(rig)
    if (step, action, phase) == ("build", "remove", "after"):
        rig.templates.hook = lambda *_: None  # nothing happens there
        rig.drain()
    else:
        with pytest.raises(Killed):
            rig.drain()
        rig.reopen()
    assert rig.finished(operation).error is None
    if action == "ensure":
        assert rig.control.get_template(OURS).state is State.READY and list(rig.templates.held) == ["local:ours-12"]
    else:
        assert rig.find(OURS) is None and rig.templates.held == {} and rig.claims() == 0


def test_while_one_is_built_it_is_busy(rig: Rig) -> None:
    first = build(rig)
    with pytest.raises(ResourceBusy) as caught:
        build(rig)
    assert caught.value.metadata == {"operation": f"backends/b/operations/{first.id}"}
    with pytest.raises(ResourceBusy):
        delete(rig)
    other = build(rig, 13)
    assert rig.finished(other).error is None and rig.operation(first).error is None


def test_a_failed_rebuild_leaves_the_former_one(rig: Rig) -> None:
    rig.finished(build(rig))
    options = []

    def fail(step: str, action: str, phase: str) -> None:
        options.append(step)
        if step == "build" and phase == "before" and len(options) == 1:
            raise ProxmoxFailed("no mirror")

    rig.templates.hook = fail
    operation = rig.finished(build(rig, rebuild=True))
    assert operation.error is not None and operation.error["message"] == "no mirror"
    assert rig.control.get_template(OURS).state is State.READY


def test_one_that_is_used_is_not_removed(rig: Rig) -> None:
    rig.finished(build(rig))
    rig.ready_server()
    server = rig.find(SERVER)
    assert server is not None
    with rig.store.transaction() as tx:
        tx.put_claim(Claim("guest", "100", server.uid, {"node": "pve1", "template": "local:ours-12"}))
    with pytest.raises(PreconditionFailed, match="in use") as caught:
        delete(rig)
    assert [violation.subject for violation in caught.value.violations] == [str(SERVER)]
    with rig.store.transaction() as tx:
        tx.release_claim("guest", "100", server.uid)
    assert rig.finished(delete(rig)).error is None
    assert rig.templates.held == {}


def test_one_that_is_named_is_not_removed(rig: Rig) -> None:
    rig.finished(build(rig))
    spec = FileServerSpec(lxc=LxcDeployment(GuestPlacement(template=str(OURS))))
    rig.control.create_file_server(Call(), "fs", spec, NewContents())
    with pytest.raises(PreconditionFailed, match="in use"):
        delete(rig)


def test_what_was_found_is_listed_and_never_removed(rig: Rig) -> None:
    rig.templates.held["local:debian-12-standard"] = 7
    rig.finished(build(rig))
    listed = rig.control.templates(after="", limit=10)
    assert [(each.name.last, bool(each.uid), each.assigned["size"]) for each in listed] == [
        ("debian-12-standard", False, 7),
        ("ours-12", True, 1000),
    ]
    assert rig.control.templates(after="debian-12-standard", limit=10) == listed[1:]
    assert rig.control.templates(after="", limit=1) == listed[:1]
    name = template_name("b", "debian-12-standard")
    assert rig.control.get_template(name) == listed[0] and not rig.control.is_current(listed[0])
    with pytest.raises(PreconditionFailed, match="was not built by this backend"):
        rig.control.delete_template(Call(), name)
    with pytest.raises(NotFound):
        rig.control.delete_template(Call(), template_name("b", "none"))


def test_one_that_vanished_is_told_and_not_built_unasked(rig: Rig) -> None:
    rig.finished(build(rig))
    rig.templates.held.clear()
    rig.worker.check_all()
    rig.drain()
    found = rig.control.get_template(OURS)
    assert found.state is State.DEGRADED and [each.type for each in found.conditions] == ["Drifted"]
    assert rig.templates.held == {}
    assert [each.type for each in rig.control.validate_template(OURS)[1]] == ["TemplateMissing"]
    assert rig.finished(build(rig)).error is None
    assert rig.control.get_template(OURS).conditions == ()


def test_a_removal_that_failed_is_tried_again_by_the_check(rig: Rig) -> None:
    rig.finished(build(rig))

    def fail(step: str, action: str, phase: str) -> None:
        if (step, action) == ("upload", "remove"):
            raise ProxmoxFailed("no")

    rig.templates.hook = fail
    assert rig.finished(delete(rig)).error is not None
    found = rig.find(OURS)
    assert found is not None and found.state is State.DELETING
    with pytest.raises(PreconditionFailed):
        build(rig)
    rig.templates.hook = lambda *_: None
    rig.worker.check_all()
    rig.drain()
    assert rig.find(OURS) is None and rig.templates.held == {}


def test_what_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidField, match="debian_release"):
        build(rig, 11)
    rig.finished(build(rig))
    with pytest.raises(EtagMismatch):
        delete(rig, Call(etag="x"))
    planned = rig.control.build_template(Call(validate_only=True), 13, rebuild=False)
    assert isinstance(planned, Planned)
    assert planned.plan.steps == ("build", "upload") and planned.plan.effects == ("local:ours-13",)
    assert rig.find(template_name("b", "ours-13")) is None
    rig.control._templates = None
    with pytest.raises(FeatureNotAvailable):
        build(rig)
    assert [each.name.last for each in rig.control.templates(after="", limit=9)] == ["ours-12"]
