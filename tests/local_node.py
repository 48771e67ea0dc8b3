"""A stand-in node for tests, in a network namespace of this process: real containers, and a token of least privilege.

The test process moves into the namespace, once and for good, so that it reaches the node and the guests; it does so before
it starts threads that have to be there too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.stack import netns
from packaging.stack.node import CLONE, LocalNode, open_network


def own_namespace() -> str:
    """The namespace of this test process, made and entered at the first call."""
    name = f"pvesmb-test-{os.getpid()}"
    if not Path(f"/run/netns/{name}").exists():
        # Its name goes with this process, however that ends.
        _when_this_ends(["ip", "netns", "delete", name])
        open_network(name)
    if not netns.inside(name):
        netns.enter(name)
    return name


@contextmanager
def local_node(**more: object) -> Iterator[LocalNode]:
    """A node that runs, in a directory of its own; nothing of it is left afterwards, nor when this process is killed."""
    directory = Path(tempfile.mkdtemp(prefix="pvesmb-node-"))
    directory.chmod(0o711)
    _when_this_ends([sys.executable, "-m", "tests.e2e.cleanup", str(directory)])
    node = LocalNode(directory, own_namespace(), **more)  # type: ignore[arg-type]
    try:
        node.start()
        yield node
    finally:
        node.stop()
        node.clean()
        shutil.rmtree(directory)


def _when_this_ends(argv: list[str]) -> None:
    """Runs a command when this process is no more: it holds the other end of a pipe."""
    held = subprocess.Popen(
        ["/bin/sh", "-c", 'cat > /dev/null; exec "$@"', "_", *argv],
        cwd=CLONE,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _HELD.append(held)


_HELD: list[subprocess.Popen[bytes]] = []
