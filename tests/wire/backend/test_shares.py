"""Every method of ShareService."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from pvesmb.v1 import common_pb2, share_pb2
from pvesmb.v1 import share_service_pb2 as service

from services.core.errors import FeatureNotAvailable, PathUnsuitable
from tests.wire.backend.backend import BACKEND, READY, SERVER, Backend, metadata, new_share, refused, rule

DATA = f"{SERVER}/shares/Data"
GIB = 1024**3
FORBIDDEN = [*(f"a{c}b" for c in '\\/[]:<>+=;,*?"|%' + "\n\0\x7f"), "/", ".", "..", ".a", "a.", "\u2028"]
RESERVED = ["global", "GLOBAL", "homes", "printers", "print$", "IPC$", "ipc$", "ADMIN$", "pvesmb-probe", "PveSmb"]
MALFORMED = ("users/Data", "shares/", "shares/a/b", "shares/Data/", "shares/a\0", "shares/a\n")


def update(share: share_pb2.Share, *paths: str, **fields: Any) -> service.UpdateShareRequest:
    request = service.UpdateShareRequest(share=share, **fields)
    request.update_mask.paths.extend(paths)
    return request


def delete(**fields: Any) -> service.DeleteShareRequest:
    return service.DeleteShareRequest(**{"name": DATA, **fields})


def test_create_gives_defaults(backend: Backend) -> None:
    backend.ready()
    operation = backend.create_share("Data")
    share = backend.done(operation, share_pb2.Share)
    assert (share.name, share.state, share.generation, share.observed_generation) == (DATA, READY, 1, 1)
    assert share.effective_path == "/data/fs/Data"
    assert share.browseable
    assert share.guest_access == common_pb2.GUEST_ACCESS_NONE
    assert share.directory == share_pb2.DirectoryStorage(mode="2770")
    assert share.file_creation == share_pb2.FileCreation(create_mask="0770", directory_mask="2770")
    assert not share.access
    assert backend.get_share("Data") == share
    assert metadata(operation).target == DATA


def test_every_field_comes_back(backend: Backend) -> None:
    backend.ready("anna", allow_guests=True)
    backend.done(backend.create_group("team", "anna"), type(backend.get_group("team")))
    wanted = share_pb2.Share(
        comment="Akten für alle",
        labels={"team": "a"},
        directory=share_pb2.DirectoryStorage(path="/srv/x", owner="anna", group="team", mode="0750"),
        access=[rule("ADMIN", user="anna"), rule("DENY", group="team"), rule("READ", everyone=True)],
        guest_access=common_pb2.GUEST_ACCESS_READ_WRITE,
        browseable=False,
        read_only=True,
        hosts_allow=["10.0.0.0/8", "fd00::/8"],
        hosts_deny=["10.1.2.3"],
        max_connections=7,
        file_creation=share_pb2.FileCreation(
            force_user="anna", force_group="team", create_mask="0600", directory_mask="700"
        ),
        smb_options={"strict sync": "yes"},
    )
    share = backend.done(backend.create_share("Data", wanted), share_pb2.Share)
    for field, value in wanted.ListFields():
        assert getattr(share, field.name) == value, field.name


def test_a_volume_comes_back(backend: Backend) -> None:
    backend.ready()
    wanted = share_pb2.Share(volume=share_pb2.VolumeStorage(size_bytes=GIB, backup=False), encryption_required=True)
    share = backend.done(backend.create_share("Data", wanted), share_pb2.Share)
    assert share.volume == wanted.volume
    assert share.encryption_required


@pytest.mark.parametrize("id", ["Data", "daten & mehr", "Größe", "a" * 80, "x$", "日本"])
def test_names_that_clients_can_use(backend: Backend, id: str) -> None:
    backend.ready()
    assert backend.done(backend.create_share(id), share_pb2.Share).name == f"{SERVER}/shares/{id}"
    assert backend.get_share(id).state == READY


@pytest.mark.parametrize(
    "id",
    ["", "a" * 81, " a", "a ", "a  b", *FORBIDDEN, *RESERVED],
)
def test_names_that_are_refused(unchanged: Backend, id: str) -> None:
    found = refused(unchanged.shares.CreateShare, new_share(id))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(found.fields) == ["share_id"]
    assert not set("\0\n") & set(found.message)


@pytest.mark.parametrize(("first", "second"), [("Data", "data"), ("ÄPFEL", "äpfel"), ("Data", "Data")])
def test_names_do_not_differ_by_case_only(backend: Backend, first: str, second: str) -> None:
    backend.ready()
    backend.done(backend.create_share(first), share_pb2.Share)
    found = refused(backend.shares.CreateShare, new_share(second))
    assert (found.code, found.reason) == (grpc.StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS")
    assert found.metadata == {"name": f"{SERVER}/shares/{second}"}


def test_a_name_is_found_as_it_was_written_only(backend: Backend) -> None:
    backend.ready()
    backend.done(backend.create_share("Data"), share_pb2.Share)
    found = refused(backend.shares.GetShare, service.GetShareRequest(name=f"{SERVER}/shares/data"))
    assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")


@pytest.mark.parametrize(
    ("share", "field"),
    [
        ({"quota": {}}, "share.quota"),
        ({"previous_versions": {"enabled": True}}, "share.previous_versions"),
        ({"time_machine": {}}, "share.time_machine"),
        ({"recycle_bin": {"enabled": True}}, "share.recycle_bin"),
        ({"audit": {}}, "share.audit"),
    ],
)
def test_what_is_not_built_is_refused(unchanged: Backend, share: dict[str, Any], field: str) -> None:
    message = share_pb2.Share(name=DATA, **share)
    for found in (
        refused(unchanged.shares.CreateShare, new_share("Other", message)),
        refused(unchanged.shares.UpdateShare, update(message)),
        refused(unchanged.shares.UpdateShare, update(message, "comment")),
    ):
        assert (found.code, found.reason) == (grpc.StatusCode.UNIMPLEMENTED, "FEATURE_NOT_AVAILABLE")
        assert found.metadata == {"field": field}


def test_what_the_mode_lacks_is_named_by_its_path(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_: object) -> None:
        raise FeatureNotAvailable.of("volume", "needs a loop device")

    backend.ready()
    monkeypatch.setattr(backend.mode, "check_share", check)
    found = refused(backend.shares.CreateShare, new_share("Data"))
    assert (found.code, found.reason) == (grpc.StatusCode.UNIMPLEMENTED, "FEATURE_NOT_AVAILABLE")
    assert found.metadata == {"field": "share.volume"}
    assert found.message == "share.volume needs a loop device"


@pytest.mark.parametrize(
    ("share", "field"),
    [
        ({"comment": "x" * 257}, "share.comment"),
        ({"comment": "%U"}, "share.comment"),
        ({"labels": {"": "x"}}, "share.labels"),
        ({"directory": {"path": "relative"}}, "share.directory.path"),
        ({"directory": {"path": "/a/../b"}}, "share.directory.path"),
        ({"directory": {"path": "/a/"}}, "share.directory.path"),
        ({"directory": {"path": "//a"}}, "share.directory.path"),
        ({"directory": {"path": "/a%b"}}, "share.directory.path"),
        ({"directory": {"path": "/a\nb"}}, "share.directory.path"),
        ({"directory": {"mode": "9"}}, "share.directory.mode"),
        ({"directory": {"owner": "bert"}}, "share.directory.owner"),
        ({"directory": {"group": "anna"}}, "share.directory.group"),
        ({"volume": {}}, "share.volume.size_bytes"),
        ({"volume": {"size_bytes": 512 * 1024**2 - 1}}, "share.volume.size_bytes"),
        ({"volume": {"size_bytes": -1}}, "share.volume.size_bytes"),
        ({"access": [rule("READ")]}, "share.access[0].principal"),
        ({"access": [rule("READ", everyone=False)]}, "share.access[0].everyone"),
        ({"access": [rule("READ", user="")]}, "share.access[0].principal"),
        ({"access": [rule("UNSPECIFIED", user="anna")]}, "share.access[0].level"),
        ({"access": [rule("READ", user="anna"), rule("READ", user="bert")]}, "share.access[1].user"),
        ({"access": [rule("READ", group="anna")]}, "share.access[0].group"),
        ({"access": [rule("READ", user="anna"), rule("DENY", user="anna")]}, "share.access[1]"),
        ({"guest_access": 9}, "share.guest_access"),
        ({"guest_access": common_pb2.GUEST_ACCESS_READ, "encryption_required": True}, "share.guest_access"),
        ({"hosts_allow": ["10.0.0.1/8"]}, "share.hosts_allow[0]"),
        ({"hosts_deny": ["10.0.0.1", "host name"]}, "share.hosts_deny[1]"),
        ({"hosts_deny": ["10.0.0.1", "10.0.0.1"]}, "share.hosts_deny"),
        ({"max_connections": -1}, "share.max_connections"),
        ({"file_creation": {"create_mask": "rwx"}}, "share.file_creation.create_mask"),
        ({"file_creation": {"directory_mask": "27700"}}, "share.file_creation.directory_mask"),
        ({"file_creation": {"force_user": "bert"}}, "share.file_creation.force_user"),
        ({"file_creation": {"force_group": "anna"}}, "share.file_creation.force_group"),
    ],
)
def test_fields_are_checked_in_create_and_update(unchanged: Backend, share: dict[str, Any], field: str) -> None:
    message = share_pb2.Share(name=DATA, **share)
    created = refused(unchanged.shares.CreateShare, new_share("Other", message))
    assert (created.code, created.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(created.fields) == [field]
    assert created.metadata == {"field": field}
    if not {"directory", "volume"} & set(share):
        updated = refused(unchanged.shares.UpdateShare, update(message, *share))
        assert (updated.code, updated.reason, updated.fields) == (created.code, created.reason, created.fields)


@pytest.mark.parametrize("updating", [False, True])
def test_guests_need_a_server_that_allows_them(backend: Backend, updating: bool) -> None:
    backend.ready()
    message = share_pb2.Share(name=DATA, guest_access=common_pb2.GUEST_ACCESS_READ)
    if updating:
        backend.done(backend.create_share("Data"), share_pb2.Share)
        found = refused(backend.shares.UpdateShare, update(message, "guest_access"))
    else:
        found = refused(backend.shares.CreateShare, new_share("Data", message))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED")
    assert found.unmet == {SERVER: "smb.allow_guests is false"}
    assert found.help == "Set smb.allow_guests of the file server first."


def test_the_file_server_must_be_there(backend: Backend) -> None:
    found = refused(backend.shares.CreateShare, new_share("Data"))
    assert (found.code, found.reason, found.metadata) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", {"name": SERVER})


@pytest.mark.parametrize(("step", "action"), [("process", "ensure"), ("process", "remove")])
def test_a_server_that_is_made_or_removed_takes_no_shares(backend: Backend, step: str, action: str) -> None:
    if action == "remove":
        backend.ready()
    gate = backend.hold(step, action)
    operation = backend.create_server() if action == "ensure" else backend.delete_server()
    gate.reached()
    found = refused(backend.shares.CreateShare, new_share("Data"))
    assert (found.code, found.reason) == (grpc.StatusCode.ABORTED, "RESOURCE_BUSY")
    assert found.metadata == {"operation": operation.name}
    gate.open()
    backend.wait(operation)


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ({}, {"directory": {"path": "/srv/x"}}, "share.directory"),
        ({"directory": {"path": "/srv/x"}}, {"directory": {}}, "share.directory"),
        ({}, {"directory": {"mode": "0755"}}, "share.directory"),
        ({}, {"directory": {"owner": "anna"}}, "share.directory"),
        ({}, {"volume": {"size_bytes": GIB}}, "share.volume"),
        ({"volume": {"size_bytes": GIB}}, {"directory": {}}, "share.directory"),
        ({"volume": {"size_bytes": GIB}}, {"volume": {"size_bytes": GIB - 1}}, "share.volume.size_bytes"),
        ({"volume": {"size_bytes": GIB}}, {"volume": {"size_bytes": GIB, "storage": "zfs"}}, "share.volume"),
    ],
)
def test_where_the_files_are_cannot_change(
    backend: Backend, before: dict[str, Any], after: dict[str, Any], field: str
) -> None:
    backend.ready("anna")
    backend.done(backend.create_share("Data", share_pb2.Share(**before)), share_pb2.Share)
    for paths in ((), tuple(after)):
        found = refused(backend.shares.UpdateShare, update(share_pb2.Share(name=DATA, **after), *paths))
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
        assert list(found.fields) == [field]


def test_a_volume_grows(backend: Backend) -> None:
    backend.ready()
    backend.done(backend.create_share("Data", share_pb2.Share(volume={"size_bytes": GIB})), share_pb2.Share)  # type: ignore[arg-type]
    wanted = share_pb2.Share(name=DATA)
    wanted.volume.size_bytes = 2 * GIB
    grown = backend.done(backend.update_share(wanted, "volume.size_bytes"), share_pb2.Share)
    assert (grown.volume.size_bytes, grown.generation) == (2 * GIB, 2)
    assert grown.volume.backup


def test_an_update_that_fails_brings_back_what_was(backend: Backend) -> None:
    backend.ready()
    backend.done(backend.create_share("Data", share_pb2.Share(comment="old")), share_pb2.Share)
    backend.mode.refuse = lambda step, resource: (
        PathUnsuitable("not like this", metadata={"path": "/data"}) if resource.spec.comment == "new" else None
    )
    found = backend.failed(backend.update_share(share_pb2.Share(name=DATA, comment="new"), "comment"))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PATH_UNSUITABLE")
    assert found.metadata == {"path": "/data"}
    share = backend.get_share("Data")
    assert (share.comment, share.state) == ("old", READY)


def test_delete_keeps_nothing_but_the_name_free(backend: Backend) -> None:
    backend.ready()
    backend.done(backend.create_share("Data"), share_pb2.Share)
    backend.done(backend.shares.DeleteShare(delete(delete_data=True)))
    found = refused(backend.shares.GetShare, service.GetShareRequest(name=DATA))
    assert (found.code, found.reason, found.metadata) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND", {"name": DATA})
    backend.done(backend.create_share("data"), share_pb2.Share)


def test_data_with_another_share_in_it_is_not_deleted(backend: Backend) -> None:
    backend.ready()
    for id in ("Data", "Data2"):
        backend.done(backend.create_share(id), share_pb2.Share)
    gate = backend.hold("confirm")
    paths = {"inner": "/data/fs/Data/inner"}
    backend.mode.share_path = lambda server, id, spec: paths[id]  # type: ignore[method-assign]
    operation = backend.create_share("inner")
    gate.open()
    backend.done(operation, share_pb2.Share)
    found = refused(backend.shares.DeleteShare, delete(delete_data=True))
    assert (found.code, found.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED")
    assert found.unmet == {f"{SERVER}/shares/inner": "has its files there"}
    backend.done(backend.shares.DeleteShare(delete()))


@pytest.mark.parametrize("method", ["UpdateShare", "DeleteShare"])
def test_changes_check_etag_existence_and_other_operations(backend: Backend, method: str) -> None:
    backend.ready()
    call = getattr(backend.shares, method)
    made = backend.done(backend.create_share("Data"), share_pb2.Share)

    def request(**fields: Any) -> Any:
        if method == "DeleteShare":
            return delete(**fields)
        return update(share_pb2.Share(**{"name": DATA, "comment": "new", **fields}))

    found = refused(call, request(etag="0123456789abcdef"))
    assert (found.code, found.reason, found.metadata) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", {"name": DATA})
    missing = refused(call, request(name=f"{SERVER}/shares/None"))
    assert (missing.code, missing.reason) == (grpc.StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND")
    gate = backend.hold()
    other = backend.update_share(share_pb2.Share(name=DATA, read_only=True), "read_only")
    gate.reached()
    busy = refused(call, request())
    assert (busy.code, busy.reason, busy.metadata) == (
        grpc.StatusCode.ABORTED,
        "RESOURCE_BUSY",
        {"operation": other.name},
    )
    gate.open()
    changed = backend.done(other, share_pb2.Share)
    assert refused(call, request(etag=made.etag)).reason == "ETAG_MISMATCH"
    assert backend.wait(call(request(etag=changed.etag))).HasField("response")


@pytest.mark.parametrize(
    "name",
    ["", "Data", SERVER, f"/{DATA}", "backends//", *(f"{SERVER}/{rest}" for rest in MALFORMED)],
)
@pytest.mark.parametrize("method", ["GetShare", "UpdateShare", "DeleteShare"])
def test_malformed_names(unchanged: Backend, method: str, name: str) -> None:
    requests = {
        "GetShare": ("name", service.GetShareRequest(name=name)),
        "UpdateShare": ("share.name", update(share_pb2.Share(name=name))),
        "DeleteShare": ("name", delete(name=name)),
    }
    field, request = requests[method]
    found = refused(getattr(unchanged.shares, method), request)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert found.fields == {field: "must have the form backends/{backend}/fileServers/{file_server}/shares/{id}"}


@pytest.mark.parametrize("parent", ["", "backends/b", DATA, "fileServers/fs", f"{BACKEND}/fileServers/a\0"])
def test_malformed_parents(unchanged: Backend, parent: str) -> None:
    for found in (
        refused(unchanged.shares.CreateShare, new_share("Data", parent=parent)),
        refused(unchanged.shares.ListShares, service.ListSharesRequest(parent=parent)),
    ):
        assert (found.code, list(found.fields)) == (grpc.StatusCode.INVALID_ARGUMENT, ["parent"])
