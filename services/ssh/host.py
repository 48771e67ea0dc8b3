"""A machine that is reached by ssh as a `Host`: commands in channels of one connection, files by the tools of coreutils.

sshd(8) hands what it is to run to the login shell of the user, does not say when a command has ended as long as a daemon
that it left behind holds its output, and lets a command live on when the connection ends. So a command is run by
`_RUNNER`: it is stopped there at the end of its time, with its group, whatever becomes of the connection; and two marks in
each output, which no command can guess, say that what is between them came from the command (a shell's start file may print
things too), and how that ended.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import shlex
import time
from collections.abc import Sequence

import paramiko

from services.core.errors import HostNotPrepared, HostTimeout, StorageFull
from services.core.ports import Completed
from services.ssh.connection import FAILURES, Connection, left, lost, too_late
from services.ssh.resident import Resident

OUTPUT_LIMIT = 8 * 1024**2
FILE_LIMIT = 64 * 1024**2
FILE_SECONDS = 60.0
#: The host ends a command that lasts too long; this much later we no longer wait for it to say so.
GRACE_SECONDS = 5.0
#: While the other side takes no more input: sshd's window of 2 MiB is full, and nothing tells when it opens.
FULL_SECONDS = 0.01
_CHUNK = 65536

#: Arguments: mark, seconds, command. Of the login's environment nothing reaches the command, as on a LocalHost. The cat
#: leaves it to us to close the channel: sshd ends the whole connection when input comes for one that it has closed.
_RUNNER = """cd /; m=$1; t=$2; shift 2; printf '%s\\n' "$m"; printf '%s\\n' "$m" >&2
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 timeout -s KILL "$t" "$@"
s=$?; printf '%s%s\\n' "$m" "$s"; printf '%s\\n' "$m" >&2
exec cat > /dev/null 2>&1"""
#: Arguments: path, mode, size. A connection that ends looks to cat like the end of the file, therefore the size.
_WRITER = """set -e
d=$(dirname -- "$1"); b=$(basename -- "$1" | cut -b 1-200)
f=$(mktemp -- "$d/.$b.XXXXXXXXXXXX")
trap 'rm -f -- "$f"' EXIT
chmod -- "$2" "$f"
cat > "$f"
test "$(stat -c %s -- "$f")" = "$3"
sync -- "$f"
mv -fT -- "$f" "$1"
trap - EXIT
sync -- "$d"
"""
_ERRNO = {
    os.strerror(number): number
    for number in (
        errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS,
        errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP,
    )
}  # fmt: skip


class SshHost:
    """See `Host`. A command that was begun and whose connection then ended may have happened, and may still be happening
    until its time is over: the error says so, and nothing is run twice by itself. What `resident` can run, it runs: the
    same, but faster, and it ends with the connection."""

    def __init__(self, connection: Connection, output_limit: int = OUTPUT_LIMIT, resident: Resident | None = None) -> None:
        self._connection = connection
        self._limit = output_limit
        self._resident = resident

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        """See `Host.run`. Returns when the command itself has ended, even if a daemon that it left behind still holds its
        output; each output is cut at the limit."""
        begun = time.monotonic()
        if self._resident is not None and list(argv) == self._resident.program:
            done = self._resident.run(stdin, timeout, self._limit)
            if done is not None:
                return done
        return self._run(argv, stdin, max(0.0, timeout - (time.monotonic() - begun)), self._limit)

    def read_file(self, path: str) -> bytes:
        done = self._run(["cat", "--", path], b"", FILE_SECONDS, FILE_LIMIT + 1)
        _raise_for(done, path)
        if len(done.stdout) > FILE_LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        return done.stdout

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        """See `Host.write_file`. The mode is set before the first byte is written."""
        argv = ["sh", "-c", _WRITER, "sh", path, f"{mode:o}", str(len(data))]
        _raise_for(self._run(argv, data, FILE_SECONDS, self._limit), path)

    def remove(self, path: str) -> None:
        _raise_for(self._run(["rm", "-f", "--", path], b"", FILE_SECONDS, self._limit), path)

    def _run(self, argv: Sequence[str], stdin: bytes, timeout: float, limit: int) -> Completed:
        deadline = time.monotonic() + timeout
        name = os.path.basename(argv[0])
        mark = secrets.token_hex(16)
        out, err = _Output(mark, limit), _Output(mark, limit)
        begun = False
        try:
            with self._connection.channel(deadline) as channel:
                started, seconds = time.monotonic(), left(deadline)
                if not seconds:
                    raise too_late()
                command = "exec " + shlex.join(["sh", "-c", _RUNNER, "sh", mark, f"{seconds:.3f}", *argv])
                begun = True
                channel.exec_command(command.encode())
                _converse(channel, stdin, out, err, deadline + GRACE_SECONDS)
        except TimeoutError:
            raise HostTimeout(
                f"{name} did not end within {timeout:g} s; the host stops it, but did not say that it has",
                metadata={"command": name},
            ) from None
        except FAILURES:
            if not begun:
                raise
            if not left(deadline):
                raise HostTimeout(f"{name} did not end within {timeout:g} s", metadata={"command": name}) from None
            raise lost(name) from None
        status = int(out.trailer or b"0")
        # timeout(1) kills itself with its group, and the shell tells of a signal in this way.
        if status == 128 + 9 and time.monotonic() - started >= seconds:
            raise HostTimeout(f"{name} did not end within {timeout:g} s and was stopped", metadata={"command": name})
        _raise_if_missing(argv, status, bytes(err.kept))
        return Completed(128 - status if 128 < status <= 192 else status, bytes(out.kept), bytes(err.kept))


class _Output:
    """One output of a command: what lies between the line of the first mark and the second one, up to the limit, and what
    stands between that and the end of its line."""

    def __init__(self, mark: str, limit: int) -> None:
        self.kept = bytearray()
        self.trailer: bytes | None = None
        self._mark = bytearray(mark.encode())
        self._limit = limit
        self._held = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> None:
        self._held += data
        if not self._begun:
            _, self._begun, rest = _parted(self._held, self._mark + b"\n")
            self._held = rest
        if self._begun and self.trailer is None:
            certain, ended, rest = _parted(self._held, self._mark)
            self.kept += certain[: max(0, self._limit - len(self.kept))]
            line, whole, _ = rest.partition(b"\n")
            self.trailer = bytes(line) if ended and whole else None
            self._held = self._mark + rest if ended else rest


def _parted(held: bytearray, mark: bytearray) -> tuple[bytearray, bool, bytearray]:
    """What is certainly before the mark, whether it is there, and the rest: after it, or what may be its beginning."""
    before, found, after = held.partition(bytes(mark))
    if found:
        return before, True, after
    certain = max(0, len(held) - len(mark) + 1)
    return held[:certain], False, held[certain:]


def _converse(channel: paramiko.Channel, stdin: bytes, out: _Output, err: _Output, until: float) -> None:
    """Feeds and drains the channel until both marks have come."""
    pending = memoryview(stdin)
    poll = select.poll()
    poll.register(channel.fileno(), select.POLLIN)
    fed = False
    while out.trailer is None or err.trailer is None:
        while pending and channel.send_ready():
            pending = pending[channel.send(bytes(pending[:_CHUNK])) :]
        if not pending and not fed:
            channel.shutdown_write()
            fed = True
        wait = left(until)
        if not wait:
            raise TimeoutError
        if not poll.poll(1000 * (min(wait, FULL_SECONDS) if pending else wait)):
            continue
        ended = channel.closed or channel.eof_received
        while channel.recv_ready():
            out.feed(channel.recv(_CHUNK))
        while channel.recv_stderr_ready():
            err.feed(channel.recv_stderr(_CHUNK))
        if ended and (out.trailer is None or err.trailer is None):
            raise EOFError


def _raise_if_missing(argv: Sequence[str], status: int, err: bytes) -> None:
    if status not in (126, 127):
        return
    if err.startswith(b"timeout: failed to run command "):
        program = argv[0]
    elif status == 127 and argv[0] == "env" and err.startswith(b"env: "):
        program = next((word for word in argv[1:] if "=" not in word), "env")
    else:
        return
    name = os.path.basename(program)
    raise HostNotPrepared(f"the program {name} is missing on this host", metadata={"name": name})


def _raise_for(done: Completed, path: str) -> None:
    """What a tool of coreutils says that it could not do, as the error that the kernel's call would have given."""
    if done.returncode == 0:
        return
    said = done.stderr.decode("utf-8", "replace").strip()
    number = _ERRNO.get(said.splitlines()[0].rpartition(": ")[2] if said else "", errno.EIO)
    if number in (errno.ENOSPC, errno.EDQUOT):
        raise StorageFull(f"no space left to write {path}", metadata={"path": path})
    raise OSError(number, said or os.strerror(number), path)
