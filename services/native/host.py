"""This node as a `Host`: commands as child processes, files by the kernel."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import selectors
import time
from collections.abc import Iterator, Sequence

from services.core.errors import HostTimeout, StorageFull
from services.core.ports import Completed
from services.native.children import Process, missing, spawn
from services.native.fork_server import ForkServer

OUTPUT_LIMIT = 8 * 1024**2
_CHUNK = 65536


class LocalHost:
    """Runs commands in process groups of their own, so that a timeout ends all that a command has started. What
    `fork_server` can run, it runs there: the same, but faster."""

    def __init__(self, output_limit: int = OUTPUT_LIMIT, fork_server: ForkServer | None = None) -> None:
        self._limit = output_limit
        self._fork_server = fork_server

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        """See `Host.run`. Returns when the command itself has ended, even if a daemon that it left behind still holds its
        output; each output is cut at the limit."""
        deadline = time.monotonic() + timeout
        try:
            with contextlib.closing(self._start(argv, deadline)) as process:
                out, err = self._converse(process, stdin, deadline)
                returncode = process.wait()
        except TimeoutError:
            raise HostTimeout(
                f"{os.path.basename(argv[0])} did not end within {timeout:g} s and was stopped",
                metadata={"command": os.path.basename(argv[0])},
            ) from None
        if argv[0] == "env" and returncode == 127 and err.startswith(b"env: "):
            raise missing(next((word for word in argv[1:] if "=" not in word), "env"))
        return Completed(returncode, out, err)

    def _start(self, argv: Sequence[str], deadline: float) -> Process:
        forked = self._fork_server.start(argv, deadline) if self._fork_server is not None else None
        return forked or spawn(argv)

    def _converse(self, process: Process, stdin: bytes, deadline: float) -> tuple[bytes, bytes]:
        """Feeds and drains the three pipes until the process has ended; on `TimeoutError` it and its group are dead."""
        out, err = bytearray(), bytearray()
        pending = memoryview(stdin)
        with selectors.DefaultSelector() as selector:
            for fd in (process.stdin, process.stdout, process.stderr):
                os.set_blocking(fd, False)
            selector.register(process.pidfd, selectors.EVENT_READ, None)
            selector.register(process.stdout, selectors.EVENT_READ, out)
            selector.register(process.stderr, selectors.EVENT_READ, err)
            selector.register(process.stdin, selectors.EVENT_WRITE, None)
            while True:
                events = selector.select(max(0.0, deadline - time.monotonic()))
                if not events:
                    process.kill()
                    raise TimeoutError
                for key, _ in events:
                    if key.fd == process.stdin:
                        pending = _feed(process.stdin, pending)
                        if not pending:
                            selector.unregister(process.stdin)
                            process.close_stdin()
                    elif key.data is not None and self._drain(key.fd, key.data):
                        selector.unregister(key.fileobj)
                if any(key.fd == process.pidfd for key, _ in events):
                    # What the process wrote before it ended lies in the pipes already.
                    self._drain(process.stdout, out, all_of_it=True)
                    self._drain(process.stderr, err, all_of_it=True)
                    return bytes(out), bytes(err)

    def _drain(self, fd: int, into: bytearray, all_of_it: bool = False) -> bool:
        """Reads what is there, keeping it up to the limit; true at the end of the stream."""
        while True:
            try:
                data = os.read(fd, _CHUNK)
            except BlockingIOError:
                return False
            into += data[: max(0, self._limit - len(into))]
            if not data:
                return True
            if not all_of_it or len(into) >= self._limit:
                return False

    def read_file(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """See `Host.write_file`. The mode is set before the first byte is written."""
        with _storage_errors(path):
            replace_file(path, data, mode)

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def replace_file(path: str, data: bytes, mode: int) -> None:
    """Atomic and durable: after a crash at any point there is the old file or the new one."""
    directory, base = os.path.split(path)
    temporary = os.path.join(directory, f".{base[:200]}.{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.fchmod(fd, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(directory)


def sync_directory(path: str) -> None:
    """Makes names that were added to or taken from a directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _storage_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(f"no space left to write {path}", metadata={"path": path}) from None
        raise


def _feed(fd: int, pending: memoryview) -> memoryview:
    """Writes what fits; nothing is left when the reader has gone, which is no error of ours."""
    if not pending:
        return pending
    try:
        return pending[os.write(fd, pending[:_CHUNK]) :]
    except BlockingIOError:
        return pending
    except BrokenPipeError:
        return pending[:0]
