"""What all changes have in common: request_id and validate_only."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from pvesmb.v1 import (
    common_pb2,
    file_server_pb2,
    file_server_service_pb2,
    group_service_pb2,
    share_pb2,
    share_service_pb2,
    user_pb2,
    user_service_pb2,
)

from services.core.steps import Plan, Work
from tests.wire.backend.backend import BACKEND, SERVER, Backend, metadata, new_group, new_share, new_user, refused, response

ID = "0b9e5b5c-6d6e-4f0e-8f5c-2f6f3f5d8a11"

ANNA = user_pb2.User(name=f"{SERVER}/users/anna", disabled=True)
TEAM = user_pb2.Group(name=f"{SERVER}/groups/team", description="new")
DATA = share_pb2.Share(name=f"{SERVER}/shares/Data", comment="new")
FS = file_server_pb2.FileServer(name=SERVER, description="new")

#: Each method that changes something, with a good request of it on a backend that has `fs`, `anna`, `team` and `Data`.
CHANGES: dict[str, tuple[str, Any]] = {
    "CreateFileServer": (
        "servers",
        file_server_service_pb2.CreateFileServerRequest(parent=BACKEND, file_server_id="other"),
    ),
    "UpdateFileServer": ("servers", file_server_service_pb2.UpdateFileServerRequest(file_server=FS)),
    "DeleteFileServer": ("servers", file_server_service_pb2.DeleteFileServerRequest(name=SERVER, force=True)),
    "CreateShare": ("shares", new_share("Other")),
    "UpdateShare": ("shares", share_service_pb2.UpdateShareRequest(share=DATA)),
    "DeleteShare": ("shares", share_service_pb2.DeleteShareRequest(name=DATA.name)),
    "CreateUser": ("users", new_user("bert")),
    "UpdateUser": ("users", user_service_pb2.UpdateUserRequest(user=ANNA)),
    "ResetPassword": ("users", user_service_pb2.ResetPasswordRequest(name=ANNA.name, password="other")),
    "DeleteUser": ("users", user_service_pb2.DeleteUserRequest(name=ANNA.name)),
    "CreateGroup": ("groups", new_group("rest", "anna")),
    "UpdateGroup": ("groups", group_service_pb2.UpdateGroupRequest(group=TEAM)),
    "DeleteGroup": ("groups", group_service_pb2.DeleteGroupRequest(name=TEAM.name)),
}


def prepared(backend: Backend, method: str, **fields: Any) -> tuple[Callable[..., Any], Any]:
    """The call of a method, and its request with these fields."""
    stub, request = CHANGES[method]
    copy = type(request)()
    copy.CopyFrom(request)
    for field, value in fields.items():
        setattr(copy, field, value)
    return getattr(getattr(backend, stub), method), copy


def fill(backend: Backend) -> None:
    backend.ready("anna")
    backend.done(backend.create_group("team"), user_pb2.Group)
    backend.done(backend.create_share("Data"), share_pb2.Share)


def seen(backend: Backend) -> list[Any]:
    """Everything that a caller can see."""
    servers = backend.servers.ListFileServers(file_server_service_pb2.ListFileServersRequest(parent=BACKEND))
    shares = backend.shares.ListShares(share_service_pb2.ListSharesRequest(parent=SERVER))
    users = backend.users.ListUsers(user_service_pb2.ListUsersRequest(parent=SERVER))
    groups = backend.groups.ListGroups(group_service_pb2.ListGroupsRequest(parent=SERVER))
    return [servers, shares, users, groups, backend.operation_names()]


@pytest.mark.parametrize("method", CHANGES)
def test_a_repeated_request_is_the_same_operation(backend: Backend, method: str) -> None:
    fill(backend)
    call, request = prepared(backend, method, request_id=ID)
    first = call(request)
    ended = backend.wait(first)
    assert ended.HasField("response")
    assert metadata(ended).request_id == ID
    before = backend.operation_names()
    assert call(request) == ended
    assert backend.operation_names() == before
    backend.clock.time += 24 * 3600 - 1
    backend.reopen()
    call, request = prepared(backend, method, request_id=ID)
    assert call(request).name == first.name


def test_a_repetition_while_it_runs_is_the_same_operation(backend: Backend) -> None:
    fill(backend)
    gate = backend.hold()
    call, request = prepared(backend, "UpdateShare", request_id=ID)
    first = call(request)
    gate.reached()
    assert call(request).name == first.name
    gate.open()
    backend.done(first, share_pb2.Share)


def test_after_a_day_a_request_id_is_new(backend: Backend) -> None:
    fill(backend)
    call, request = prepared(backend, "UpdateShare", request_id=ID)
    first = call(request)
    backend.wait(first)
    backend.clock.time += 24 * 3600
    again = call(request)
    assert again.name != first.name
    backend.wait(again)


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("CreateShare", {"share_id": "Third"}),
        ("CreateShare", {"validate_only": True}),
        ("DeleteShare", {"delete_data": True}),
        ("ResetPassword", {"password": "yet another"}),
        ("ResetPassword", {"end_sessions": True}),
        ("DeleteFileServer", {"etag": "x"}),
    ],
)
def test_a_request_id_is_for_one_request(backend: Backend, method: str, fields: dict[str, Any]) -> None:
    fill(backend)
    call, request = prepared(backend, method, request_id=ID)
    operation = call(request)
    found = refused(call, prepared(backend, method, request_id=ID, **fields)[1])
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert ID in found.message
    other_call, other = prepared(backend, "CreateUser", request_id=ID)
    assert refused(other_call, other).reason == "REQUEST_ID_REUSED"
    backend.wait(operation)


def test_a_request_that_was_refused_does_not_use_its_id(backend: Backend) -> None:
    call, request = prepared(backend, "CreateShare", request_id=ID)
    assert refused(call, request).reason == "RESOURCE_NOT_FOUND"
    fill(backend)
    backend.done(call(request), share_pb2.Share)


@pytest.mark.parametrize("method", ["CreateFileServer", "CreateShare", "UpdateShare", "ResetPassword", "DeleteUser"])
def test_duplicates_that_come_at_once_are_one(backend: Backend, method: str) -> None:
    fill(backend)
    call, request = prepared(backend, method, request_id=str(uuid.uuid4()))
    before = len(backend.operation_names())
    barrier, names = threading.Barrier(8), []

    def send() -> None:
        barrier.wait(30)
        names.append(call(request, timeout=30).name)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 8
    assert len(set(names)) == 1
    assert len(backend.operation_names()) == before + 1


@pytest.mark.parametrize("text", ["x", "1", ID[:-1], ID + "0", "' OR 1"])
def test_a_request_id_must_be_a_uuid(unchanged: Backend, text: str) -> None:
    for method in CHANGES:
        call, request = prepared(unchanged, method, request_id=text)
        found = refused(call, request)
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert found.fields == {"request_id": "must be a UUID"}


@pytest.mark.parametrize("method", CHANGES)
def test_a_plan_tells_and_changes_nothing(unchanged: Backend, method: str) -> None:
    before, world = seen(unchanged), repr(unchanged.mode.world.things)
    call, request = prepared(unchanged, method, validate_only=True, request_id=ID)
    answer = call(request)
    assert (answer.name, answer.done) == ("", True)
    told = metadata(answer)
    assert told.target
    assert told.plan.steps == (["process", "apply", "confirm"] if "FileServer" in method else ["apply", "confirm"])
    if "FileServer" not in method:
        assert told.plan.effects == [told.target.rpartition("/")[2]]
    if method.startswith("Delete"):
        assert answer.response.TypeName() == "google.protobuf.Empty"
    else:
        assert answer.response.TypeName().startswith("pvesmb.v1.")
    assert call(request).done, "nothing was remembered under the request_id"
    assert seen(unchanged) == before
    assert repr(unchanged.mode.world.things) == world


def test_a_plan_shows_the_resource_as_it_would_be(unchanged: Backend) -> None:
    call, request = prepared(unchanged, "UpdateShare", validate_only=True)
    share = response(call(request), share_pb2.Share)
    assert (share.comment, share.generation, share.state) == ("new", 2, common_pb2.RESOURCE_STATE_UPDATING)


def test_a_plan_for_a_server_tells_of_its_contents(unchanged: Backend) -> None:
    shares = [file_server_service_pb2.InitialShare(share_id="Akten")]
    call, request = prepared(unchanged, "CreateFileServer", validate_only=True)
    request.shares.extend(shares)
    assert metadata(call(request)).plan.effects == ["Akten"]
    call, request = prepared(unchanged, "DeleteFileServer", validate_only=True)
    assert sorted(metadata(call(request)).plan.effects) == ["Data", "anna", "team"]


def test_a_plan_uses_no_number(backend: Backend) -> None:
    backend.ready()
    first = backend.done(backend.create_user("anna"), user_pb2.User).unix_id
    for _ in range(3):
        backend.create_user("bert", validate_only=True)
    assert backend.done(backend.create_user("bert"), user_pb2.User).unix_id == first + 1


def test_a_plan_makes_all_checks(unchanged: Backend) -> None:
    assert refused(unchanged.shares.CreateShare, new_share("Data", validate_only=True)).reason == "RESOURCE_EXISTS"
    found = refused(unchanged.groups.CreateGroup, new_group("rest", "nobody-knows", validate_only=True))
    assert list(found.fields) == ["group.members[0]"]
    call, request = prepared(unchanged, "DeleteShare", validate_only=True, etag="other")
    assert refused(call, request).reason == "ETAG_MISMATCH"
    call, request = prepared(unchanged, "DeleteFileServer", validate_only=True, force=False)
    assert refused(call, request).reason == "PRECONDITION_FAILED"


def test_other_effects_and_the_difference_are_told(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(work: Work) -> Plan:
        return Plan(("apply",), "-old\n+new\n", ("sessions end",))

    backend.ready()
    monkeypatch.setattr(backend.mode, "plan", plan)
    told = metadata(backend.create_share("Data", validate_only=True)).plan
    assert told == common_pb2.Plan(steps=["apply"], smb_conf_diff="-old\n+new\n", effects=["sessions end"])


def test_one_uuid_has_one_spelling(backend: Backend) -> None:
    fill(backend)
    call, request = prepared(backend, "CreateShare", request_id=ID)
    first = call(request)
    for spelling in (ID.upper(), ID.replace("-", ""), f"{{{ID}}}"):
        request.request_id = spelling
        assert call(request).name == first.name
