"""Adds a directory to a running container: a program of its own, because it changes namespaces.

`hotplug.py PID SOURCE TARGET rw|ro`. The source is picked up as a detached
mount (open_tree(2)), then put down inside the container's mount namespace (move_mount(2)), where its root is the
container's: no link in the container leads out of it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from typing import Any

_OPEN_TREE, _MOVE_MOUNT = 428, 429
_AT_FDCWD = -100
_CLONE, _CLOEXEC = 1, os.O_CLOEXEC
_EMPTY_PATH = 4
_NEWNS = 0x00020000
_REMOUNT_BIND_READ_ONLY = 32 | 4096 | 1

_libc = ctypes.CDLL(None, use_errno=True)


def main(argv: Sequence[str]) -> int:
    pid, source, target, how = argv
    tree = _must(_libc.syscall(_OPEN_TREE, _AT_FDCWD, source.encode(), _CLONE | _CLOEXEC), source)
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    _must(_libc.setns(namespace, _NEWNS), f"namespace of {pid}")
    os.chdir("/")
    os.makedirs(target, exist_ok=True)
    _must(_libc.syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), _EMPTY_PATH), target)
    if how == "ro":
        _must(_libc.mount(None, target.encode(), None, ctypes.c_ulong(_REMOUNT_BIND_READ_ONLY), None), target)
    return 0


def _must(result: Any, what: str) -> int:
    if int(result) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)
    return int(result)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as error:
        sys.exit(f"{error.strerror}: {error.filename}")
