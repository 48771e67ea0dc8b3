"""What a tree-connect cannot see, and what cannot be put in place: each fault is made, and fails the step."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from services.core.domain.operation import Verb
from services.core.domain.resource import Resource
from services.core.errors import (
    HostTimeout,
    HostUnreachable,
    NotConfirmed,
    SambaConfigRejected,
    SambaUnavailable,
    StorageFull,
)
from services.core.ports import Completed
from services.samba import probe
from services.samba.apply import PROGRAM
from services.samba.steps import ApplyStep, ConfigStep, ConfirmStep
from tests.contract.samba.conftest import NewLab
from tests.contract.samba.lab import Lab, RecordingHost, mounted


def test_a_vfs_module_that_is_missing(new_lab: NewLab) -> None:
    lab = new_lab(site={"vfs objects": "nosuch"})
    share = lab.change(lab.share("docs", "alice:read"))
    lab.apply(lab.change(lab.user("alice", 1)), share, whole=True, confirm=0.5)
    assert share.error is not None
    assert share.error.reason == "NOT_CONFIRMED"
    assert "VFS" in share.error.message


def test_a_file_server_without_shares_is_confirmed_too(new_lab: NewLab) -> None:
    lab = new_lab(site={"vfs objects": "nosuch"})
    with pytest.raises(NotConfirmed, match="VFS"):
        lab.apply(whole=True, confirm=0.3)


def test_what_was_not_cut_before_a_kill_is_cut_by_the_next_run(lab: Lab) -> None:
    row = lab.share("docs", "alice:read-write")
    lab.ensure(row)
    with open(f"{lab.files.lock_dir}/pvesmb-agent.pending", "w", encoding="ascii") as file:
        file.write('["docs"]')
    with lab.session("alice") as session:
        tree = session.connect("docs")
        lab.ensure(row)
        assert session.write(tree, "f") == "NETWORK_NAME_DELETED"
        tree = session.connect("docs")
        lab.ensure(row)
        assert session.write(tree, "f") == ""


def test_a_full_storage_of_the_instance(new_lab: NewLab) -> None:
    lab = new_lab()
    with mounted(f"{lab.base}/run", "size=32m"):
        lab.apply(lab.change(lab.user("alice", 1)), whole=True)
        filler = f"{lab.base}/run/filler"
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4096)
        rows = [lab.share(f"s{number}", "alice:read", comment="x" * 250) for number in range(100)]
        with pytest.raises(StorageFull):
            ApplyStep(lab, {}).ensure(lab.work([lab.change(row) for row in rows]))
        os.unlink(filler)
        lab.ensure(*rows)
        lab.stop()


def test_vfs_modules_that_load(new_lab: NewLab) -> None:
    lab = new_lab(site={"vfs objects": "acl_xattr streams_xattr", "acl_xattr:ignore system acls": "no"})
    share = lab.change(lab.share("docs", "alice:read-write"))
    lab.apply(lab.change(lab.user("alice", 1)), share, whole=True)
    assert share.error is None
    assert "putting file" in lab.smbclient("docs", "alice", "put /etc/hostname f")
    assert lab.drift() == []


def test_an_option_of_the_site_that_samba_refuses(new_lab: NewLab) -> None:
    lab = new_lab(site={"case sensitive": "perhaps"})
    share = lab.change(lab.share("docs", "alice:read"))
    lab.apply(lab.change(lab.user("alice", 1)), share, whole=True)
    assert share.error is not None
    assert share.error.metadata == {"parameter": "case sensitive"}


def test_a_share_that_samba_does_not_know(lab: Lab) -> None:
    row = lab.share("docs", "alice:read")
    lab.ensure(row)
    lab.registry("delshare", "docs")
    change = lab.change(row)
    ConfirmStep(lab, 0.3).ensure(lab.work([change]))
    assert isinstance(change.error, NotConfirmed)


def test_a_share_that_lets_anybody_in(lab: Lab) -> None:
    os.mkdir(lab.path("docs"))
    row = lab.share("docs", "alice:read")
    lab.ensure(row)
    lab.registry("setparm", "docs", "valid users", "")
    lab.registry("setparm", "docs", "invalid users", "")
    change = lab.change(row)
    ConfirmStep(lab, 0.3).ensure(lab.work([change]))
    assert isinstance(change.error, NotConfirmed)


def test_a_server_that_does_not_run(lab: Lab) -> None:
    row = lab.share("docs", "alice:read")
    lab.stop()
    ApplyStep(lab, {}).ensure(lab.work([lab.change(row)]))
    with pytest.raises(SambaUnavailable):
        ConfirmStep(lab, 0.3).ensure(lab.work([lab.change(row)]))
    assert lab.remove(row)[0].error is None


def test_a_probe_account_that_is_not_let_in(lab: Lab) -> None:
    lab.tool("pdbedit", "-s", lab.files.conf, "-x", "-u", "pvesmb-probe")
    with pytest.raises(NotConfirmed):
        ConfirmStep(lab, 0.3).ensure(lab.work(whole=True))
    lab.ensure(lab.share("docs", "alice:read"))


def test_a_removal_is_not_confirmed_by_a_server_that_does_not_answer(lab: Lab) -> None:
    row = lab.share("docs", "alice:read")
    lab.ensure(row)
    lab.tool("pdbedit", "-s", lab.files.conf, "-x", "-u", "pvesmb-probe")
    change = lab.change(row, Verb.DELETE)
    ApplyStep(lab, {}, 0.3).remove(lab.work([change]))
    assert isinstance(change.error, NotConfirmed)


def test_a_peer_that_does_not_answer_leaves_nothing_behind() -> None:
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(SambaUnavailable):
            probe.ask(silent.getsockname(), "x", ["docs"], timeout=0.5)
        address = silent.getsockname()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)
    with pytest.raises(SambaUnavailable):
        probe.ask(address, "x", ["docs"], timeout=0.5)
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)


def test_a_sound_probe_leaves_nothing_behind(lab: Lab) -> None:
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        answers = probe.ask(lab.endpoints(lab.server)[0], lab.probe_password(lab.server), ["pvesmb-probe$", "none"])
    assert answers == {"pvesmb-probe$": probe.Answer.CONNECTED, "none": probe.Answer.UNKNOWN}
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("no such option", "1", "no such option"),
        ("server signing", "perhaps", "server signing"),
        ("max log size", "x", ""),  # testparm(1) does not say which
        ("winbind cache time", "20 %", "winbind cache time"),  # nor anything at all: only the value read back does
    ],
)
def test_a_bad_configuration_leaves_the_old_one(lab: Lab, option: str, value: str, named: str) -> None:
    before = lab.recorder.read_file(lab.files.conf)
    with pytest.raises(SambaConfigRejected) as caught:
        ConfigStep(lab, {option: value}).ensure(lab.work(whole=True))
    assert caught.value.metadata["parameter"] == named
    assert lab.recorder.read_file(lab.files.conf) == before
    assert [name for name in os.listdir(f"{lab.base}/run") if name.startswith("smb.conf")] == ["smb.conf"]


def test_an_orphan_does_nothing(lab: Lab) -> None:
    """A script that waits for the lock while the service that had started it dies: here a process in between, which ends at
    once and leaves the script to another parent."""
    row = lab.share("docs", "alice:read")
    between = (
        "import os, subprocess, sys\n"
        "fds = f'/proc/{subprocess.Popen(sys.argv[1:]).pid}/fd'\n"
        "def waits(fd):\n"
        "    try: return os.readlink(f'{fds}/{fd}').endswith('.lock')\n"
        "    except FileNotFoundError: return False\n"
        "while not any(waits(fd) for fd in os.listdir(fds)): pass\n"
        "os._exit(0)"
    )
    with open(f"{lab.files.lock_dir}/pvesmb-agent.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        argv = lab.files.command(*PROGRAM)
        request = request_of(lab, row)
        script = subprocess.Popen(["/usr/bin/python3", "-c", between, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert script.stdin is not None
        script.stdin.write(request)
        script.stdin.close()
        script.wait(20)
    assert script.stdout is not None
    with script.stdout as output:
        assert json.load(output)["error"]["reason"] == "HOST_UNREACHABLE"
    assert not os.path.exists(lab.path("docs"))
    assert "docs" not in lab.registry("listshares")


def test_a_script_that_was_killed_is_run_again(lab: Lab) -> None:
    killed: list[int] = []
    run = lab.recorder.run

    def dying(argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        """The first does its work, and is killed before it can say so; or all are."""
        done = run(argv, stdin=stdin, timeout=timeout)
        if killed and killed[0] == 0:
            return done
        killed[0] -= 1
        return Completed(-9, b"", b"")

    lab.recorder.run = dying  # type: ignore[method-assign]
    killed.append(1)
    lab.ensure(lab.share("docs", "alice:read"))
    killed[0] = 2
    with pytest.raises(HostUnreachable) as caught:
        lab.apply(lab.change(lab.share("more", "alice:read")))
    assert "killed" in caught.value.message and caught.value.help


def request_of(lab: Lab, row: Resource[Any]) -> bytes:
    """What the step would send to the script."""
    sent: list[bytes] = []

    class Listening(RecordingHost):
        def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
            sent.append(stdin)
            return Completed(0, b'{"error": {"reason": "HOST_TIMEOUT", "message": "", "help": "", "metadata": {}}}', b"")

    recorder, lab.recorder = lab.recorder, Listening()
    with pytest.raises(HostTimeout):
        ApplyStep(lab, {}).ensure(lab.work([lab.change(row)]))
    lab.recorder = recorder
    return sent[0]
