"""The hosts that are reached by ssh, each with one connection that is kept while it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from services.ssh.connection import Connection, Trust
from services.ssh.host import SshHost
from services.ssh.keys import Key
from services.ssh.resident import Resident

#: An open connection costs a thread here and two processes there.
IDLE_SECONDS = 20.0


class SshHosts:
    """One host per file server, known by its uid. `known` gives the host key that was pinned for it ("TYPE BASE64"), `pin`
    keeps the one that it showed at first contact; should another have been pinned meanwhile, `pin` leaves that. `program`
    is one that understands to be kept (see `Resident`)."""

    def __init__(
        self,
        known: Callable[[str], str | None],
        pin: Callable[[str, str], None],
        idle_seconds: float = IDLE_SECONDS,
        program: Sequence[str] = (),
    ) -> None:
        self._known = known
        self._pin = pin
        self._idle = idle_seconds
        self._program = program
        self._lock = threading.Lock()
        self._connections: dict[str, Connection] = {}
        self._residents: dict[str, Resident] = {}
        self._closed = threading.Event()
        self._sweeper: threading.Thread | None = None

    def host(self, uid: str, address: str, key: Key, port: int = 22) -> SshHost:
        """Connects when something is done. An address or a key other than before takes the place of the former."""
        with self._lock:
            if self._closed.is_set():
                raise RuntimeError("closed")
            former, connection = None, self._connections.get(uid)
            if connection is None or not connection.leads_to(address, port, key):
                former = connection
                trust = Trust(partial(self._known, uid), partial(self._pin, uid))
                connection = self._connections[uid] = Connection(address, port, key, trust)
                if self._program:
                    self._residents[uid] = Resident(connection, self._program)
            if self._sweeper is None:
                self._sweeper = threading.Thread(target=self._sweep, name="ssh-idle", daemon=True)
                self._sweeper.start()
            found = SshHost(connection, resident=self._residents.get(uid))
        if former is not None:
            former.close()
        return found

    def forget(self, uid: str) -> None:
        """Closes the connection of a file server that is no more."""
        with self._lock:
            connection = self._connections.pop(uid, None)
            self._residents.pop(uid, None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """All of them; whatever runs over them fails."""
        self._closed.set()
        with self._lock:
            connections = list(self._connections.values())
            self._connections.clear()
            self._residents.clear()
            sweeper, self._sweeper = self._sweeper, None
        for connection in connections:
            connection.close()
        if sweeper is not None:
            sweeper.join()

    def _sweep(self) -> None:
        while not self._closed.wait(self._idle / 2):
            with self._lock:
                connections = list(self._connections.values())
            for connection in connections:
                connection.close_if_idle(self._idle)
