"""A share's section, rendered."""

from __future__ import annotations

from typing import Any

import pytest

from services.core.domain.file_server import Demand
from services.core.domain.share import DirectoryStorage, FileCreation, GuestAccess
from services.core.errors import InvalidField
from services.samba import shares
from tests.unit.samba import builders

SERVER = builders.server()
LISTS = ("valid users", "invalid users", "admin users", "write list")


def section(
    *access: str, site: dict[str, str] | None = None, server: Any = SERVER, path: str = "/srv/docs", **fields: Any
) -> Any:
    share = builders.share("docs", path, access=builders.rules(*access), **fields)
    return shares.section(server, share, site or {})


@pytest.mark.parametrize(
    ("access", "valid", "invalid", "admin", "write"),
    [
        ([], "pvesmb-probe", "pvesmb-probe", None, None),
        (["alice:read"], "alice", "pvesmb-probe", None, None),
        (["bob:read-write", "alice:read"], "alice bob", "pvesmb-probe", None, "bob"),
        (["@team:admin"], "@team", "pvesmb-probe", "@team", "@team"),
        (["*:read", "@team:deny", "bob:deny"], "@pvesmb-users", "pvesmb-probe @team bob", None, None),
        (["*:deny"], "pvesmb-probe", "pvesmb-probe @pvesmb-users", None, None),
        (["*:read-write", "alice:admin"], "@pvesmb-users alice", "pvesmb-probe", "alice", "@pvesmb-users alice"),
    ],
)
def test_access(access: list[str], valid: str, invalid: str, admin: str | None, write: str | None) -> None:
    made = section(*access)
    assert [made.get(name) for name in LISTS] == [valid, invalid, admin, write]
    assert made["read only"] == "yes"
    assert made["guest ok"] == "no"


def test_read_only_leaves_nobody_to_write() -> None:
    made = section("alice:admin", "bob:read-write", read_only=True)
    assert "write list" not in made
    assert made["admin users"] == "alice"


@pytest.mark.parametrize("level", [GuestAccess.READ, GuestAccess.READ_WRITE])
def test_guests(level: GuestAccess) -> None:
    made = section("alice:read-write", guest_access=level)
    assert made["guest ok"] == "yes"
    assert made["valid users"] == "alice pvesmb-guest"
    assert made["write list"] == ("alice pvesmb-guest" if level is GuestAccess.READ_WRITE else "alice")
    assert made["force group"] == "pvesmb-users"


def test_guests_act_in_the_group_of_the_directory() -> None:
    assert section(guest_access=GuestAccess.READ, storage=DirectoryStorage(group="team"))["force group"] == "team"
    creation = FileCreation(force_group="other")
    assert section(guest_access=GuestAccess.READ, file_creation=creation)["force group"] == "other"
    assert "force group" not in section("alice:read")


def test_everything_else() -> None:
    made = section(
        comment="For all",
        browseable=False,
        hosts_deny=("10.0.0.1", "fd00::/8"),
        max_connections=5,
        encryption_required=True,
        file_creation=FileCreation("owner", "team", "0640", "2750"),
        smb_options={"Case Sensitive": "True"},
    )
    expected = {
        "path": "/srv/docs",
        "comment": "For all",
        "browseable": "no",
        "hosts deny": "10.0.0.1 fd00::/8",
        "max connections": "5",
        "server smb encrypt": "required",
        "force user": "owner",
        "force group": "team",
        "create mask": "0640",
        "directory mask": "2750",
        "case sensitive": "yes",
        "pvesmb:generation": "1",
    }
    assert {name: made[name] for name in expected} == expected
    assert len(made["pvesmb:uid"]) == 36


def test_a_list_of_those_who_may_leaves_all_others_out() -> None:
    made = section(hosts_allow=("10.0.0.0/8",), hosts_deny=("10.1.0.0/16",))
    assert made["hosts allow"] == "10.0.0.0/8"
    assert made["hosts deny"] == "ALL"


def test_the_site_replaces_nothing_that_the_share_says() -> None:
    site = {
        "Valid  Users": "mallory",
        "public": "yes",
        "vfs objects": "recycle",
        "recycle:keeptree": "yes",
        "oplocks": "no",
    }
    made = section("alice:read", site=site, smb_options={"oplocks": "yes"})
    assert made["valid users"] == "alice"
    assert made["guest ok"] == "no"
    assert made["oplocks"] == "yes"
    assert (made["vfs objects"], made["recycle:keeptree"]) == ("recycle", "yes")


def test_encryption_where_the_server_has_guests() -> None:
    open_server = builders.server(allow_guests=True)
    assert section("alice:read", server=open_server)["server smb encrypt"] == "desired"
    assert "server smb encrypt" not in section(server=open_server, guest_access=GuestAccess.READ)
    assert "server smb encrypt" not in section(
        "alice:read", server=builders.server(allow_guests=True, encryption=Demand.OFF)
    )
    assert "server smb encrypt" not in section("alice:read")


@pytest.mark.parametrize("path", ["/srv/x ", '/srv/x"', "/srv/x\n", "/srv/a\u202eb"])
def test_a_path_that_samba_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(InvalidField):
        section("alice:read", path=path)


def test_the_probe_has_the_modules_of_the_site_and_its_account_only() -> None:
    from tests.unit.samba.test_config import LAYOUT

    site = {"vfs object": "recycle", "recycle:keeptree": "yes", "oplocks": "no"}
    made = shares.probe(SERVER, LAYOUT, site)
    assert made["vfs objects"] == "recycle"
    assert made["recycle:keeptree"] == "yes"
    assert "oplocks" not in made
    assert made["valid users"] == "pvesmb-probe"
    assert made["browseable"] == "no"
    assert made["path"] == LAYOUT.probe_dir


def test_text() -> None:
    assert shares.text("docs", {"path": "/srv", "read only": "yes"}) == "[docs]\n  path = /srv\n  read only = yes\n"
