"""Who may do what, as clients meet it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pvesmb
import pytest

from tests.e2e.deployment import Deployment
from tests.e2e.smb import browse, session
from tests.e2e.words import ADMIN, DENY, RO, RW, Server, group_rule, password, user_rule, users

DENIED = "NT_STATUS_ACCESS_DENIED"


@pytest.fixture(scope="module")
def server(_shared: Deployment) -> Iterator[Server]:
    """One file server with a share for each question; old clients and guests may come."""
    _shared.running()
    everyone = pvesmb.AccessRule(everyone=True, level=RW)
    made = _shared.new_server(
        smb=pvesmb.SmbSettings(
            allow_guests=True, min_protocol=pvesmb.SmbSettings.DIALECT_SMB2_10, signing=pvesmb.Demand.DEMAND_DESIRED
        ),
        users=users("ann", "ben", "cat"),
        groups={"crew": pvesmb.Group(members=["ann", "ben"])},
        shares={
            "levels": pvesmb.Share(access=[user_rule("ann", ADMIN), user_rule("ben", RO)]),
            "deny": pvesmb.Share(access=[group_rule("crew"), user_rule("ben", DENY), everyone]),
            "locked": pvesmb.Share(access=[everyone], read_only=True),
            "open": pvesmb.Share(access=[user_rule("ann")], guest_access=pvesmb.GuestAccess.GUEST_ACCESS_READ_WRITE),
            "show": pvesmb.Share(access=[user_rule("ann")], guest_access=pvesmb.GuestAccess.GUEST_ACCESS_READ),
            "secret": pvesmb.Share(access=[everyone], encryption_required=True),
            "away": pvesmb.Share(access=[everyone], hosts_deny=[_shared.client_network]),
            "single": pvesmb.Share(access=[everyone], max_connections=1),
            "hidden": pvesmb.Share(access=[everyone], browseable=False),
            "owned": pvesmb.Share(
                access=[everyone],
                file_creation=pvesmb.FileCreation(
                    force_user="cat", force_group="crew", create_mask="0640", directory_mask="0750"
                ),
            ),
            "plain": pvesmb.Share(access=[everyone], smb_options={"veto files": "/*.exe/"}),
        },
    )
    yield made


def test_levels(server: Server, deployment: Deployment) -> None:
    path = deployment.files(server, "levels")
    (path / "closed").mkdir(mode=0o700)
    os.chown(path / "closed", deployment.owner(0), deployment.owner(0))
    assert server.smb("ann", "levels", "cd closed; mkdir deeper").ok, "an administrator is not bound by modes"
    assert "closed" in server.smb("ben", "levels", "ls").text
    assert server.smb("ben", "levels", "mkdir other").status == DENIED
    assert server.smb("cat", "levels", "ls").status == DENIED


def test_users_work_on_what_others_have_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("text")
    assert server.smb("ann", "plain", "mkdir desk; cd desk; put note; mkdir drawer", directory=str(tmp_path)).ok
    assert server.smb("cat", "plain", "cd desk; get note read; put note; cd drawer; put note", directory=str(tmp_path)).ok
    assert server.smb("ben", "plain", "cd desk; rm note; cd drawer; rm note; cd ..; rmdir drawer").ok


def test_deny_wins(server: Server) -> None:
    assert server.smb("ann", "deny", "mkdir a").ok
    assert server.smb("cat", "deny", "mkdir c").ok
    assert server.smb("ben", "deny", "ls").status == DENIED


def test_read_only(server: Server) -> None:
    assert server.smb("ann", "locked", "ls").ok
    assert not server.smb("ann", "locked", "mkdir a").ok


def test_guests(server: Server) -> None:
    assert server.smb("", "open", "mkdir by-guest").ok
    assert server.smb("", "show", "ls").ok
    assert server.smb("", "show", "mkdir by-guest").status == DENIED
    assert server.smb("", "deny", "ls").status == DENIED
    assert server.smb("ann", "open", "cd by-guest; mkdir by-ann").ok


def test_encryption_required(server: Server) -> None:
    assert server.smb("ann", "secret", "ls").ok
    assert server.smb("ann", "deny", "ls", "-m", "SMB2_10").ok
    assert server.smb("ann", "secret", "ls", "-m", "SMB2_10").status == DENIED, "SMB 2.1 cannot encrypt"


def test_hosts_deny(server: Server) -> None:
    assert server.smb("ann", "away", "ls").status == DENIED


def test_max_connections(server: Server) -> None:
    with session(server.endpoint, "single", "ann", password("ann")) as first:
        assert first.works()
        assert server.smb("ben", "single", "ls").status == "NT_STATUS_INSUFFICIENT_RESOURCES"
    assert server.smb("ben", "single", "ls").ok


def test_browsing(server: Server) -> None:
    listed = browse(server.endpoint, "ann", password("ann"))
    assert {"levels", "deny", "plain"} <= listed
    assert "hidden" not in listed and server.smb("ann", "hidden", "ls").ok
    assert not [name for name in listed if "probe" in name]


def test_owners_and_modes_of_new_files(server: Server, deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("text")
    assert server.smb("ann", "owned", "put note; mkdir shelf", directory=str(tmp_path)).ok
    share = deployment.files(server, "owned")
    cat = deployment.owner(deployment.client.users.get(server.user("cat")).unix_id)
    crew = deployment.owner(deployment.client.groups.get(server.group("crew")).unix_id)
    note, shelf = os.stat(share / "note"), os.stat(share / "shelf")
    assert (note.st_uid, note.st_gid, stat.S_IMODE(note.st_mode)) == (cat, crew, 0o640)
    assert (shelf.st_uid, shelf.st_gid) == (cat, crew)
    assert stat.S_IMODE(shelf.st_mode) & 0o777 == 0o750


def test_an_allowed_option_is_in_force(server: Server, tmp_path: Path) -> None:
    for name in ("tool.exe", "tool.txt"):
        (tmp_path / name).write_text("x")
    assert server.smb("ann", "plain", "put tool.txt", directory=str(tmp_path)).ok
    assert not server.smb("ann", "plain", "put tool.exe", directory=str(tmp_path)).ok


def test_ten_shares_at_once(server: Server, deployment: Deployment) -> None:
    names = [f"many{i}" for i in range(10)]
    handles = [
        deployment.client.shares.create(server.name, name, pvesmb.Share(access=[user_rule("ann", RW)])) for name in names
    ]
    for handle in handles:
        handle.result(timeout=60)
    for name in names:
        assert server.smb("ann", name, "ls").ok
