"""`make run DETACH=1` and `make stop`, as a script uses them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pvesmb
import pytest

from packaging.stack.places import Places
from tests.e2e.cleanup import living, mounts
from tests.e2e.node import template
from tests.e2e.process import CLONE
from tests.e2e.smb import Told, smbclient


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Below a directory that is closed to others, as a clone in /root is."""
    assert not os.stat(tmp_path.parent.parent).st_mode & 0o001
    yield tmp_path / "var"
    stack("stop", tmp_path / "var")


def stack(command: str, state: Path, *options: str) -> str:
    words = [sys.executable, "-m", "packaging.stack", command, "--state", str(state), *options]
    done = subprocess.run(words, cwd=CLONE, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ready(text: str) -> dict[str, str]:
    """The line for scripts."""
    first = text.splitlines()[0].split()
    assert first[0] == "READY"
    return dict(word.split("=", 1) for word in first[1:])


@pytest.mark.parametrize("mode", ["native", "lxc"])
def test_run_and_stop_and_run(mode: str, state: Path, tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("kept over a stop")
    netns = f"pvesmb-stack-{os.getpid()}"
    options = ["--detach", "--mode", mode, *(["--netns", netns] if mode == "lxc" else [])]
    if mode == "lxc":
        template()  # from here the stack reaches no mirror
    told = ready(stack("run", state, *options))
    assert put(told, "put letter", tmp_path).ok
    with pvesmb.Client(settings=pvesmb.find(environ={"PVESMB_CONFIG": str(state / "client.toml")})) as client:
        assert [server.name for server in client.file_servers.list()] == [f"backends/{mode}/fileServers/files"]
    stack("stop", state)
    assert_nothing_lives(state, netns)
    assert ready(stack("run", state, *options)) == told, "the same addresses as before"
    assert put(told, "get letter copy", tmp_path).ok
    assert (tmp_path / "copy").read_text() == "kept over a stop"
    stack("stop", state)
    assert_nothing_lives(state, netns)


def assert_nothing_lives(state: Path, netns: str) -> None:
    """Processes, mounts, loop devices, network namespace. Guests' processes name the directory by its short way, if any."""
    short = str(Places(state / "lxc").view)
    for base in {str(state), short}:
        assert living(base) == [] and mounts(base) == [], base
    loops = subprocess.run(["losetup", "--noheadings", "--output", "BACK-FILE"], capture_output=True, text=True).stdout
    assert str(state) not in loops and short not in loops
    assert not Path("/run/netns", netns).exists()


def put(told: dict[str, str], command: str, directory: Path) -> Told:
    address, _, rest = told["share"].removeprefix("//").partition(":")
    port, _, share = rest.partition("/")
    secret = Path(told["password-file"]).read_text().strip()
    inside = ["nsenter", f"--net=/run/netns/{told['netns']}", "--"] if told["netns"] != "-" else []
    return smbclient((address, int(port)), share, told["user"], secret, command, directory=str(directory), inside=inside)
