"""Update masks over the wire, for every resource."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import timestamp_pb2
from pvesmb.v1 import common_pb2, share_pb2, share_service_pb2

from tests.wire.backend.backend import READY, SERVER, Backend, Refusal, refused, rule
from tests.wire.backend.test_requests import prepared

DATA = f"{SERVER}/shares/Data"


def made(backend: Backend, **fields: Any) -> share_pb2.Share:
    backend.ready("anna", allow_guests=True)
    share: share_pb2.Share = backend.done(backend.create_share("Data", share_pb2.Share(**fields)), share_pb2.Share)
    return share


def updated(backend: Backend, *paths: str, **fields: Any) -> share_pb2.Share:
    operation = backend.update_share(share_pb2.Share(name=DATA, **fields), *paths)
    share: share_pb2.Share = backend.done(operation, share_pb2.Share)
    return share


def test_only_what_the_mask_names_changes(backend: Backend) -> None:
    made(backend, comment="old", labels={"a": "1"}, read_only=True, max_connections=3)
    share = updated(backend, "comment", "labels", comment="new", labels={"b": "2"}, max_connections=9)
    assert (share.comment, dict(share.labels), share.read_only, share.max_connections) == ("new", {"b": "2"}, True, 3)


def test_a_field_that_is_named_and_unset_is_cleared(backend: Backend) -> None:
    made(
        backend,
        comment="old",
        labels={"a": "1"},
        browseable=False,
        access=[rule("READ", user="anna")],
        hosts_allow=["10.0.0.1"],
        guest_access=common_pb2.GUEST_ACCESS_READ,
        file_creation=share_pb2.FileCreation(force_user="anna", create_mask="0600"),
        smb_options={"a": "b"},
    )
    paths = ("comment", "labels", "browseable", "access", "hosts_allow", "guest_access", "file_creation", "smb_options")
    share = updated(backend, *paths)
    assert (share.comment, dict(share.labels), share.browseable) == ("", {}, True)
    assert not share.access and not share.hosts_allow and not share.smb_options
    assert share.guest_access == common_pb2.GUEST_ACCESS_NONE
    assert share.file_creation == share_pb2.FileCreation(create_mask="0770", directory_mask="2770")


def test_a_nested_path_leaves_its_neighbours(backend: Backend) -> None:
    made(backend, file_creation=share_pb2.FileCreation(force_user="anna", create_mask="0600", directory_mask="0700"))
    share = updated(
        backend,
        "file_creation.create_mask",
        file_creation=share_pb2.FileCreation(create_mask="0640", directory_mask="0777"),
    )
    assert share.file_creation == share_pb2.FileCreation(force_user="anna", create_mask="0640", directory_mask="0700")
    share = updated(backend, "file_creation.create_mask")
    assert share.file_creation == share_pb2.FileCreation(force_user="anna", create_mask="0770", directory_mask="0700")


@pytest.mark.parametrize("paths", [(), ("*",)])
def test_everything_is_replaced_but_where_the_files_are(backend: Backend, paths: tuple[str, ...]) -> None:
    made(backend, comment="old", labels={"a": "1"}, read_only=True, directory=share_pb2.DirectoryStorage(path="/srv/x"))
    share = updated(backend, *paths, max_connections=2)
    assert (share.comment, dict(share.labels), share.read_only, share.max_connections) == ("", {}, False, 2)
    assert share.directory.path == "/srv/x"


@pytest.mark.parametrize("paths", [(), ("*",), ("name", "uid", "etag", "state", "generation", "create_time", "comment")])
def test_output_only_fields_are_ignored(backend: Backend, paths: tuple[str, ...]) -> None:
    before = made(backend)
    wanted = share_pb2.Share()
    wanted.CopyFrom(before)
    wanted.comment, wanted.uid, wanted.effective_path, wanted.generation = "new", "other", "/etc", 77
    wanted.state = common_pb2.RESOURCE_STATE_DEGRADED
    wanted.create_time.CopyFrom(timestamp_pb2.Timestamp(seconds=1))
    wanted.conditions.add(type="Mine")
    after = backend.done(backend.update_share(wanted, *paths), share_pb2.Share)
    assert (after.comment, after.generation, after.state) == ("new", 2, READY)
    for field in ("name", "uid", "effective_path", "create_time", "conditions"):
        assert getattr(after, field) == getattr(before, field)


@pytest.mark.parametrize("path", ["create_time.seconds", "conditions"])
def test_a_mask_of_output_only_fields_alone_changes_nothing(backend: Backend, path: str) -> None:
    before = made(backend)
    wanted = share_pb2.Share(create_time=timestamp_pb2.Timestamp(seconds=1))
    assert updated(backend, path, create_time=wanted.create_time) == before


@pytest.mark.parametrize(
    "paths",
    [
        ("nonsense",),
        ("comment", "nonsense"),
        ("file_creation.nonsense",),
        ("comment.length",),
        ("labels.a",),
        ("access.level",),
        ("*", "comment"),
        ("",),
        ("comment.",),
        (".comment",),
        ("Comment",),
        ("fileCreation",),
    ],
)
def test_paths_that_are_no_fields_are_refused(unchanged: Backend, paths: tuple[str, ...]) -> None:
    request = share_service_pb2.UpdateShareRequest(share=share_pb2.Share(name=DATA, comment="x"))
    request.update_mask.paths.extend(paths)
    found: Refusal = refused(unchanged.shares.UpdateShare, request)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(found.fields) == ["update_mask"]


@pytest.mark.parametrize("method", ["UpdateFileServer", "UpdateShare", "UpdateUser", "UpdateGroup"])
def test_every_update_refuses_an_unknown_path(unchanged: Backend, method: str) -> None:
    call, request = prepared(unchanged, method)
    request.update_mask.paths.append("nonsense")
    assert list(refused(call, request).fields) == ["update_mask"]


@pytest.mark.parametrize("paths", [("directory.path",), ("volume.size_bytes",), ("volume",)])
def test_a_mask_does_not_lead_to_other_storage(unchanged: Backend, paths: tuple[str, ...]) -> None:
    share = share_pb2.Share(name=DATA)
    if "directory" in paths[0]:
        share.directory.path = "/srv/y"
    else:
        share.volume.size_bytes = 1024**3
    request = share_service_pb2.UpdateShareRequest(share=share)
    request.update_mask.paths.extend(paths)
    found = refused(unchanged.shares.UpdateShare, request)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    assert list(found.fields) == [f"share.{paths[0].partition('.')[0]}"]
