"""Windows' permissions in a real container."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pvesmb

from tests.e2e import modes
from tests.e2e.conformance.targets import WINDOWS_LIKE
from tests.e2e.deployment import Deployment
from tests.e2e.smb import smbcacls
from tests.e2e.waiting import until
from tests.e2e.words import password, user_rule, users


@modes.only("lxc")
def test_they_are_kept_with_the_files_and_survive_a_restart(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    deployment = deploy(share_options=WINDOWS_LIKE)
    share = pvesmb.Share(access=[user_rule("ann"), user_rule("ben")])
    server = deployment.new_server(users=users("ann", "ben"), shares={"docs": share})
    (tmp_path / "letter").write_bytes(b"Dear ben")
    assert server.smb("ann", "docs", "put letter", directory=str(tmp_path)).ok

    def permissions(*words: str) -> str:
        told = smbcacls(server.endpoint[0], "docs", "letter", "ann", password("ann"), *words)
        assert told.ok, told.text
        return told.text

    permissions("--add", "ACL:ben:DENIED/0x0/W")
    before = permissions()
    assert "ben:DENIED" in before
    assert "user.NTACL" in os.listxattr(deployment.files(server, "docs") / "letter")
    assert deployment.tool(server, "systemctl", "restart", "smbd").returncode == 0
    until(lambda: server.smb("ann", "docs", "ls").ok, "smbd is there again")
    assert permissions() == before
    told = server.smb("ben", "docs", "put letter", directory=str(tmp_path))
    assert told.status == "NT_STATUS_ACCESS_DENIED"
