"""Windows' permissions in an unprivileged container: where they are kept, what they survive, and who reaches them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.samba.lab import ENVIRONMENT
from tests.contract.samba.unprivileged import UnprivilegedLab, inside, unprivileged

pytestmark = pytest.mark.root

#: docs/ARCHITECTURE.md, "Permissions": what a site with Windows users only sets. Otherwise they are mapped to POSIX ACLs.
WINDOWS = {
    "vfs objects": "acl_xattr streams_xattr",
    "acl_xattr:ignore system acls": "yes",
    "acl_xattr:default acl style": "everyone",
}
#: Which id outside is root inside.
HERE, ELSEWHERE = 100_000, 2_000_000
#: For smbcacls(1), which knows no port but this.
FRONT = (f"127.77.{os.getpid() % 250 + 1}.{os.getpid() // 250 % 250 + 1}", 445)
NO_WRITING = "ACL:bob:DENIED/0x0/W"


@pytest.fixture(params=[WINDOWS, {}], ids=["windows", "posix"])
def lab(request: pytest.FixtureRequest) -> Iterator[UnprivilegedLab]:
    with _lab(request.param) as lab:
        yield lab


@pytest.fixture
def windows() -> Iterator[UnprivilegedLab]:
    with _lab(WINDOWS) as lab:
        yield lab


@contextlib.contextmanager
def _lab(site: Mapping[str, str], attribute: str | None = None) -> Iterator[UnprivilegedLab]:
    """With a file and a directory of alice's, on which bob may do everything."""
    with unprivileged(HERE, site) as lab:
        if attribute is not None:
            lab.files = replace(lab.files, nt_acl_attribute=attribute)
        people = [lab.user(id, number) for number, id in enumerate(("alice", "bob"))]
        assert not any(change.error for change in lab.apply(*(lab.change(row) for row in people), whole=True))
        lab.ensure(lab.share("docs", "alice:read-write", "bob:read-write"))
        lab.smbclient("docs", "alice", f"put {lab.files.conf} f", "mkdir d")
        with lab.relay("127.77.0.9", FRONT):
            yield lab


def smbcacls(lab: UnprivilegedLab, name: str, *words: str) -> tuple[int, str]:
    """smbcacls(1) as alice: its status, and all that it says."""
    argv = ["smbcacls", f"//{FRONT[0]}/docs", name, "-U", "alice", *words]
    environment = {**ENVIRONMENT, "PASSWD": lab.passwords["alice"]}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=60)
    return done.returncode, done.stdout + done.stderr


def set_permissions(lab: UnprivilegedLab) -> dict[str, str]:
    """Bob may no longer write; the permissions that are there then."""
    assert smbcacls(lab, "f", "--add", NO_WRITING)[0] == smbcacls(lab, "d", "--add", "ACL:bob:DENIED/OI|CI/W")[0] == 0
    return permissions(lab)


def permissions(lab: UnprivilegedLab) -> dict[str, str]:
    shown = {name: smbcacls(lab, name) for name in ("f", "d")}
    assert all(status == 0 and "bob" in text for status, text in shown.values()), shown
    return {name: text for name, (_, text) in shown.items()}


def bob_may_write(lab: UnprivilegedLab, name: str = "f") -> bool:
    return "NT_STATUS_ACCESS_DENIED" not in lab.smbclient("docs", "bob", f"put {lab.files.conf} {name}")


def attributes(lab: UnprivilegedLab, name: str = "f") -> set[str]:
    return set(os.listxattr(f"{lab.path('docs')}/{name}"))


def test_permissions_survive_a_restart(lab: UnprivilegedLab) -> None:
    assert bob_may_write(lab)
    before = set_permissions(lab)
    lab.stop()
    lab.start()
    assert permissions(lab) == before
    assert not bob_may_write(lab) and not bob_may_write(lab, "d/new")


def test_permissions_survive_a_backup_that_is_restored_with_other_ids(lab: UnprivilegedLab) -> None:
    before = set_permissions(lab)
    lab.stop()
    archive = lab.backup()
    with inside(ELSEWHERE) as host:
        lab.restore(archive, host)
        assert os.stat(f"{lab.path('docs')}/f").st_uid > ELSEWHERE
        lab.start()
        assert permissions(lab) == before
        assert not bob_may_write(lab) and not bob_may_write(lab, "d/new")
        lab.stop()


def test_the_two_places(windows: UnprivilegedLab) -> None:
    set_permissions(windows)
    assert "user.NTACL" in attributes(windows)
    assert not {"system.posix_acl_access", "security.NTACL"} & attributes(windows)


def test_sambas_own_place_is_refused_by_the_kernel() -> None:
    """Why there is a setting at all."""
    with _lab(WINDOWS, attribute="") as lab:
        status, said = smbcacls(lab, "f", "--add", NO_WRITING)
        assert status != 0 and "NT_STATUS_ACCESS_DENIED" in said


def test_clients_cannot_reach_the_attribute(windows: UnprivilegedLab) -> None:
    """As an extended attribute, in whatever case, or as a stream."""
    before = set_permissions(windows)

    def say(*commands: str) -> str:
        return windows.smbclient("docs", "alice", *commands)

    assert "NT_STATUS" not in say("setea f mine x")
    shown = say("geteas f")
    assert "mine" in shown and "ntacl" not in shown.lower()
    for name in ("NTACL", "ntacl", "NtAcl"):
        assert "NT_STATUS_ACCESS_DENIED" in say(f"setea f {name} x")
        assert "NT_STATUS_ACCESS_DENIED" in say(f"setea f {name}")
    # These are attributes of other names.
    say("setea f user.NTACL x", f"put {windows.files.conf} f:NTACL", f"put {windows.files.conf} f:user.NTACL")
    assert permissions(windows) == before and not bob_may_write(windows)


def test_samba_itself_says_so(windows: UnprivilegedLab) -> None:
    argv = ["smbtorture", f"//{windows.address}/docs", "-p", str(windows.port), "smb2.ea.acl_xattr"]
    argv += ["-U", f"alice%{windows.passwords['alice']}", "--option=torture:acl_xattr_name=NTACL"]
    done = subprocess.run(argv, capture_output=True, text=True, env=ENVIRONMENT, cwd=windows.base, timeout=60)
    assert "success: acl_xattr" in done.stdout, done.stdout


def test_who_may_write_a_file_by_other_ways_may_take_its_permissions_away(windows: UnprivilegedLab) -> None:
    """The price, as docs/lxc.md tells it: a process of bob's inside of the container."""
    set_permissions(windows)
    assert not bob_may_write(windows)
    row, gid = windows.user("bob", 1), windows.server.assigned["users_gid"]
    local = ["setpriv", f"--reuid={row.assigned['unix_id']}", f"--regid={gid}", "--clear-groups"]
    file = f"{windows.path('docs')}/f"
    os.chmod(file, 0o660)
    os.chown(file, HERE, HERE)
    assert windows.recorder.run([*local, "setfattr", "-x", "user.NTACL", file]).returncode != 0
    os.chmod(file, 0o666)
    windows.tool(*local, "setfattr", "-x", "user.NTACL", file)
    assert bob_may_write(windows)
    assert Path(file).read_bytes() == Path(windows.files.conf).read_bytes()


def test_without_the_module_the_attribute_is_one_of_many() -> None:
    """So what a client plants there counts from the day on which the module is switched on: see docs/lxc.md."""
    with _lab({}) as lab:
        assert "NT_STATUS" not in lab.smbclient("docs", "bob", "setea f NTACL x")
        assert "user.NTACL" in attributes(lab)
