"""A program that stays on the host and is asked again and again over one channel, so that it is loaded only once.

It is started with the further word `stream` (samba/agent/serving.py has the protocol) and forks a child for each request,
which ends with the connection. It ends by itself when it is idle, and is started when it is needed.
"""

from __future__ import annotations

import os
import secrets
import shlex
import threading
import time
from collections.abc import Sequence

import paramiko

from services.core.errors import HostTimeout
from services.core.ports import Completed
from services.ssh.connection import FAILURES, Connection, left, lost

START_SECONDS = 10.0
GRACE_SECONDS = 5.0
LINE = 64
_CHUNK = 65536
#: Arguments: mark, program. What the login's shell prints comes before the mark.
_START = """cd /; m=$1; shift; printf '%s\\n' "$m"
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@" 2> /dev/null"""


class Resident:
    """Runs `program`, and nothing else, one at a time."""

    def __init__(self, connection: Connection, program: Sequence[str]) -> None:
        self.program = list(program)
        self._connection = connection
        self._lock = threading.Lock()
        self._channel: paramiko.Channel | None = None

    def run(self, stdin: bytes, timeout: float, limit: int) -> Completed | None:
        """As `Host.run`. None if it is busy or cannot be had, and nothing was done: running the program in the usual way
        then does, or tells why."""
        if not self._lock.acquire(blocking=False):
            return None
        deadline = time.monotonic() + timeout
        try:
            with self._connection.used(deadline):
                for _ in range(2):
                    channel = self._ready(min(deadline, time.monotonic() + START_SECONDS))
                    if channel is None:
                        return None
                    word, status, out, err = self._ask(channel, stdin, deadline)
                    if word == "ended":
                        return Completed(status, out[:limit], err[:limit])
                    if word == "late":
                        raise self._late(timeout, "and was stopped")
                    self._drop()
            return None
        except TimeoutError:
            self._drop()
            raise self._late(timeout, "the connection was closed, which stops it") from None
        except FAILURES:
            self._drop()
            if not left(deadline):
                raise self._late(timeout, "the connection was closed, which stops it") from None
            raise lost(self._name) from None
        finally:
            self._lock.release()

    @property
    def _name(self) -> str:
        return os.path.basename(self.program[0])

    def _late(self, timeout: float, further: str) -> HostTimeout:
        return HostTimeout(f"{self._name} did not end within {timeout:g} s; {further}", metadata={"command": self._name})

    def _ready(self, deadline: float) -> paramiko.Channel | None:
        """The channel of one that waits for requests. What it has said since the last answer can only be its last word."""
        if self._channel is not None:
            # Takes a third of a millisecond, and closes a connection that is dead.
            self._connection.open(deadline).close()
            channel = self._channel
            if not (channel.closed or channel.eof_received or channel.recv_ready()):
                return channel
        self._drop()
        channel = self._channel = self._connection.open(deadline)
        mark = secrets.token_hex(16)
        try:
            channel.exec_command(("exec " + shlex.join(["sh", "-c", _START, "sh", mark, *self.program, "stream"])).encode())
            channel.settimeout(left(deadline))
            head = b""
            while f"{mark}\n".encode() not in head:
                head += _received(channel, 1, deadline)
            if _line(channel, deadline)[0] == "ready":
                return channel
        except FAILURES:
            pass
        self._drop()
        return None

    def _ask(self, channel: paramiko.Channel, stdin: bytes, deadline: float) -> tuple[str, int, bytes, bytes]:
        until = deadline + GRACE_SECONDS
        channel.settimeout(left(until))
        milliseconds = int(1000 * left(deadline))
        try:
            channel.sendall(f"{len(stdin)} {milliseconds}".ljust(LINE - 1).encode() + b"\n" + stdin)
        except FAILURES:
            # It may have said its last word meanwhile; what it got in part it does not do.
            if not channel.recv_ready():
                raise
        word, status, out, err = _line(channel, until)
        return word, status, _received(channel, out, until), _received(channel, err, until)

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _line(channel: paramiko.Channel, until: float) -> tuple[str, int, int, int]:
    word, status, out, err = _received(channel, LINE, until).decode().split()
    return word, int(status), int(out), int(err)


def _received(channel: paramiko.Channel, size: int, until: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        channel.settimeout(left(until))
        more = channel.recv(min(_CHUNK, size - len(data)))
        if not more:
            raise EOFError
        data += more
    return bytes(data)
