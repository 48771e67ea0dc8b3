"""Shares on a real smbd: made, changed and removed in batches."""

from __future__ import annotations

import os
import uuid

from services.core.domain.names import Kind
from services.core.domain.operation import Verb
from services.core.domain.share import FileCreation
from services.samba.agent import script as agent_script
from tests.contract.samba.lab import Lab


def put(lab: Lab, share: str, user: str, name: str = "f") -> str:
    return lab.smbclient(share, user, f"put /etc/hostname {name}")


def test_a_batch_is_one_command(lab: Lab) -> None:
    rows = [lab.share(f"s{i}", "alice:read-write") for i in range(12)]
    lab.recorder.commands.clear()
    lab.ensure(*rows)
    assert len(lab.recorder.commands) == 1
    assert all("putting file" in put(lab, row.name.last, "alice") for row in rows[::5])
    before = writes(lab)
    lab.ensure(*rows)
    assert writes(lab) == before, "what is there already was written again"
    lab.recorder.commands.clear()
    lab.remove(*rows)
    assert len(lab.recorder.commands) == 1
    assert lab.registry("listshares").split() == ["pvesmb-probe$"]


def writes(lab: Lab) -> int:
    """Counts what is written to the registry."""
    script = "import sys, tdb; print(tdb.open(sys.argv[1], flags=tdb.SEQNUM).seqnum)"
    return int(lab.tool("/usr/bin/python3", "-c", script, f"{lab.files.state_dir}/registry.tdb"))


def test_ensure_and_remove_run_twice(lab: Lab) -> None:
    row = lab.share("docs", "alice:read-write")
    lab.ensure(row)
    lab.ensure(row)
    assert lab.drift() == []
    lab.remove(row)
    assert lab.remove(row)[0].error is None
    assert "BAD_NETWORK_NAME" in lab.smbclient("docs", "alice", "ls")
    assert os.path.isdir(lab.path("docs")), "the data was not kept"
    assert lab.claims.rows == {}
    assert lab.drift() == []


def test_names_that_are_unusual(lab: Lab) -> None:
    names = ["My Files", "büro", "a'b&c", "dollar$", "#1 (x)"]
    rows = [lab.share(name, "alice:read-write", comment=f'über "{name}"; # \\') for name in names]
    lab.ensure(*rows)
    for name in names:
        assert "putting file" in put(lab, name, "alice"), name
    assert lab.drift() == []
    lab.remove(*rows)
    assert all("BAD_NETWORK_NAME" in lab.smbclient(name, "alice", "ls") for name in names)


def test_an_update_counts_from_the_next_connection(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:read-write"))
    # Listing makes smbd load the share; a change must count all the same.
    assert "docs" in lab.smbclient("IPC$", "alice", options=["-L", lab.address])
    lab.ensure(lab.share("docs", "bob:read-write", comment="later"), verb=Verb.UPDATE)
    assert "ACCESS_DENIED" in put(lab, "docs", "alice")
    assert "putting file" in put(lab, "docs", "bob")
    section = lab.registry("showshare", "docs")
    assert "pvesmb:generation = 2" in section
    assert f"pvesmb:uid = {lab.contents[Kind.SHARE, 'docs'].uid}" in section


def test_rights_that_are_taken_away_are_gone_from_open_connections(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:read-write", "bob:read-write"))
    with lab.session("alice") as alice, lab.session("bob") as bob:
        trees = alice.connect("docs"), bob.connect("docs")
        lab.ensure(lab.share("docs", "alice:read", "bob:read-write"), verb=Verb.UPDATE)
        assert alice.write(trees[0], "a") == "NETWORK_NAME_DELETED"
        assert alice.write(alice.connect("docs"), "a") == "ACCESS_DENIED"
        bobs = bob.connect("docs")
        assert bob.write(bobs, "b") == ""
        lab.ensure(lab.share("docs", "bob:read-write"), verb=Verb.UPDATE)
        assert alice.tree("docs") == "ACCESS_DENIED"
        assert bob.write(bobs, "c") == "", "who keeps his rights was cut off"
        lab.remove(lab.contents[Kind.SHARE, "docs"])
        assert bob.write(bobs, "d") == "NETWORK_NAME_DELETED"
        assert bob.tree("docs") == "BAD_NETWORK_NAME"


def test_a_bad_option_fails_alone(lab: Lab) -> None:
    """Our own table lets no bad option through, so a share's field brings it: Samba knows no such mask."""
    creation = FileCreation()
    object.__setattr__(creation, "create_mask", "rubbish")
    good, bad = lab.share("good", "alice:read"), lab.share("bad", "alice:read", file_creation=creation)
    changes = lab.apply(lab.change(good), lab.change(bad))
    assert changes[0].error is None
    assert changes[1].error is not None
    assert changes[1].error.reason == "SAMBA_CONFIG_REJECTED"
    assert changes[1].error.metadata == {"parameter": "create mask"}
    assert "BAD_NETWORK_NAME" in lab.smbclient("bad", "alice", "ls")
    assert "blocks available" in lab.smbclient("good", "alice", "ls")


def test_a_foreign_section_of_the_same_name_is_not_removed(lab: Lab) -> None:
    lab.registry("addshare", "docs", lab.data)
    lab.registry("setparm", "docs", "pvesmb:uid", str(uuid.uuid4()))
    assert lab.remove(lab.share("docs", "alice:read"))[0].error is not None, "it was said to be gone, but is served"
    assert "path" in lab.registry("showshare", "docs")


def test_secrets_are_on_no_command_line(lab: Lab) -> None:
    lab.ensure(lab.user("dave", 7), lab.share("docs", "alice:read"))
    lab.drift()
    words = [word for argv in lab.recorder.commands for word in argv]
    assert agent_script() in words
    assert not any("canary" in word for word in words)
