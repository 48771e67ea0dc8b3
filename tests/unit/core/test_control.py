"""What control accepts while other changes are under way, on a core that is run by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.core.control import Call, Control, Planned
from services.core.domain.account import GroupSpec
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind
from services.core.domain.resource import Resource, State
from services.core.domain.share import (
    AccessLevel,
    AccessRule,
    DirectoryStorage,
    FileCreation,
    PrincipalKind,
    ShareSpec,
)
from services.core.errors import (
    NotFound,
    PathUnsuitable,
    PreconditionFailed,
    PvesmbError,
    ResourceBusy,
    SambaUnavailable,
)
from tests.unit.core.rig import SERVER, Rig

DATA, ANNA, TEAM = SERVER.child(Kind.SHARE, "Data"), SERVER.child(Kind.USER, "anna"), SERVER.child(Kind.GROUP, "team")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    made.ready_server()
    yield made
    made.store.close()


def with_accounts(rig: Rig) -> None:
    assert rig.finished(rig.create_user("anna")).error is None
    rig.accepted(rig.control.create_group(Call(), SERVER, "team", GroupSpec(members=("anna",))))
    rig.drain()


NAMING: list[tuple[Any, ShareSpec]] = [
    (ANNA, ShareSpec(access=(AccessRule(PrincipalKind.USER, "anna", AccessLevel.READ),))),
    (TEAM, ShareSpec(access=(AccessRule(PrincipalKind.GROUP, "team", AccessLevel.DENY),))),
    (ANNA, ShareSpec(file_creation=FileCreation(force_user="anna"))),
    (TEAM, ShareSpec(file_creation=FileCreation(force_group="team"))),
]


def remove(control: Control, name: Any) -> Any:
    return control.delete_user(Call(), name) if name.kind is Kind.USER else control.delete_group(Call(), name)


@pytest.mark.parametrize(("principal", "spec"), NAMING)
def test_who_may_be_named_again_by_an_update_that_fails_stays(rig: Rig, principal: Any, spec: ShareSpec) -> None:
    with_accounts(rig)
    rig.finished(rig.create_share("Data", spec))
    update = rig.accepted(rig.control.update_share(Call(), DATA, lambda _: ShareSpec()))
    with pytest.raises(PreconditionFailed) as caught:
        remove(rig.control, principal)
    assert [violation.subject for violation in caught.value.violations] == [str(DATA)]
    assert rig.finished(update).error is None
    assert rig.finished(rig.accepted(remove(rig.control, principal))).error is None
    assert rig.find(principal) is None


@pytest.mark.parametrize(("principal", "spec"), NAMING)
def test_who_is_about_to_be_named_stays(rig: Rig, principal: Any, spec: ShareSpec) -> None:
    with_accounts(rig)
    rig.create_share("Data", spec)
    with pytest.raises(PreconditionFailed):
        remove(rig.control, principal)
    rig.drain()


def test_a_share_that_goes_names_nobody_any_more(rig: Rig) -> None:
    with_accounts(rig)
    rig.finished(rig.create_share("Data", NAMING[0][1]))
    rig.accepted(rig.control.delete_share(Call(), DATA, delete_data=False))
    deleted = rig.accepted(rig.control.delete_user(Call(), ANNA))
    assert rig.finished(deleted).error is None
    group = rig.find(TEAM)
    assert group is not None
    assert group.spec.members == ()


def fail_removal(rig: Rig, step: str) -> None:
    def hook(at: str, action: str, phase: str) -> None:
        if (at, action) == (step, "remove"):
            raise SambaUnavailable("no answer")

    rig.mode.hook = hook


def test_a_file_server_that_is_half_removed_says_how_to_go_on(rig: Rig) -> None:
    fail_removal(rig, "process")
    delete = rig.control.delete_file_server(Call(), SERVER, force=True, delete_data=False)
    assert rig.finished(rig.accepted(delete)).error is not None
    changes: list[Callable[[], object]] = [
        lambda: rig.create_share("Data"),
        lambda: rig.control.delete_share(Call(), DATA, delete_data=False),
        lambda: rig.create_user("anna"),
    ]
    for change in changes:
        with pytest.raises(ResourceBusy) as caught:
            change()
        assert caught.value.metadata == {}, "there is no operation to wait for"
        assert caught.value.help == "Delete the file server again; its conditions say why that failed."
    rig.mode.hook = lambda *_: None
    again = rig.control.delete_file_server(Call(), SERVER, force=False, delete_data=False)
    assert rig.finished(rig.accepted(again)).error is None
    assert rig.find(SERVER) is None


def test_a_share_that_is_half_removed_is_not_updated_but_removed_again(rig: Rig) -> None:
    rig.finished(rig.create_share("Data"))
    fail_removal(rig, "apply")
    assert rig.finished(rig.accepted(rig.control.delete_share(Call(), DATA, delete_data=True))).error is not None
    share = rig.share("Data")
    assert share is not None
    assert (share.state, share.assigned["removal"]) == (State.DELETING, {"delete_data": True, "begun": False})
    with pytest.raises(PreconditionFailed):
        rig.control.update_share(Call(), DATA, lambda old: replace(old.spec, comment="x"))
    rig.mode.hook = lambda *_: None
    assert rig.finished(rig.accepted(rig.control.delete_share(Call(), DATA, delete_data=False))).error is None
    assert rig.share("Data") is None


def test_contents_wait_for_a_change_of_the_server_but_are_accepted(rig: Rig) -> None:
    first = rig.accepted(rig.control.update_file_server(Call(), SERVER, lambda old: replace(old.spec, description="new")))
    second = rig.create_share("Data")
    rig.drain()
    assert rig.operation(first).error is None
    assert rig.operation(second).error is None


def test_an_update_that_fails_twice_keeps_what_it_had_before_each(rig: Rig) -> None:
    rig.finished(rig.create_share("Data", ShareSpec(comment="good")))

    def refuse(step: str, resource: Resource[Any]) -> PvesmbError | None:
        return PathUnsuitable("no") if getattr(resource.spec, "comment", "") == "bad" else None

    rig.mode.refuse = refuse
    for _ in range(2):
        update = rig.control.update_share(Call(), DATA, lambda old: replace(old.spec, comment="bad"))
        assert rig.finished(rig.accepted(update)).error is not None
    share = rig.share("Data")
    assert share is not None
    assert share.spec.comment == "good"
    assert (share.generation, share.observed_generation) == (5, 5)


def test_a_plan_leaves_the_store_as_it_is(rig: Rig) -> None:
    with_accounts(rig)

    def dump() -> list[Any]:
        with rig.store.snapshot() as tx:
            resources = tx.members(SERVER, Kind.FILE_SERVER, Kind.SHARE, Kind.USER, Kind.GROUP)
            return [resources, tx.operations_page(after=0, limit=100), [tx.busy_with(r.name) for r in resources]]

    before = dump()
    plan = Call(validate_only=True, request_id="r", fingerprint="f")
    answers = [
        rig.control.create_share(plan, SERVER, "Data", ShareSpec()),
        rig.control.reset_password(plan, ANNA, "new", end_sessions=True),
        rig.control.delete_user(plan, ANNA),
        rig.control.update_group(plan, TEAM, lambda old: GroupSpec()),
        rig.control.update_file_server(plan, SERVER, lambda old: FileServerSpec(description="x")),
        rig.control.delete_file_server(plan, SERVER, force=True, delete_data=True),
    ]
    assert all(isinstance(answer, Planned) for answer in answers)
    assert dump() == before
    assert rig.finished(rig.create_user("bert")).error is None


def test_pages_of_what_is_not_there(rig: Rig) -> None:
    with pytest.raises(NotFound):
        rig.control.page(Kind.SHARE, replace(SERVER, file_server="none"), after="", limit=1)
    with pytest.raises(NotFound):
        rig.control.get(DATA)


def test_data_is_not_deleted_through_another_shares_directory(rig: Rig) -> None:
    rig.mode.share_path = lambda server, id, spec: spec.storage.path  # type: ignore[method-assign,union-attr]
    for id, path in (("Data", "/d/a"), ("Inner", "/d/a/b/c"), ("Beside", "/d/ab")):
        rig.finished(rig.create_share(id, ShareSpec(storage=DirectoryStorage(path))))
    with pytest.raises(PreconditionFailed) as caught:
        rig.control.delete_share(Call(), DATA, delete_data=True)
    assert [violation.subject for violation in caught.value.violations] == [str(SERVER.child(Kind.SHARE, "Inner"))]
    assert rig.finished(rig.accepted(rig.control.delete_share(Call(), DATA, delete_data=False))).error is None
