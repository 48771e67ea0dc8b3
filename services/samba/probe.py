"""Asks a running server from outside, by SMB, whether it serves a share.

Tree-connect as an account without rights tells a share that is served (ACCESS_DENIED) from one that is not known
(BAD_NETWORK_NAME), and gives no access to anybody's data. With rights it proves that the share's VFS modules load.
"""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

from services.core.errors import NotConfirmed, SambaUnavailable
from services.samba.instance import PROBE_USER

#: Answers that come after Samba has found the share.
_ACCESS_DENIED = 0xC0000022
_INSUFFICIENT_RESOURCES = 0xC000009A  # `max connections` is reached (measured, Samba 4.17.12)
_BAD_NETWORK_NAME = 0xC00000CC


class Answer(Enum):
    CONNECTED = "connected"
    DENIED = "denied"
    UNKNOWN = "unknown"
    #: A status that tells neither that the share is served nor that it is not.
    OTHER = "other"


_ANSWERS = {_ACCESS_DENIED: Answer.DENIED, _INSUFFICIENT_RESOURCES: Answer.DENIED, _BAD_NETWORK_NAME: Answer.UNKNOWN}


def ask(endpoint: tuple[str, int], password: str, shares: Iterable[str], timeout: float = 5.0) -> dict[str, Answer]:
    """One login as PROBE_USER and a tree-connect to each share. `SambaUnavailable` if the server does not answer within the
    time, `NotConfirmed` if it does not let the account in."""
    from smbprotocol.exceptions import SMBException, SMBResponseException
    from smbprotocol.tree import TreeConnect

    answers = {}
    with _session(endpoint, password, timeout) as session:
        for share in shares:
            tree = TreeConnect(session, rf"\\{endpoint[0]}\{share}")
            try:
                tree.connect()
                answers[share] = Answer.CONNECTED
                tree.disconnect()
            except SMBResponseException as error:
                answers[share] = _ANSWERS.get(error.status, Answer.OTHER)
            except (SMBException, OSError) as error:
                raise SambaUnavailable(f"the server broke off while asked for {share}") from error
    return answers


def refused(error: Exception) -> bool:
    """Whether this error of `ask` says that nothing listens there: no server runs."""
    return isinstance(error.__cause__, ConnectionRefusedError)


@contextmanager
def _session(endpoint: tuple[str, int], password: str, timeout: float) -> Iterator[Any]:
    """A session that ends with its connection, thread and socket, whatever happens. `Connection.connect` can hang on a dead
    address and its `receive` on a dead peer, so the port is tried by itself first, and each answer has its time."""
    from smbprotocol.connection import Connection
    from smbprotocol.exceptions import SMBException, SMBResponseException
    from smbprotocol.session import Session

    class Bounded(Connection):  # type: ignore[misc]
        """A connection that waits for no answer longer than until the end."""

        end = time.monotonic() + timeout

        def receive(
            self, request: Any, wait: bool = True, timeout: float | None = None, resolve_symlinks: bool = True
        ) -> Any:
            left = max(self.end - time.monotonic(), 0.01)
            return super().receive(request, wait, min(left, timeout or left), resolve_symlinks)

    try:
        socket.create_connection(endpoint, timeout=timeout).close()
    except OSError as error:
        raise SambaUnavailable("the server does not accept connections on its address and port") from error
    connection = Bounded(uuid.uuid4(), *endpoint)
    try:
        connection.connect(timeout=timeout)
        session = Session(connection, PROBE_USER, password, require_encryption=False, auth_protocol="ntlm")
        session.connect()
    except SMBResponseException as error:
        _close(connection)
        raise NotConfirmed(f"the server does not let the probe account in: {error.status:#010x}") from None
    except (SMBException, ValueError, OSError) as error:
        _close(connection)
        raise SambaUnavailable("the server does not speak SMB on its address and port") from error
    except BaseException:
        _close(connection)
        raise
    try:
        yield session
    finally:
        _close(connection)


def _close(connection: Any) -> None:
    """Ends the transport; the server ends session and trees with it. (Logging off first would wait for a dead peer.)"""
    if connection.transport is not None:
        connection.disconnect(close=False)
