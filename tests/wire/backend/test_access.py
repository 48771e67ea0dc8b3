"""Who may call what; names of other backends; secrets, which nobody sees again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from pvesmb.v1 import user_pb2, user_service_pb2

from services.core.errors import SambaUnavailable
from services.kit.identity import Role
from services.kit.policy import ROLES
from services.wire.register import SERVICES
from tests.logs import captured
from tests.wire.backend.backend import BACKEND, SERVER, Backend, new_user, refused
from tests.wire.backend.test_requests import CHANGES, prepared

FIRST, SECOND, WRONG = "Canary-Alpha-61", "Canary-Beta-62", "Canary-Wrong\t63"


def as_role(role: str) -> list[tuple[str, str]]:
    """What the gateway tells a backend about who asks."""
    return [("x-pvesmb-principal", "somebody"), ("x-pvesmb-role", role)]


@pytest.mark.parametrize("method", CHANGES)
def test_changes_need_more_than_a_viewer(unchanged: Backend, method: str) -> None:
    call, request = prepared(unchanged, method)
    found = refused(call, request, metadata=as_role("viewer"))
    assert (found.code, found.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_NOT_SUFFICIENT")
    needed = "admin" if "FileServer" in method else "operator"
    assert found.metadata["role"] == needed
    if needed == "admin":
        assert refused(call, request, metadata=as_role("operator")).reason == "ROLE_NOT_SUFFICIENT"


def test_a_viewer_reads(unchanged: Backend) -> None:
    request = user_service_pb2.ListUsersRequest(parent=SERVER)
    assert [user.name for user in unchanged.users.ListUsers(request, metadata=as_role("viewer")).users] == [
        f"{SERVER}/users/anna"
    ]


def test_credentials_that_are_not_taken(unchanged: Backend) -> None:
    request = user_service_pb2.ListUsersRequest(parent=SERVER)
    found = refused(unchanged.users.ListUsers, request, metadata=[("authorization", "Bearer Canary")])
    assert (found.code, found.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
    assert "Canary" not in str(found)


def test_a_method_of_no_contract(unchanged: Backend) -> None:
    for method in ("/pvesmb.v1.ShareService/RenameShare", "/pvesmb.v2.ShareService/GetShare"):
        found = refused(unchanged.channel.unary_unary(method), b"")
        assert (found.code, found.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


def test_every_method_of_the_contract_is_served(unchanged: Backend) -> None:
    methods = [method for method in ROLES if method.split("/")[1] in SERVICES]
    assert {method.split("/")[1] for method in methods} == set(SERVICES)
    for method in methods:
        if ROLES[method] is Role.VIEWER:
            call: Callable[..., Any] = unchanged.channel.unary_unary(method)
            try:
                call(b"", timeout=30)
            except grpc.RpcError as error:
                assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND), method


@pytest.mark.parametrize("method", [method for method in CHANGES if not method.startswith("Create")])
@pytest.mark.parametrize("other", ["other", "-", "B"])
def test_what_is_of_another_backend_is_not_here(unchanged: Backend, method: str, other: str) -> None:
    call, request = prepared(unchanged, method)
    field = {"UpdateFileServer": "file_server", "UpdateShare": "share", "UpdateUser": "user", "UpdateGroup": "group"}
    holder = getattr(request, field[method]) if method in field else request
    holder.name = holder.name.replace(BACKEND, f"backends/{other}")
    found = refused(call, request)
    assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert found.metadata == {"name": holder.name}


@pytest.mark.parametrize("method", [method for method in CHANGES if method.startswith("Create")])
def test_nothing_is_made_for_another_backend(unchanged: Backend, method: str) -> None:
    call, request = prepared(unchanged, method)
    request.parent = request.parent.replace(BACKEND, "backends/other")
    found = refused(call, request)
    assert (found.code, found.reason, found.metadata) == (
        grpc.StatusCode.NOT_FOUND,
        "RESOURCE_NOT_FOUND",
        {"name": request.parent},
    )


def test_passwords_are_seen_by_the_mode_alone(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """Not in an answer, an error, a log line, nor in a file of the store, be it while they wait or afterwards."""
    caplog.set_level(logging.DEBUG)
    answers: list[Any] = []
    with captured() as lines:
        backend.ready()
        gate = backend.hold("apply")
        request_id = "0b9e5b5c-6d6e-4f0e-8f5c-2f6f3f5d8a11"
        waiting = backend.create_user("anna", FIRST, request_id=request_id)
        gate.reached()
        stored = files(backend)
        assert FIRST.encode() not in stored
        gate.open()
        answers += [waiting, backend.wait(waiting), backend.create_user("bert", FIRST, validate_only=True)]
        reset = user_service_pb2.ResetPasswordRequest(name=f"{SERVER}/users/anna", password=SECOND)
        answers.append(backend.wait(backend.users.ResetPassword(reset)))
        assert backend.mode.world.of("apply")[f"{SERVER}/users/anna"] == SECOND
        answers += [
            refused(backend.users.CreateUser, new_user("carla", WRONG)),
            refused(backend.users.CreateUser, new_user("anna", FIRST)),
            refused(backend.users.CreateUser, new_user("carla", SECOND, request_id=request_id)),
            refused(
                backend.users.UpdateUser,
                user_service_pb2.UpdateUserRequest(user=user_pb2.User(name=f"{SERVER}/users/anna", password=FIRST)),
            ),
        ]
        backend.mode.refuse = lambda step, resource: SambaUnavailable("no answer")
        answers += [backend.failed(backend.create_user("dora", FIRST)), backend.failed(backend.users.ResetPassword(reset))]
        answers.append(backend.users.ListUsers(user_service_pb2.ListUsersRequest(parent=SERVER)))
        answers.append(backend.operations.ListOperations(operations_pb2.ListOperationsRequest(name=BACKEND)))
    everything = repr(answers) + repr(lines) + caplog.text
    for secret in (FIRST, SECOND, WRONG, WRONG.strip("\t63")):
        assert secret not in everything
    assert "/pvesmb.v1.UserService/ResetPassword" in everything
    for secret in (FIRST, SECOND):
        assert secret.encode() not in files(backend)


def files(backend: Backend) -> bytes:
    """Everything that the store has on disk."""
    return b"".join(path.read_bytes() for path in backend.place.iterdir() if path.is_file())
