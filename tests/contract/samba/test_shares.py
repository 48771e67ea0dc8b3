"""Shares on a real smbd: made, changed and removed in batches."""

from __future__ import annotations

import os

from services.core.domain.operation import Verb
from tests.contract.samba.lab import Lab


def put(lab: Lab, share: str, user: str, name: str = "f", password: str = "") -> str:
    return lab.smbclient(share, user, f"put /etc/hostname {name}", password=password)


def test_a_share_is_read_and_written(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:read-write", "bob:read"))
    assert "putting file" in put(lab, "docs", "alice")
    assert "getting file" in lab.smbclient("docs", "bob", "get f got")
    assert "NT_STATUS_ACCESS_DENIED" in put(lab, "docs", "bob", "g")
    assert "tree connect failed: NT_STATUS_ACCESS_DENIED" in lab.smbclient("docs", "carol", "ls")


def test_ensure_runs_twice(lab: Lab) -> None:
    row = lab.share("docs", "alice:read-write")
    lab.ensure(row)
    lab.ensure(row)
    assert os.stat(lab.path("docs")).st_gid == 900000
    lab.remove(row)
    assert lab.remove(row)[0].error is None
    assert "BAD_NETWORK_NAME" in lab.smbclient("docs", "alice", "ls")
    assert os.path.isdir(lab.path("docs"))
    assert lab.claims.rows == {}


def test_update(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:read-write"))
    lab.ensure(lab.share("docs", "bob:read-write"), verb=Verb.UPDATE)
    assert "ACCESS_DENIED" in put(lab, "docs", "alice")
    assert "putting file" in put(lab, "docs", "bob")
