"""SMB clients that nobody here wrote: smbclient(1) for one command, smbprotocol where a session has to stay open."""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from smbprotocol.connection import Connection
from smbprotocol.exceptions import SMBException
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    FileAttributes,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    Open,
    ShareAccess,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

ANSWER_SECONDS = 15


@dataclass(frozen=True)
class Told:
    """What smbclient said. `status` is the first NT_STATUS in it, or empty."""

    ok: bool
    text: str

    @property
    def status(self) -> str:
        return next((word.strip("(),.:") for word in self.text.split() if word.startswith("NT_STATUS_")), "")


def smbclient(
    endpoint: tuple[str, int],
    share: str,
    user: str,
    password: str,
    command: str,
    *options: str,
    directory: str = "/",
    inside: Sequence[str] = (),
) -> Told:
    """Runs commands on a share; the password goes by a file, an empty user is a guest. `inside` is the beginning of a
    command that runs another one elsewhere."""
    words = [f"//{endpoint[0]}/{share}", "-p", str(endpoint[1]), *options, "-c", command]
    return _run(words, user, password, directory, inside)


def browse(endpoint: tuple[str, int], user: str, password: str) -> set[str]:
    """Names of the disk shares that the server lists."""
    told = _run(["-L", endpoint[0], "-p", str(endpoint[1]), "-g"], user, password, "/")
    assert told.ok, told.text
    return {line.split("|")[1] for line in told.text.splitlines() if line.startswith("Disk|")}


def _run(words: Sequence[str], user: str, password: str, directory: str, inside: Sequence[str] = ()) -> Told:
    argv = [*inside, "smbclient", *words, "-s", "/dev/null", "-t", str(ANSWER_SECONDS)]
    with tempfile.NamedTemporaryFile("w", prefix="pvesmb-auth-") as auth:
        auth.write(f"username={user}\npassword={password}\n")
        auth.flush()
        argv += ["-A", auth.name] if user else ["-N", "-U", "%"]
        done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    text = done.stdout + done.stderr
    return Told(done.returncode == 0 and "NT_STATUS_" not in text, text)


@dataclass
class Live:
    """An open session with a tree."""

    connection: Any
    tree: Any

    def works(self) -> bool:
        """Whether the server still answers in this session: opens the root of the share."""
        try:
            self._open("", directory=True)
        except (SMBException, OSError):
            return False
        return True

    def write(self, name: str, data: bytes) -> Any:
        """Makes a file, and leaves it open: the handle, for `read`."""
        handle = self._open(name)
        message, _ = handle.write(data, 0, send=False)
        self._converse(message)
        return handle

    def read(self, handle: Any, length: int) -> bytes:
        message, unpack = handle.read(0, length, send=False)
        request = self.connection.send(message, sid=self.tree.session.session_id, tid=self.tree.tree_connect_id)
        return bytes(unpack(request))

    def _open(self, name: str, *, directory: bool = False) -> Any:
        handle = Open(self.tree, name)
        kind = CreateOptions.FILE_DIRECTORY_FILE if directory else CreateOptions.FILE_NON_DIRECTORY_FILE
        access = FilePipePrinterAccessMask.GENERIC_READ | (0 if directory else FilePipePrinterAccessMask.GENERIC_WRITE)
        message, unpack = handle.create(
            ImpersonationLevel.Impersonation,
            access,
            FileAttributes.FILE_ATTRIBUTE_DIRECTORY if directory else FileAttributes.FILE_ATTRIBUTE_NORMAL,
            ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE,
            CreateDisposition.FILE_OPEN if directory else CreateDisposition.FILE_OPEN_IF,
            kind,
            send=False,
        )
        request = self.connection.send(message, sid=self.tree.session.session_id, tid=self.tree.tree_connect_id)
        self.connection.receive(request, timeout=ANSWER_SECONDS)
        unpack(request)
        return handle

    def _converse(self, message: Any) -> None:
        request = self.connection.send(message, sid=self.tree.session.session_id, tid=self.tree.tree_connect_id)
        self.connection.receive(request, timeout=ANSWER_SECONDS)


@contextmanager
def session(endpoint: tuple[str, int], share: str, user: str, password: str) -> Iterator[Live]:
    """A session with smbprotocol that stays open for the block."""
    connection = Connection(uuid.UUID(bytes=os.urandom(16)), *endpoint)
    connection.connect(timeout=ANSWER_SECONDS)
    try:
        own = Session(connection, user, password, require_encryption=False, auth_protocol="ntlm")
        own.connect()
        tree = TreeConnect(own, rf"\\{endpoint[0]}\{share}")
        tree.connect()
        yield Live(connection, tree)
    finally:
        if connection.transport is not None:
            connection.disconnect(close=False)
