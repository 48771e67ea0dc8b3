"""From one call to files, and back to nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pvesmb
import pytest

from tests.e2e import modes
from tests.e2e.deployment import Deployment
from tests.e2e.lxc import LxcDeployment
from tests.e2e.native import NativeDeployment
from tests.e2e.words import MIB, RO, Server, group_rule, password, user_rule, users


@pytest.fixture
def server(deployment: Deployment) -> Server:
    """With two users, a group, and shares for one of them."""
    return deployment.new_server(
        users=users("ann", "ben"),
        groups={"crew": pvesmb.Group(members=["ben"])},
        shares={
            "docs": pvesmb.Share(comment="Documents", access=[user_rule("ann"), group_rule("crew", RO)]),
            "plans": pvesmb.Share(access=[group_rule("crew")]),
        },
    )


def test_everything_in_one_call(deployment: Deployment, server: Server, tmp_path: Path) -> None:
    (tmp_path / "letter").write_bytes(os.urandom(100_000))
    assert server.smb("ann", "docs", "put letter", directory=str(tmp_path)).ok
    assert server.smb("ben", "docs", "get letter copy", directory=str(tmp_path)).ok
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "letter").read_bytes()
    assert server.smb("ben", "docs", "put letter other", directory=str(tmp_path)).status == "NT_STATUS_ACCESS_DENIED"
    assert server.smb("ben", "plans", "mkdir spring").ok
    assert server.smb("ann", "plans", "ls").status == "NT_STATUS_ACCESS_DENIED"
    assert server.smb("ann", "docs", "ls", number=2).status == "NT_STATUS_LOGON_FAILURE"
    assert server.resource.state == pvesmb.ResourceState.RESOURCE_STATE_READY
    assert [share.name for share in deployment.client.shares.list(server.name)] == [
        server.share("docs"),
        server.share("plans"),
    ]
    assert deployment.registry_of(server.uid) == {"docs", "plans"}


def test_a_volume_is_a_limit_and_grows(deployment: Deployment, server: Server, tmp_path: Path) -> None:
    client = deployment.client
    volume = pvesmb.Share(volume=pvesmb.VolumeStorage(size_bytes=512 * MIB), access=[user_rule("ann")])
    share = client.shares.create(server.name, "vault", volume).result(timeout=60)
    place = deployment.files(server, "vault")
    with open(tmp_path / "big", "wb") as file:
        file.truncate(520 * MIB)
    told = server.smb("ann", "vault", "put big", directory=str(tmp_path))
    assert not told.ok and "NT_STATUS_DISK_FULL" in told.text, told.text
    assert server.smb("ann", "vault", "rm big").ok
    assert blocks(server) <= 512 * MIB
    share.volume.size_bytes = 640 * MIB
    share = client.shares.update(share, ["volume.size_bytes"]).result(timeout=60)
    assert 512 * MIB < blocks(server) <= 640 * MIB
    assert server.smb("ann", "vault", "put big", directory=str(tmp_path)).ok
    share.volume.size_bytes = 600 * MIB
    with pytest.raises(pvesmb.PvesmbError, match="shrink"):
        client.shares.update(share, ["volume.size_bytes"]).result(timeout=60)
    client.shares.delete(share.name, delete_data=True).result(timeout=60)
    assert not (place / "big").exists()


def blocks(server: Server) -> int:
    """Size of the share as a client sees it: `N blocks of size M. K blocks available`."""
    words = server.smb("ann", "vault", "ls").text.split()
    at = words.index("blocks")
    return int(words[at - 1]) * int(words[at + 3].rstrip("."))


def test_delete_keeps_data_unless_asked(deployment: Deployment, server: Server, tmp_path: Path) -> None:
    client = deployment.client
    (tmp_path / "note").write_text("kept")
    kept, gone = deployment.files(server, "docs"), deployment.files(server, "plans")
    assert server.smb("ann", "docs", "put note", directory=str(tmp_path)).ok
    assert server.smb("ben", "plans", "put note", directory=str(tmp_path)).ok
    assert (gone / "note").exists()
    client.shares.delete(server.share("docs")).result(timeout=60)
    client.shares.delete(server.share("plans"), delete_data=True).result(timeout=60)
    assert (kept / "note").read_text() == "kept"
    assert not (gone / "note").exists()
    assert server.smb("ann", "docs", "ls").status == "NT_STATUS_BAD_NETWORK_NAME"


@modes.only("native")
def test_what_was_there_before_is_never_removed(deployment: NativeDeployment, server: Server) -> None:
    client = deployment.client
    found = deployment.data / f"found-{server.id}"
    found.mkdir(mode=0o777)
    (found / "old").write_text("older than the share")
    share = pvesmb.Share(directory=pvesmb.DirectoryStorage(path=str(found)), access=[user_rule("ann", RO)])
    client.shares.create(server.name, "found", share).result(timeout=60)
    assert "old" in server.smb("ann", "found", "ls").text
    with pytest.raises(pvesmb.FailedPrecondition, match="was not made by"):
        client.shares.delete(server.share("found"), delete_data=True).result(timeout=60)
    assert (found / "old").read_text() == "older than the share"
    client.shares.delete(server.share("found")).result(timeout=60)
    assert (found / "old").read_text() == "older than the share"
    assert server.smb("ann", "found", "ls").status == "NT_STATUS_BAD_NETWORK_NAME"


def test_an_update_counts_for_new_connections(deployment: Deployment, server: Server) -> None:
    share = pvesmb.Share(name=server.share("docs"), access=[user_rule("ben")])
    deployment.client.shares.update(share, ["access"]).result(timeout=60)
    assert server.smb("ben", "docs", "mkdir mine").ok
    assert server.smb("ann", "docs", "ls").status == "NT_STATUS_ACCESS_DENIED"


@modes.only("native")
def test_deleting_the_file_server_leaves_only_data(deployment: NativeDeployment, server: Server, tmp_path: Path) -> None:
    """Its directories and volumes are the node's own."""
    client = deployment.client
    volume = pvesmb.Share(volume=pvesmb.VolumeStorage(size_bytes=512 * MIB), access=[user_rule("ann")])
    client.shares.create(server.name, "vault", volume).result(timeout=60)
    (tmp_path / "note").write_text("kept")
    assert server.smb("ann", "docs", "put note", directory=str(tmp_path)).ok
    with pytest.raises(pvesmb.FailedPrecondition):
        client.file_servers.delete(server.name).result(timeout=60)
    assert deployment.smbd(server) in deployment.processes(server.uid)
    client.file_servers.delete(server.name, force=True).result(timeout=60)
    assert deployment.processes(server.uid) == []
    assert deployment.instances(server.id) == []
    assert (deployment.data / server.id / "docs" / "note").read_text() == "kept"
    assert not os.path.ismount(deployment.data / server.id / "vault")
    assert [row for row in deployment.rows("SELECT owner FROM claims") if row == (server.uid,)] == []
    with pytest.raises(pvesmb.NotFound):
        client.file_servers.get(server.name)
    again = client.file_servers.create(deployment.backend, server.id, server.resource, users=users("ann"))
    assert Server(again.result(timeout=60)).uid != server.uid


