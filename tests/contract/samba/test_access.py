"""Who may do what, tried with the standard client."""

from __future__ import annotations

import os

import pytest

from services.core.domain.file_server import Demand, Dialect
from services.core.domain.share import FileCreation, GuestAccess
from tests.contract.samba.conftest import NewLab
from tests.contract.samba.lab import Lab
from tests.unit.samba import builders

READ, WRITE, NONE = "reads", "writes", "nothing"


def can(lab: Lab, share: str, user: str, password: str = "", port: int = 0) -> str:
    """What the user can do on this share."""
    listed = lab.smbclient(share, user, "ls", password=password, port=port)
    if "blocks available" not in listed:
        assert "NT_STATUS_ACCESS_DENIED" in listed, listed
        return NONE
    written = lab.smbclient(share, user, f"put /etc/hostname by-{user or 'nobody'}", password=password, port=port)
    if "putting file" in written:
        return WRITE
    assert "NT_STATUS_ACCESS_DENIED" in written, written
    return READ


@pytest.mark.parametrize(
    ("access", "alice", "bob", "carol"),
    [
        ((), NONE, NONE, NONE),
        (("alice:read",), READ, NONE, NONE),
        (("alice:read-write", "bob:read"), WRITE, READ, NONE),
        (("*:read", "alice:read-write"), WRITE, READ, READ),
        (("*:read-write",), WRITE, WRITE, WRITE),
        (("*:read-write", "bob:deny"), WRITE, NONE, WRITE),
        (("*:deny", "alice:admin"), NONE, NONE, NONE),
        (("alice:admin",), WRITE, NONE, NONE),
        (("@team:read", "bob:read-write"), READ, WRITE, NONE),
        (("@team:read-write", "alice:read"), WRITE, WRITE, NONE),
        (("@team:deny", "alice:admin", "carol:read"), NONE, NONE, READ),
    ],
)
def test_levels(lab: Lab, access: tuple[str, ...], alice: str, bob: str, carol: str) -> None:
    lab.ensure(builders.group("team", 900201, "alice", "bob"))
    lab.ensure(lab.share("docs", *access))
    assert [can(lab, "docs", user) for user in ("alice", "bob", "carol")] == [alice, bob, carol]


