"""The builder of templates on this machine: what it needs, and that a build which ends early leaves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from services.core.errors import HostNotPrepared, OperationCancelled
from services.lxc.template.build import build
from services.lxc.template.description import describe
from tests.e2e import namespace
from tests.e2e.process import CLONE
from tests.e2e.waiting import until

pytestmark = pytest.mark.root

BUILD = [sys.executable, "-m", "services.lxc.template", "--out"]


#: A build that is cancelled once it unpacks; prints how far it was each time.
CANCELLED = """
import sys, threading
from pathlib import Path
from services.core.errors import OperationCancelled
from services.lxc.template.build import build
from services.lxc.template.description import describe

wanted = threading.Event()

def progress(done, text):
    print(done)
    if text.startswith("unpacking"):
        wanted.set()

try:
    build(describe(), Path(sys.argv[1]), progress=progress, cancelled=wanted.is_set)
except OperationCancelled:
    sys.exit(0)
sys.exit(1)
"""


def outside(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Where the machine's own network is."""
    return subprocess.run(namespace.enter().command_outside(words), cwd=CLONE, capture_output=True, text=True)


def processes_with(directory: Path) -> list[str]:
    """Command lines of processes that were told of the directory, or that work in it."""
    found = []
    for pid in (entry for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            roots = [os.readlink(f"/proc/{pid}/{link}") for link in ("cwd", "root")]
        except OSError:
            continue
        if any(str(directory) in text for text in (words, *roots)):
            found.append(words)
    return found


def nothing_left(directory: Path) -> bool:
    mounts = Path("/proc/self/mountinfo").read_text()
    return str(directory) not in mounts and not processes_with(directory)


def test_a_cancelled_build_leaves_nothing(tmp_path: Path) -> None:
    done = outside([sys.executable, "-c", CANCELLED, str(tmp_path)])
    assert done.returncode == 0, done.stderr
    told = [float(line) for line in done.stdout.splitlines()]
    assert told == sorted(told) and 0 < told[-1] < 1
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert nothing_left(tmp_path)


def test_a_build_whose_process_is_killed_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    words = namespace.enter().command_outside([*BUILD, str(tmp_path)])
    with subprocess.Popen(words, cwd=CLONE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("fetching" in line for line in process.stderr)
        process.kill()
    until(lambda: nothing_left(tmp_path), "its processes and mounts are gone")
    assert list(tmp_path.glob(".build-*"))
    stop: Callable[[], bool] = lambda: True  # noqa: E731
    with pytest.raises(OperationCancelled):
        build(describe(), tmp_path, cancelled=stop)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--net", "--", *BUILD, str(tmp_path)], cwd=CLONE, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no package mirror can be reached" in done.stderr and "--out DIR" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_without_mmdebstrap_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostNotPrepared) as caught:
        build(describe(), tmp_path / "templates")
    assert "apt install" in caught.value.help and "mmdebstrap" in caught.value.message
    assert not (tmp_path / "templates").exists()


def test_what_is_there_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / describe().file_name
    file.write_bytes(b"there")
    assert build(describe(), tmp_path) == file