@modes.only("lxc")
def test_deleting_the_file_server_takes_its_data_along(deployment: LxcDeployment, server: Server, tmp_path: Path) -> None:
    """Volumes go with their container, so this has to be asked for."""
    client = deployment.client
    (tmp_path / "note").write_text("kept")
    assert server.smb("ann", "docs", "put note", directory=str(tmp_path)).ok
    with pytest.raises(pvesmb.FailedPrecondition) as raised:
        client.file_servers.delete(server.name, force=True).result(timeout=60)
    assert raised.value.help
    assert server.smb("ann", "docs", "get note -").ok
    client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)
    assert server.uid not in deployment.hosted()
    assert [row for row in deployment.rows("SELECT owner FROM claims") if row == (server.uid,)] == []
    with pytest.raises(pvesmb.NotFound):
        client.file_servers.get(server.name)
    again = client.file_servers.create(deployment.backend, server.id, server.resource, users=users("ann"))
    assert Server(again.result(timeout=60)).uid != server.uid


def test_the_same_request_is_done_once(deployment: Deployment, server: Server) -> None:
    request = "6c0e64b6-43a8-4d77-8d1d-3f6e4f1b7c55"
    one = deployment.client.users.create(server.name, "carl", pvesmb.User(password=password("carl")), request_id=request)
    two = deployment.client.users.create(server.name, "carl", pvesmb.User(password=password("carl")), request_id=request)
    assert one.name == two.name
    assert one.result(timeout=60) == two.result(timeout=60)


@modes.only("lxc")
def test_more_than_the_node_has_is_refused(deployment: Deployment) -> None:
    before, spec = deployment.hosted(), deployment.spec()
    spec.lxc.placement.cores = 128
    with pytest.raises(pvesmb.PvesmbError) as refused:
        deployment.client.file_servers.create(deployment.backend, "huge", spec).result(timeout=60)
    assert refused.value.reason == "PRECONDITION_FAILED" and "cores" in refused.value.message
    assert deployment.hosted() == before