def test_read_only_binds_everybody(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:admin", "bob:read-write", read_only=True))
    assert [can(lab, "docs", user) for user in ("alice", "bob")] == [READ, READ]


def test_admin_is_not_bound_by_file_permissions(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:admin", "bob:read-write"))
    lab_path = lab.path("docs")
    lab.tool("/usr/bin/python3", "-c", f"open({lab_path!r} + '/locked', 'w').close()")
    lab.tool("chmod", "600", f"{lab_path}/locked")
    assert "ACCESS_DENIED" in lab.smbclient("docs", "bob", "get locked got")
    assert "getting file" in lab.smbclient("docs", "alice", "get locked got")


def test_a_wrong_password_is_refused(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:read"))
    assert "LOGON_FAILURE" in lab.smbclient("docs", "alice", "ls", password="wrong")
    assert "LOGON_FAILURE" in lab.smbclient("docs", "stranger", "ls", password="wrong")
    assert "ACCESS_DENIED" in lab.smbclient("docs", "", "ls")


@pytest.mark.parametrize(
    ("guests", "access", "guest", "alice", "bob"),
    [
        (GuestAccess.READ, (), READ, NONE, NONE),
        (GuestAccess.READ_WRITE, (), WRITE, NONE, NONE),
        (GuestAccess.READ, ("*:read-write",), READ, WRITE, WRITE),
        (GuestAccess.READ_WRITE, ("*:read",), WRITE, READ, READ),
        (GuestAccess.NONE, ("*:read-write",), NONE, WRITE, WRITE),
        (GuestAccess.READ, ("*:deny",), READ, NONE, NONE),
    ],
)
def test_guests(new_lab: NewLab, guests: GuestAccess, access: tuple[str, ...], guest: str, alice: str, bob: str) -> None:
    lab = new_lab(allow_guests=True)
    people = [lab.change(lab.user("alice", 1)), lab.change(lab.user("bob", 2))]
    share = lab.change(lab.share("open", *access, guest_access=guests))
    lab.apply(*people, share, whole=True)
    assert share.error is None
    assert can(lab, "open", "") == guest
    assert can(lab, "open", "stranger", "anything") == guest
    assert [can(lab, "open", user) for user in ("alice", "bob")] == [alice, bob]


def test_a_real_user_sees_the_list_and_nobody_else_does(lab: Lab) -> None:
    lab.ensure(lab.share("seen", "alice:read", comment="for all"), lab.share("hidden", "alice:read", browseable=False))
    listed = lab.smbclient("IPC$", "alice", options=["-L", lab.address])
    assert "seen" in listed
    assert "for all" in listed
    assert "hidden" not in listed
    assert "pvesmb-probe" not in listed
    assert "ACCESS_DENIED" in lab.smbclient("IPC$", "", options=["-L", lab.address])


@pytest.mark.parametrize("demand", [Demand.OFF, Demand.DESIRED])
def test_encryption_required(new_lab: NewLab, demand: Demand) -> None:
    lab = new_lab(encryption=demand, min_protocol=Dialect.SMB2_10)
    rows = lab.user("alice", 1), lab.share("vault", "alice:read", encryption_required=True), lab.share("docs", "alice:read")
    changes = lab.apply(*(lab.change(row) for row in rows), whole=True)
    assert not any(change.error for change in changes)
    old = ["-m", "SMB2_10"]  # a dialect without encryption
    assert "blocks available" in lab.smbclient("vault", "alice", "ls")
    assert "ACCESS_DENIED" in lab.smbclient("vault", "alice", "ls", options=old)
    assert "blocks available" in lab.smbclient("docs", "alice", "ls", options=old)


def test_old_dialects_are_refused(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:read"))
    assert "blocks available" in lab.smbclient("docs", "alice", "ls", options=["-m", "SMB3_00"])
    old = lab.smbclient("docs", "alice", "ls", options=["--option=client min protocol=SMB2_02", "-m", "SMB2_10"])
    assert "NT_STATUS" in old
    assert "blocks available" not in old


def test_hosts(lab: Lab) -> None:
    lab.ensure(
        lab.share("denied", "alice:read", hosts_deny=("127.88.0.0/16",)),
        lab.share("elsewhere", "alice:read", hosts_allow=("10.9.9.0/24", "fd00::/8")),
        lab.share("here", "alice:read", hosts_allow=("127.88.0.0/24",), hosts_deny=("0.0.0.0/0",)),
        lab.share("narrow", "alice:read", hosts_allow=("10.9.9.9",), hosts_deny=("10.0.0.0/8",)),
    )
    with lab.relay("127.88.0.7") as port:
        seen = [can(lab, id, "alice", port=port) for id in ("denied", "elsewhere", "here", "narrow")]
    assert seen == [NONE, NONE, READ, NONE]
    assert can(lab, "denied", "alice") == READ


def test_max_connections(lab: Lab) -> None:
    row = lab.share("few", "alice:read", max_connections=1)
    lab.ensure(row)
    with lab.session("alice") as session:
        session.connect("few")
        assert "tree connect failed" in lab.smbclient("few", "alice", "ls")
        # A share that is full is served all the same.
        lab.ensure(row)
    assert lab.drift() == []


def test_owners_and_modes_of_new_files(lab: Lab) -> None:
    lab.ensure(builders.group("team", 900201, "alice"), lab.user("owner", 9))
    masks = FileCreation(create_mask="0640", directory_mask="2750")
    forced = FileCreation(force_user="owner", force_group="team", create_mask="0600")
    lab.ensure(
        lab.share("plain", "alice:read-write"),
        lab.share("masks", "alice:read-write", file_creation=masks),
        lab.share("forced", "alice:read-write", file_creation=forced),
    )
    for id in ("plain", "masks", "forced"):
        assert "putting file" in lab.smbclient(id, "alice", "mkdir d", "put /etc/hostname f"), id

    def seen(path: str) -> tuple[int, int, str]:
        found = os.stat(f"{lab.data}/{path}")
        return found.st_uid, found.st_gid, f"{found.st_mode & 0o7777:o}"

    alice, users, owner, team = 900100, 900000, 900109, 900201
    assert [seen(p) for p in ("plain/f", "plain/d")] == [(alice, users, "760"), (alice, users, "2770")]
    assert [seen(p) for p in ("masks/f", "masks/d")] == [(alice, users, "640"), (alice, users, "2750")]
    assert seen("forced/f") == (owner, team, "600")
