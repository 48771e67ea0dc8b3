"""What a field mask takes over."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from pvesmb.v1 import common_pb2, file_server_pb2, share_pb2, user_pb2

from services.core.errors import InvalidField
from services.wire.masks import merged, settable

Share = share_pb2.Share

#: The fields that only we set, in the words of the contract.
OUTPUT_ONLY = {
    "name", "uid", "create_time", "update_time", "etag", "generation", "observed_generation", "state", "conditions",
    "effective_path", "endpoints", "unix_id",
}  # fmt: skip


@pytest.mark.parametrize("kind", [file_server_pb2.FileServer, Share, user_pb2.User, user_pb2.Group])
def test_what_a_caller_can_set(kind: type[Message]) -> None:
    fields = {field.name: settable(field) for field in kind.DESCRIPTOR.fields}
    assert {name for name, is_settable in fields.items() if not is_settable} == OUTPUT_ONLY & set(fields)


@given(st.lists(st.sampled_from(["comment", "labels", "access", "browseable", "read_only", "file_creation"])))
def test_named_fields_are_the_wanted_ones_and_others_the_current(paths: list[str]) -> None:
    rule = share_pb2.AccessRule(user="a")
    current: Any = Share(comment="c", labels={"c": "c"}, browseable=False, access=[rule], max_connections=1)
    wanted: Any = Share(comment="w", labels={"w": "w"}, read_only=True, max_connections=2)
    wanted.file_creation.SetInParent()
    result = merged(current, wanted, paths or ["comment"], "share")
    for field in Share.DESCRIPTOR.fields:
        source = wanted if field.name in (paths or ["comment"]) else current
        assert getattr(result, field.name) == getattr(source, field.name)
        if field.has_presence:
            assert result.HasField(field.name) == source.HasField(field.name)


def test_the_current_message_is_left_alone() -> None:
    current = Share(comment="c", file_creation=share_pb2.FileCreation(force_user="u"))
    kept = Share()
    kept.CopyFrom(current)
    merged(current, Share(comment="w"), ["comment", "file_creation.force_user"], "share")
    assert current == kept


@pytest.mark.parametrize("paths", [[], ["*"]])
def test_all_keeps_a_oneof_that_is_not_wanted(paths: list[str]) -> None:
    current = Share(comment="c", volume=share_pb2.VolumeStorage(size_bytes=5), browseable=False)
    result = merged(current, Share(), paths, "share")
    assert (result.comment, result.volume.size_bytes, result.HasField("browseable")) == ("", 5, False)
    result = merged(current, Share(directory=share_pb2.DirectoryStorage(path="/a")), paths, "share")
    assert (result.WhichOneof("storage"), result.directory.path) == ("directory", "/a")


def test_deep_paths() -> None:
    current = file_server_pb2.FileServer(smb={"workgroup": "A", "netbios_name": "N"})  # type: ignore[arg-type]
    wanted = file_server_pb2.FileServer()
    wanted.smb.signing = common_pb2.DEMAND_DESIRED
    result = merged(current, wanted, ["smb.workgroup", "smb.signing"], "file_server")
    assert (result.smb.workgroup, result.smb.netbios_name, result.smb.signing) == ("", "N", common_pb2.DEMAND_DESIRED)


@pytest.mark.parametrize("path", ["x", "comment.x", "labels.x", "access.level", "file_creation.x", "", ".", "*"])
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(InvalidField) as caught:
        merged(Share(), Share(), ["comment", path], "share")
    assert caught.value.violations[0].subject == "update_mask"
    assert repr(path) in caught.value.message
