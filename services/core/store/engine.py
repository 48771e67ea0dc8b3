"""Connections to the store and the two kinds of blocks in which it is used.

Embedded it is one SQLite file (WAL, `synchronous=FULL`: a claim outlives a power cut), owned by one process; by URL it is
PostgreSQL, shared by several replicas of a service, which then hold operations by leases. Every change happens in
`transaction()`; on SQLite that is `BEGIN IMMEDIATE`, because Python's sqlite3 opens no transaction before a SELECT and
read-then-write would lose updates; on PostgreSQL rows that are read to be changed are locked.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from services.core.errors import PreconditionFailed, StorageFull
from services.core.store.migrate import migrate
from services.core.store.transaction import Transaction

#: How SQLite and PostgreSQL say that there is no space left.
_FULL = ("database or disk is full", "No space left on device")


class Store:
    """Open connections to one database whose schema is current. Thread-safe."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self._lock_fd: int | None = None
        # SQLite lets those who wait for each other's transactions sleep, longer and longer; a lock wakes the next at once.
        self._one_writer: AbstractContextManager[object] = threading.Lock() if self.embedded else nullcontext()
        if self.embedded:
            self._lock_file()
        self._engine = _engine(str(url) if self.embedded else url, embedded=self.embedded)
        # SQLite's readers see one state anyway; PostgreSQL's do from this level on.
        level = {} if self.embedded else {"isolation_level": "REPEATABLE READ"}
        self._readers = self._engine.execution_options(pvesmb_read=True, **level)
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

    @property
    def embedded(self) -> bool:
        """Whether this is SQLite, where this process alone has the file."""
        return self.url.get_backend_name() == "sqlite"

    def close(self) -> None:
        self._engine.dispose()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Reads and writes that happen together or, when the block raises, not at all."""
        try:
            with self._one_writer, self._engine.begin() as connection:
                yield Transaction(connection)
        except OperationalError as error:
            if _is_full(error):
                raise StorageFull("the store has no space left; nothing was changed") from error
            raise

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """Reads that see one state of the store; they wait for nobody."""
        with self._readers.connect() as connection, connection.begin():
            yield Transaction(connection)

    def _lock_file(self) -> None:
        path = self.url.database or ""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lock_fd = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock_fd)
            raise PreconditionFailed(
                f"the store {path} is in use by another process",
                help="Stop the other backend, or give each its own state directory.",
            ) from None

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            migrate(connection)


def _engine(url: str | object, *, embedded: bool) -> Engine:
    if not embedded:
        return create_engine(url, pool_size=20, max_overflow=20, pool_pre_ping=True)  # type: ignore[arg-type]
    engine = create_engine(str(url), pool_size=20, max_overflow=100, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def _connect(connection: object, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]
        # Of 20 connections each would keep 2 MiB of pages, which the system's own cache holds too.
        size = "cache_size=-512"
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=60000", size):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("pvesmb_read")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _is_full(error: BaseException | None) -> bool:
    """Whether the space was at an end. SQLite then ends the transaction by itself, so that the error which arrives may be
    one about that, with the cause behind it."""
    while error is not None:
        if isinstance(error, OperationalError) and any(sign in str(error.orig) for sign in _FULL):
            return True
        error = error.__context__
    return False
