"""A stand-in node for a test module, with real containers and a token of least privilege."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from packaging.stack.node import CLONE, LocalNode, open_network
from tests.e2e import namespace

#: The first is that of the e2e tests.
_NUMBERS = itertools.count(1)


@contextmanager
def local_node(grants: Mapping[str, str] | None = None) -> Iterator[LocalNode]:
    """A node that runs, in a directory of its own and in the network namespace of the tests, into which this process moves;
    nothing of it is left afterwards, nor when this process is killed."""
    directory = Path(tempfile.mkdtemp(prefix="pvesmb-node-", dir="/var/tmp"))
    directory.chmod(0o711)
    cleaner = [sys.executable, "-m", "tests.e2e.cleanup", str(directory)]
    with subprocess.Popen(cleaner, cwd=CLONE, stdin=subprocess.PIPE, start_new_session=True):
        home = namespace.enter()
        node = LocalNode(directory, home.name, number=next(_NUMBERS), grants=grants or {})
        open_network(home.name, node.number)
        try:
            node.start()
            yield node
        finally:
            node.stop()
            node.clean()
            shutil.rmtree(directory)
