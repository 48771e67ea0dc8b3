"""Errors, the lock, files and commands."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

LOCK_SECONDS = 60.0

Answer = dict[str, Any]
Params = dict[str, str]


class Fault(Exception):
    """An error with one of the product's reasons."""

    def __init__(self, reason: str, message: str, help: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.answer = {"reason": reason, "message": message, "help": help, "metadata": metadata}


def fault_of(error: OSError, what: str) -> Fault:
    """An error of the system, told by its consequence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Fault("STORAGE_FULL", f"{what}: the storage is full")
    return Fault("PATH_UNSUITABLE", f"{what}: {os.strerror(error.errno or 0)}")


@contextlib.contextmanager
def locked(directory: str, parent: int) -> Iterator[None]:
    """Nothing is locked where the instance has no directory yet, or no more: nothing runs there either."""
    if not os.path.isdir(directory):
        yield
        return
    fd = os.open(os.path.join(directory, "pvesmb-agent.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        end, pause = time.monotonic() + LOCK_SECONDS, 0.01
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Fault("HOST_TIMEOUT", "another change of this file server did not end in time") from None
                time.sleep(pause)
                pause = min(pause * 2, 0.5)
        if os.getppid() != parent:
            raise Fault("HOST_UNREACHABLE", "the service that asked for this change is gone")
        yield
    finally:
        os.close(fd)


def put_file(path: str, text: str, mode: int) -> bool:
    """Writes the file whole if it differs. Its mtime moves on by a second at least."""
    data, before = text.encode(), None
    with contextlib.suppress(FileNotFoundError):
        with open(path, "rb") as file:
            if file.read() == data:
                return False
        before = os.stat(path).st_mtime
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, mode)
            if before is not None:
                moment = max(time.time(), math.floor(before) + 1)
                os.utime(fd, (moment, moment))
            os.fsync(fd)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    with opened(os.path.dirname(path)) as parent:
        os.fsync(parent)
    return True


def text_of(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def opened(path: str, parent: int | None = None) -> Iterator[int]:
    fd = os.open(
        path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if parent is not None else 0), dir_fd=parent
    )
    try:
        yield fd
    finally:
        os.close(fd)


def tool(*argv: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=60)
    except FileNotFoundError:
        raise Fault("HOST_NOT_PREPARED", f"the program {argv[0]} is missing on the host", name=argv[0]) from None
    except subprocess.TimeoutExpired:
        raise Fault("HOST_TIMEOUT", f"{argv[0]} did not end in its time") from None


def wait(done: Callable[[], bool], what: str) -> None:
    end, pause = time.monotonic() + 10, 0.01
    while not done():
        if time.monotonic() > end:
            raise Fault("SAMBA_UNAVAILABLE", f"waited in vain for {what}")
        time.sleep(pause)
        pause = min(pause * 2, 0.25)
