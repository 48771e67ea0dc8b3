"""Every method of FileServerService and of BackendService."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import field_mask_pb2
from pvesmb.v1 import backend_pb2, backend_service_pb2, common_pb2, file_server_pb2, share_pb2, user_pb2
from pvesmb.v1 import file_server_service_pb2 as service

from services.core.domain.resource import Condition, Severity
from services.core.errors import PathNotAllowed
from tests.wire.backend.backend import BACKEND, READY, SERVER, Backend, metadata, refused, rule


def delete(**fields: Any) -> service.DeleteFileServerRequest:
    return service.DeleteFileServerRequest(**{"name": SERVER, **fields})


def update(server: file_server_pb2.FileServer, *paths: str, **fields: Any) -> service.UpdateFileServerRequest:
    mask = field_mask_pb2.FieldMask(paths=paths)
    return service.UpdateFileServerRequest(file_server=server, update_mask=mask, **fields)


def create(**fields: Any) -> service.CreateFileServerRequest:
    return service.CreateFileServerRequest(**{"parent": BACKEND, "file_server_id": "fs", **fields})


def first_share(id: str, **fields: Any) -> service.InitialShare:
    return service.InitialShare(share_id=id, share=share_pb2.Share(**fields))


def first_user(id: str, password: str = "geheim") -> service.InitialUser:
    return service.InitialUser(user_id=id, user=user_pb2.User(password=password))


def first_group(id: str, *members: str) -> service.InitialGroup:
    return service.InitialGroup(group_id=id, group=user_pb2.Group(members=members))


def test_create_gives_defaults_identity_and_endpoints(backend: Backend) -> None:
    made = backend.done(
        backend.create_server(file_server=file_server_pb2.FileServer(description="Akten", labels={"team": "a"})),
        file_server_pb2.FileServer,
    )
    assert made.name == SERVER
    assert (made.description, dict(made.labels)) == ("Akten", {"team": "a"})
    assert (made.state, made.generation, made.observed_generation) == (READY, 1, 1)
    assert made.uid and made.etag and made.create_time.seconds == made.update_time.seconds == int(backend.clock.now())
    assert made.drift_policy == file_server_pb2.FileServer.DRIFT_POLICY_REPAIR
    assert made.smb == file_server_pb2.SmbSettings(
        min_protocol=file_server_pb2.SmbSettings.DIALECT_SMB3_00,
        signing=common_pb2.DEMAND_REQUIRED,
        encryption=common_pb2.DEMAND_DESIRED,
        workgroup="WORKGROUP",
    )
    assert [(end.address, end.port) for end in made.endpoints] == [("127.0.0.1", 445)]
    assert backend.get_server() == made


def test_a_server_that_is_being_made_is_shown_without_endpoints(backend: Backend) -> None:
    gate = backend.hold("process")
    operation = backend.create_server()
    gate.reached()
    found = backend.get_server()
    assert (found.state, found.observed_generation) == (common_pb2.RESOURCE_STATE_CREATING, 0)
    assert not found.endpoints
    gate.open()
    backend.done(operation, file_server_pb2.FileServer)


def test_first_contents_come_in_the_same_operation(backend: Backend) -> None:
    operation = backend.create_server(
        shares=[first_share("Data", access=[rule("READ", user="anna"), rule("READ_WRITE", group="team")])],
        users=[first_user("anna"), first_user("bert")],
        groups=[first_group("team", "bert")],
    )
    backend.done(operation, file_server_pb2.FileServer)
    assert metadata(operation).target == SERVER
    assert backend.operation_names() == [operation.name]
    assert backend.get_share("Data").state == READY
    assert backend.get_user("anna").state == READY
    assert backend.get_group("team").members == ["bert"]


@pytest.mark.parametrize(
    ("contents", "field"),
    [
        ({"shares": [first_share("a"), first_share("b"), first_share("A")]}, "shares[2].share_id"),
        ({"users": [first_user("anna"), first_user("anna")]}, "users[1].user_id"),
        ({"groups": [first_group("g"), first_group("g")]}, "groups[1].group_id"),
        ({"shares": [first_share("a/b")]}, "shares[0].share_id"),
        ({"shares": [first_share(f"s{i}") for i in range(1001)]}, "shares"),
        ({"groups": [service.InitialGroup(group_id=f"g{i}") for i in range(1001)]}, "groups"),
        ({"users": [service.InitialUser(user_id=f"u{i}") for i in range(1001)]}, "users"),
        ({"users": [first_user("anna"), first_user("root")]}, "users[1].user_id"),
        ({"groups": [first_group("Team")]}, "groups[0].group_id"),
        ({"users": [first_user("anna"), first_user("bert", "")]}, "users[1].user.password"),
        ({"users": [first_user("anna", "x" * 128)]}, "users[0].user.password"),
        ({"users": [first_user("anna", "tab\t")]}, "users[0].user.password"),
        ({"users": [first_user("anna")], "groups": [first_group("g", "anna", "bert")]}, "groups[0].group.members[1]"),
        ({"groups": [first_group("g"), first_group("h", "a", "a")]}, "groups[1].group.members"),
        (
            {"shares": [first_share("a"), first_share("b", access=[rule("READ", user="x")])]},
            "shares[1].share.access[0].user",
        ),
        ({"shares": [first_share("a", comment="a\nb")]}, "shares[0].share.comment"),
        ({"shares": [first_share("a", access=[rule("READ")])]}, "shares[0].share.access[0].principal"),
    ],
)
def test_first_contents_are_checked(unchanged: Backend, contents: dict[str, Any], field: str) -> None:
    found = refused(unchanged.servers.CreateFileServer, create(file_server_id="other", **contents))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(found.fields) == [field]
    assert found.metadata == {"field": field}
    missing = refused(unchanged.servers.GetFileServer, service.GetFileServerRequest(name=f"{BACKEND}/fileServers/other"))
    assert missing.reason == "RESOURCE_NOT_FOUND"


def test_a_first_user_and_group_cannot_have_one_name(backend: Backend) -> None:
    found = refused(backend.servers.CreateFileServer, create(users=[first_user("anna")], groups=[first_group("anna")]))
    assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS")
    assert found.metadata == {"name": f"{SERVER}/users/anna"}


@pytest.mark.parametrize(
    ("server", "field"),
    [
        ({"description": "two\nlines"}, "file_server.description"),
        ({"description": "x" * 257}, "file_server.description"),
        ({"labels": {"Upper": "x"}}, "file_server.labels"),
        ({"labels": {"a": "x" * 64}}, "file_server.labels[a]"),
        ({"labels": {f"k{i}": "" for i in range(65)}}, "file_server.labels"),
        ({"drift_policy": 9}, "file_server.drift_policy"),
        ({"smb": {"signing": common_pb2.DEMAND_OFF}}, "file_server.smb.signing"),
        ({"smb": {"min_protocol": 77}}, "file_server.smb.min_protocol"),
        ({"smb": {"encryption": 77}}, "file_server.smb.encryption"),
        ({"smb": {"netbios_name": "x" * 16}}, "file_server.smb.netbios_name"),
        ({"smb": {"workgroup": "a b"}}, "file_server.smb.workgroup"),
        ({"smb": {"encryption": common_pb2.DEMAND_REQUIRED, "allow_guests": True}}, "file_server.smb.allow_guests"),
        ({"native": {"listen_addresses": ["127.0.0.1", "host"]}}, "file_server.native.listen_addresses[1]"),
        ({"native": {"listen_addresses": ["::1", "::1"]}}, "file_server.native.listen_addresses"),
        ({"native": {"port": 65536}}, "file_server.native.port"),
        ({"native": {"port": -1}}, "file_server.native.port"),
    ],
)
def test_fields_are_checked(unchanged: Backend, server: dict[str, Any], field: str) -> None:
    found = refused(unchanged.servers.CreateFileServer, create(file_server_id="other", file_server=server))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(found.fields) == [field]


@pytest.mark.parametrize(
    ("server", "field"),
    [
        ({"active_directory": {"domain": "corp.example.com"}}, "file_server.active_directory"),
        ({"high_availability": {}}, "file_server.high_availability"),
        ({"vm": {}}, "file_server.vm"),
    ],
)
def test_what_is_not_built_is_refused(unchanged: Backend, server: dict[str, Any], field: str) -> None:
    for found in (
        refused(unchanged.servers.CreateFileServer, create(file_server_id="other", file_server=server)),
        refused(unchanged.servers.UpdateFileServer, update(file_server_pb2.FileServer(name=SERVER, **server))),
        refused(
            unchanged.servers.UpdateFileServer, update(file_server_pb2.FileServer(name=SERVER, **server), "description")
        ),
    ):
        assert (found.code, found.reason) == (grpc.StatusCode.UNIMPLEMENTED, "FEATURE_NOT_AVAILABLE")
        assert found.metadata == {"field": field}


def test_create_refuses_what_exists(backend: Backend) -> None:
    backend.ready()
    found = refused(backend.servers.CreateFileServer, create())
    assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS")
    assert found.metadata == {"name": SERVER}


def test_an_error_of_the_mode_reaches_the_caller(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: object) -> None:
        raise PathNotAllowed("not below a root", metadata={"path": "/etc"})

    monkeypatch.setattr(backend.mode, "check_share", check)
    found = refused(backend.servers.CreateFileServer, create(shares=[first_share("a")]))
    assert (found.code, found.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PATH_NOT_ALLOWED")
    assert found.metadata == {"path": "/etc"}


def test_update_changes_what_the_mask_names(backend: Backend) -> None:
    backend.ready()
    before = backend.get_server()
    backend.clock.time += 5
    wanted = file_server_pb2.FileServer(name=SERVER, description="new", labels={"a": "b"})
    wanted.smb.workgroup = "OTHER"
    after = backend.done(backend.servers.UpdateFileServer(update(wanted, "description", "smb.workgroup")), type(wanted))
    assert after.description == "new"
    assert not after.labels
    assert after.smb.workgroup == "OTHER"
    assert after.smb.signing == common_pb2.DEMAND_REQUIRED
    assert (after.generation, after.observed_generation) == (2, 2)
    assert (after.uid, after.create_time) == (before.uid, before.create_time)
    assert after.update_time.seconds == before.update_time.seconds + 5
    assert after.etag != before.etag


def test_an_update_that_changes_nothing_keeps_the_generation(backend: Backend) -> None:
    backend.ready()
    before = backend.get_server()
    assert backend.done(backend.servers.UpdateFileServer(update(before)), file_server_pb2.FileServer) == before


def test_guests_cannot_be_shut_out_while_a_share_lets_them_in(backend: Backend) -> None:
    backend.ready(allow_guests=True)
    backend.done(backend.create_share("open", share_pb2.Share(guest_access=common_pb2.GUEST_ACCESS_READ)), share_pb2.Share)
    found = refused(backend.servers.UpdateFileServer, update(file_server_pb2.FileServer(name=SERVER), "smb.allow_guests"))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED")
    assert found.unmet == {f"{SERVER}/shares/open": "lets guests in"}
    assert backend.get_server().smb.allow_guests


def test_delete_keeps_a_server_that_has_shares_unless_forced(backend: Backend) -> None:
    backend.ready("anna")
    backend.done(backend.create_share("Data"), share_pb2.Share)
    found = refused(backend.servers.DeleteFileServer, delete())
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED")
    assert found.unmet == {f"{SERVER}/shares/Data": "is in the file server"}
    assert backend.get_server().state == READY
    backend.done(backend.servers.DeleteFileServer(delete(force=True)))
    assert backend.mode.world.empty
    assert refused(backend.servers.GetFileServer, service.GetFileServerRequest(name=SERVER)).reason == "RESOURCE_NOT_FOUND"
    backend.ready()


def test_delete_takes_users_along_without_force(backend: Backend) -> None:
    backend.ready("anna")
    backend.done(backend.servers.DeleteFileServer(delete()))
    assert backend.mode.world.empty


def test_data_is_deleted_with_force_only(backend: Backend) -> None:
    backend.ready()
    found = refused(backend.servers.DeleteFileServer, delete(delete_data=True))
    assert (found.code, list(found.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["delete_data"])


def test_delete_is_refused_while_contents_are_busy(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold()
    operation = backend.create_share("Data")
    gate.reached()
    found = refused(backend.servers.DeleteFileServer, delete(force=True))
    assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "RESOURCE_BUSY")
    assert found.metadata == {"operation": operation.name}
    gate.open()
    backend.done(operation, share_pb2.Share)


@pytest.mark.parametrize("method", ["UpdateFileServer", "DeleteFileServer"])
def test_changes_check_etag_and_existence(backend: Backend, method: str) -> None:
    backend.ready()
    call = getattr(backend.servers, method)

    def request(**fields: Any) -> Any:
        if method == "DeleteFileServer":
            return delete(**fields)
        return update(file_server_pb2.FileServer(**{"name": SERVER, "description": "new", **fields}))

    found = refused(call, request(etag="0123456789abcdef"))
    assert (found.code, found.reason, found.metadata) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", {"name": SERVER})
    missing = refused(call, request(name=f"{BACKEND}/fileServers/none"))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    assert missing.metadata == {"name": f"{BACKEND}/fileServers/none"}
    assert backend.wait(call(request(etag=backend.get_server().etag))).HasField("response")


def test_a_second_change_at_once_is_busy(backend: Backend) -> None:
    backend.ready()
    gate = backend.hold("process")
    wanted = file_server_pb2.FileServer(name=SERVER, description="new")
    operation = backend.servers.UpdateFileServer(update(wanted, "description"))
    gate.reached()
    for found in (
        refused(backend.servers.UpdateFileServer, update(wanted, "description")),
        refused(backend.servers.DeleteFileServer, delete()),
    ):
        assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "RESOURCE_BUSY")
        assert found.metadata == {"operation": operation.name}
    assert backend.get_server().state == common_pb2.RESOURCE_STATE_UPDATING
    gate.open()
    backend.done(operation, file_server_pb2.FileServer)


def test_get_backend(backend: Backend) -> None:
    found = backend.backends.GetBackend(backend_service_pb2.GetBackendRequest(name=BACKEND))
    assert found == backend_pb2.Backend(
        name=BACKEND,
        mode=backend_pb2.Backend.MODE_NATIVE,
        health=backend_pb2.Backend.HEALTH_SERVING,
        version="1.2.3",
        node="pve1",
        samba_version="4.17.12-Debian",
        features=["volumes"],
    )
    listed = backend.backends.ListBackends(backend_service_pb2.ListBackendsRequest())
    assert list(listed.backends) == [found]


@pytest.mark.parametrize(
    ("severity", "health"),
    [(Severity.ERROR, backend_pb2.Backend.HEALTH_NOT_SERVING), (Severity.WARNING, backend_pb2.Backend.HEALTH_SERVING)],
)
def test_a_backend_with_a_problem_tells_it(backend: Backend, severity: Severity, health: int) -> None:
    backend.facts.found.append(Condition("SmbdMissing", severity, "HOST_NOT_PREPARED", "no smbd", "install it", 3.0))
    found = backend.backends.GetBackend(backend_service_pb2.GetBackendRequest(name=BACKEND))
    assert found.health == health
    (condition,) = found.conditions
    assert (condition.type, condition.reason) == ("SmbdMissing", "HOST_NOT_PREPARED")
    assert (condition.message, condition.action, condition.last_transition_time.seconds) == ("no smbd", "install it", 3)


def test_another_backend_is_unknown(backend: Backend) -> None:
    found = refused(backend.backends.GetBackend, backend_service_pb2.GetBackendRequest(name="backends/other"))
    assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "BACKEND_UNKNOWN")
