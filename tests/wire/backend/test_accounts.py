"""Every method of UserService and GroupService."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from pvesmb.v1 import common_pb2, group_service_pb2, share_pb2, user_pb2, user_service_pb2

from services.core.errors import SambaUnavailable
from tests.wire.backend.backend import READY, SERVER, Backend, Gate, metadata, new_group, new_user, refused, rule

ANNA = f"{SERVER}/users/anna"
TEAM = f"{SERVER}/groups/team"
FORBIDDEN = ["Anna", "1a", "-a", ".a", "a.", "a/b", "..", "a%", "a]", "a:", "ä", "a$"]
RESERVED = ["root", "nobody", "daemon", "administrator", "guest", "everyone", "pvesmb", "pvesmb-probe"]


def update_user(user: user_pb2.User, *paths: str) -> user_service_pb2.UpdateUserRequest:
    request = user_service_pb2.UpdateUserRequest(user=user)
    request.update_mask.paths.extend(paths)
    return request


def update_group(group: user_pb2.Group, *paths: str) -> group_service_pb2.UpdateGroupRequest:
    request = group_service_pb2.UpdateGroupRequest(group=group)
    request.update_mask.paths.extend(paths)
    return request


def reset(**fields: Any) -> user_service_pb2.ResetPasswordRequest:
    return user_service_pb2.ResetPasswordRequest(**{"name": ANNA, "password": "neues geheim", **fields})


def delete_user(**fields: Any) -> user_service_pb2.DeleteUserRequest:
    return user_service_pb2.DeleteUserRequest(**{"name": ANNA, **fields})


def delete_group(**fields: Any) -> group_service_pb2.DeleteGroupRequest:
    return group_service_pb2.DeleteGroupRequest(**{"name": TEAM, **fields})


def applied(backend: Backend, name: str) -> Any:
    """What the mode has been told of a resource: for users, the last password."""
    return backend.mode.world.of("apply").get(name)


def test_create_update_get_and_delete_a_user(backend: Backend) -> None:
    backend.ready()
    wanted = user_pb2.User(full_name="Anna Ä.", labels={"a": "b"}, password="geheim")
    made = backend.done(backend.create_user("anna", user=wanted), user_pb2.User)
    assert (made.name, made.full_name, dict(made.labels), made.disabled) == (ANNA, "Anna Ä.", {"a": "b"}, False)
    assert (made.state, made.generation, made.observed_generation) == (READY, 1, 1)
    assert made.unix_id >= backend.mode.id_first
    assert backend.get_user("anna") == made
    assert applied(backend, ANNA) == "geheim"
    changed = backend.done(
        backend.users.UpdateUser(update_user(user_pb2.User(name=ANNA, disabled=True), "disabled")), type(made)
    )
    assert (changed.disabled, changed.full_name, changed.generation) == (True, "Anna Ä.", 2)
    assert changed.unix_id == made.unix_id
    backend.done(backend.users.DeleteUser(delete_user()))
    found = refused(backend.users.GetUser, user_service_pb2.GetUserRequest(name=ANNA))
    assert (found.code, found.reason, found.metadata) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", {"name": ANNA})
    again = backend.done(backend.create_user("anna"), user_pb2.User)
    assert again.unix_id != made.unix_id, "files of the former owner may still be there"
    assert again.uid != made.uid


def test_create_update_get_and_delete_a_group(backend: Backend) -> None:
    backend.ready("anna", "bert")
    wanted = user_pb2.Group(description="Alle", labels={"a": "b"}, members=["anna"])
    made = backend.done(backend.create_group("team", group=wanted), user_pb2.Group)
    assert (made.name, made.description, dict(made.labels), made.members) == (TEAM, "Alle", {"a": "b"}, ["anna"])
    assert (made.state, made.generation, made.observed_generation) == (READY, 1, 1)
    assert made.unix_id not in (0, backend.get_user("anna").unix_id, backend.get_user("bert").unix_id)
    assert backend.get_group("team") == made
    wanted = user_pb2.Group(name=TEAM, members=["anna", "bert"])
    changed = backend.done(backend.groups.UpdateGroup(update_group(wanted, "members")), user_pb2.Group)
    assert (changed.members, changed.description, changed.generation) == (["anna", "bert"], "Alle", 2)
    backend.done(backend.groups.DeleteGroup(delete_group()))
    found = refused(backend.groups.GetGroup, group_service_pb2.GetGroupRequest(name=TEAM))
    assert (found.code, found.reason, found.metadata) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", {"name": TEAM})


@pytest.mark.parametrize("id", ["a", "anna.b_c-d", "a" * 32, "a1"])
def test_ids_that_are_accepted(backend: Backend, id: str) -> None:
    backend.ready()
    assert backend.done(backend.create_user(id), user_pb2.User).name == f"{SERVER}/users/{id}"


@pytest.mark.parametrize("id", ["", "a b", "a\0", "a\n", "a" * 33, *FORBIDDEN, *RESERVED])
def test_ids_that_are_refused(unchanged: Backend, id: str) -> None:
    for field, found in (
        ("user_id", refused(unchanged.users.CreateUser, new_user(id))),
        ("group_id", refused(unchanged.groups.CreateGroup, new_group(id))),
    ):
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert list(found.fields) == [field]


@pytest.mark.parametrize("password", ["", "x" * 128, "tab\t", "nul\0", "line\n", "\x7f"])
def test_passwords_that_samba_cannot_take(backend: Backend, password: str) -> None:
    backend.ready("anna")
    created = refused(backend.users.CreateUser, new_user("bert", password))
    was_reset = refused(backend.users.ResetPassword, reset(password=password))
    for field, found in (("user.password", created), ("password", was_reset)):
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert list(found.fields) == [field]
        assert not password or password not in str(found)
    assert applied(backend, ANNA) == "first geheim"


@pytest.mark.parametrize("password", ["x", "p" * 127, " ", "Pässwort €", "a:b%c\"d'e\\f"])
def test_passwords_that_are_taken_as_they_are(backend: Backend, password: str) -> None:
    backend.ready()
    backend.done(backend.create_user("anna", password), user_pb2.User)
    assert applied(backend, ANNA) == password


def test_a_password_is_not_updated(backend: Backend) -> None:
    backend.ready("anna")
    for request in (
        update_user(user_pb2.User(name=ANNA, password="other")),
        update_user(user_pb2.User(name=ANNA, password="other"), "disabled"),
        update_user(user_pb2.User(name=ANNA), "password"),
    ):
        found = refused(backend.users.UpdateUser, request)
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert found.fields == {"user.password": "cannot be updated; call ResetPassword"}
        assert "other" not in found.message
    assert applied(backend, ANNA) == "first geheim"


def test_reset_password(backend: Backend) -> None:
    backend.ready("anna")
    before = backend.get_user("anna")
    operation = backend.users.ResetPassword(reset(end_sessions=True))
    assert metadata(operation).verb == type(metadata(operation)).VERB_RESET_PASSWORD
    after = backend.done(operation, user_pb2.User)
    assert applied(backend, ANNA) == "neues geheim"
    assert after == before, "the desired state is the same"


def test_reset_of_a_user_that_is_half_removed_is_refused(backend: Backend) -> None:
    backend.ready("anna")

    def fail(step: str, action: str, phase: str) -> None:
        if (step, action) == ("apply", "remove"):
            raise SambaUnavailable("no answer")

    backend.mode.hook = fail
    found = backend.failed(backend.users.DeleteUser(delete_user()))
    assert (found.code, found.reason) == (grpc.StatusCode.UNAVAILABLE, "SAMBA_UNAVAILABLE")
    user = backend.get_user("anna")
    assert user.state == common_pb2.RESOURCE_STATE_DELETING
    assert [(c.type, c.reason, c.severity) for c in user.conditions] == [
        ("RemovalFailed", "SAMBA_UNAVAILABLE", common_pb2.Condition.SEVERITY_ERROR)
    ]
    assert user.conditions[0].action
    for refusal in (
        refused(backend.users.ResetPassword, reset()),
        refused(backend.users.UpdateUser, update_user(user_pb2.User(name=ANNA, full_name="A"))),
    ):
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED")
        assert refusal.unmet == {ANNA: "is being removed"}
    found = refused(backend.groups.CreateGroup, new_group("team", "anna"))
    assert list(found.fields) == ["group.members[0]"], "one that goes is no member any more"
    backend.mode.hook = lambda *_: None
    backend.done(backend.users.DeleteUser(delete_user()))
    assert refused(backend.users.GetUser, user_service_pb2.GetUserRequest(name=ANNA)).reason == "RESOURCE_NOT_FOUND"


def test_users_and_groups_share_their_names(backend: Backend) -> None:
    backend.ready("anna")
    backend.done(backend.create_group("team"), user_pb2.Group)
    user, group = (
        refused(backend.users.CreateUser, new_user("team")),
        refused(backend.groups.CreateGroup, new_group("anna")),
    )
    assert (user.code, user.reason, user.metadata) == (grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS", {"name": TEAM})
    assert (group.code, group.reason, group.metadata) == (grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS", {"name": ANNA})
    twice = refused(backend.users.CreateUser, new_user("anna"))
    assert (twice.code, twice.reason, twice.metadata) == (grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS", {"name": ANNA})
    again = refused(backend.groups.CreateGroup, new_group("team"))
    assert (again.code, again.reason, again.metadata) == (grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS", {"name": TEAM})


NAMING = [
    {"access": [rule("READ", user="anna")]},
    {"access": [rule("DENY", user="anna")]},
    {"directory": {"owner": "anna"}},
    {"file_creation": {"force_user": "anna"}},
]


@pytest.mark.parametrize("share", NAMING)
def test_a_user_that_a_share_names_stays(backend: Backend, share: dict[str, Any]) -> None:
    backend.ready("anna")
    backend.done(backend.create_share("Data", share_pb2.Share(**share)), share_pb2.Share)
    found = refused(backend.users.DeleteUser, delete_user())
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED")
    assert found.unmet == {f"{SERVER}/shares/Data": "names the user"}
    backend.done(backend.delete_share("Data"))
    backend.done(backend.users.DeleteUser(delete_user()))


@pytest.mark.parametrize(
    "share",
    [
        {"access": [rule("READ", group="team")]},
        {"directory": {"group": "team"}},
        {"file_creation": {"force_group": "team"}},
    ],
)
def test_a_group_that_a_share_names_stays(backend: Backend, share: dict[str, Any]) -> None:
    backend.ready()
    backend.done(backend.create_group("team"), user_pb2.Group)
    backend.done(backend.create_share("Data", share_pb2.Share(**share)), share_pb2.Share)
    found = refused(backend.groups.DeleteGroup, delete_group())
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED")
    assert found.unmet == {f"{SERVER}/shares/Data": "names the group"}


def test_a_user_that_goes_leaves_its_groups(backend: Backend) -> None:
    backend.ready("anna", "bert")
    backend.done(backend.create_group("team", "anna", "bert"), user_pb2.Group)
    backend.done(backend.create_group("rest", "bert"), user_pb2.Group)
    before, rest = backend.get_group("team"), backend.get_group("rest")
    backend.done(backend.users.DeleteUser(delete_user()))
    after = backend.get_group("team")
    assert after.members == ["bert"]
    assert (after.state, after.generation) == (READY, before.generation + 1)
    assert after.observed_generation == after.generation
    assert after.etag != before.etag
    assert backend.get_group("rest") == rest


def test_members_must_be_users(backend: Backend) -> None:
    backend.ready("anna")
    found = refused(backend.groups.CreateGroup, new_group("team", "anna", "carla"))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(found.fields) == ["group.members[1]"]
    assert list(refused(backend.groups.CreateGroup, new_group("team", "anna", "anna")).fields) == ["group.members"]
    backend.done(backend.create_group("team", "anna"), user_pb2.Group)
    wanted = user_pb2.Group(name=TEAM, members=["carla"])
    assert list(refused(backend.groups.UpdateGroup, update_group(wanted)).fields) == ["group.members[0]"]


@pytest.mark.parametrize(
    ("user", "field"),
    [
        ({"full_name": "a:b"}, "user.full_name"),
        ({"full_name": "x" * 129}, "user.full_name"),
        ({"full_name": "a\nb"}, "user.full_name"),
        ({"labels": {"A": ""}}, "user.labels"),
    ],
)
def test_fields_of_users_are_checked(unchanged: Backend, user: dict[str, Any], field: str) -> None:
    created = refused(unchanged.users.CreateUser, new_user("bert", user=user_pb2.User(password="x", **user)))
    updated = refused(unchanged.users.UpdateUser, update_user(user_pb2.User(name=ANNA, **user)))
    for found in (created, updated):
        assert (found.code, list(found.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


@pytest.mark.parametrize(
    ("group", "field"), [({"description": "x" * 257}, "group.description"), ({"labels": {"a": "\n"}}, "group.labels[a]")]
)
def test_fields_of_groups_are_checked(unchanged: Backend, group: dict[str, Any], field: str) -> None:
    created = refused(unchanged.groups.CreateGroup, new_group("other", group=user_pb2.Group(**group)))
    updated = refused(unchanged.groups.UpdateGroup, update_group(user_pb2.Group(name=TEAM, **group)))
    for found in (created, updated):
        assert (found.code, list(found.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


CHANGES = ["UpdateUser", "DeleteUser", "ResetPassword", "UpdateGroup", "DeleteGroup"]


def change(backend: Backend, method: str, name: str = "", etag: str = "") -> tuple[Any, Any, str]:
    """The call, a good request of it, and the name of what it changes."""
    requests: dict[str, Any] = {
        "UpdateUser": update_user(user_pb2.User(name=name or ANNA, etag=etag, full_name="x")),
        "DeleteUser": delete_user(name=name or ANNA, etag=etag),
        "ResetPassword": reset(name=name or ANNA, etag=etag),
        "UpdateGroup": update_group(user_pb2.Group(name=name or TEAM, etag=etag, description="x")),
        "DeleteGroup": delete_group(name=name or TEAM, etag=etag),
    }
    stub = backend.groups if "Group" in method else backend.users
    return getattr(stub, method), requests[method], TEAM if "Group" in method else ANNA


@pytest.mark.parametrize("method", CHANGES)
def test_changes_check_name_existence_etag_and_other_operations(backend: Backend, method: str) -> None:
    backend.ready("anna")
    backend.done(backend.create_group("team"), user_pb2.Group)
    call, request, name = change(backend, method)
    collection = name.rpartition("/")[0]
    field = {"UpdateUser": "user.name", "UpdateGroup": "group.name"}.get(method, "name")
    malformed = refused(call, change(backend, method, name=f"{SERVER}/shares/x")[1])
    assert (malformed.code, list(malformed.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
    missing = refused(call, change(backend, method, name=f"{collection}/none")[1])
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert missing.metadata == {"name": f"{collection}/none"}
    stale = refused(call, change(backend, method, etag="0123456789abcdef")[1])
    assert (stale.code, stale.reason, stale.metadata) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", {"name": name})
    gate: Gate = backend.hold()
    other_call, other_request, _ = change(backend, "UpdateGroup" if "Group" in method else "UpdateUser")
    other = other_call(other_request)
    gate.reached()
    busy = refused(call, request)
    assert (busy.code, busy.reason, busy.metadata) == (
        grpc.StatusCode.ABORTED,
        "RESOURCE_BUSY",
        {"operation": other.name},
    )
    gate.open()
    backend.wait(other)
    etag = backend.get_group("team").etag if name == TEAM else backend.get_user("anna").etag
    assert backend.wait(call(change(backend, method, etag=etag)[1])).HasField("response")


def test_the_file_server_must_be_there(backend: Backend) -> None:
    for found in (
        refused(backend.users.CreateUser, new_user("anna")),
        refused(backend.groups.CreateGroup, new_group("team")),
    ):
        assert (found.code, found.reason, found.metadata) == (
            grpc.StatusCode.NOT_FOUND,
            "RESOURCE_NOT_FOUND",
            {"name": SERVER},
        )


def test_numeric_ids_run_out_and_none_is_used_by_what_is_refused(backend: Backend) -> None:
    backend.ready()
    first = backend.done(backend.create_user("u0"), user_pb2.User).unix_id
    backend.mode.id_count = first - backend.mode.id_first + 2
    refused(backend.users.CreateUser, new_user("u0"))
    assert backend.done(backend.create_user("u1"), user_pb2.User).unix_id == first + 1
    for found in (refused(backend.users.CreateUser, new_user("u2")), refused(backend.groups.CreateGroup, new_group("g"))):
        assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
        assert found.help == "Give the backend a further range of ids in its configuration."
    backend.mode.id_count += 1
    assert backend.done(backend.create_user("u2"), user_pb2.User).unix_id == first + 2
