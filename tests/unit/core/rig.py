"""A whole core on a fake mode, run by hand: `drain` does what the worker's threads would."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.core.control import Call, Control, NewContents, Planned
from services.core.domain.account import UserSpec
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind, Name
from services.core.domain.operation import Operation
from services.core.domain.resource import Resource
from services.core.domain.share import ShareSpec
from services.core.runs import Tools, execute
from services.core.store import Store
from services.core.worker import Worker, batch_length
from tests.fakes import FakeClock, FakeMode, FakeTelemetry, FakeTemplates, FakeVault

SERVER = Name("b", "fs")


@dataclass
class Rig:
    """Store, fake mode and the core between them. `reopen` is what a new process after a kill sees."""

    path: Path
    mode: FakeMode = field(default_factory=FakeMode)
    templates: FakeTemplates = field(default_factory=FakeTemplates)
    clock: FakeClock = field(default_factory=FakeClock)
    telemetry: FakeTelemetry = field(default_factory=FakeTelemetry)

    def __post_init__(self) -> None:
        self.vault = FakeVault()
        self.open()

    def open(self) -> None:
        self.store = Store(f"sqlite:///{self.path}/store.db")
        owner = uuid.uuid4().hex
        self.tools = Tools(self.store, self.mode, self.vault, self.clock, self.telemetry, owner, templates=self.templates)
        self.worker = Worker(self.tools)
        self.control = Control(self.store, self.mode, self.vault, self.clock, self.worker, "b", self.templates)
        with self.store.transaction() as tx:
            tx.release_leases()

    def reopen(self) -> None:
        self.store.close()
        self.open()

    def drain(self) -> None:
        """Runs everything that waits, batch after batch."""
        while True:
            with self.store.transaction() as tx:
                taken = tx.lease(self.tools.owner, self.clock.now(), 60.0, batch_length)
            if not taken:
                return
            execute(self.tools, taken)

    # Calls in short

    def create_server(self, **contents: Any) -> Operation:
        new = NewContents(**contents)
        return self.accepted(self.control.create_file_server(Call(), "fs", FileServerSpec(), new))

    def ready_server(self) -> None:
        assert self.finished(self.create_server()).error is None

    def create_share(self, id: str, spec: ShareSpec | None = None, call: Call | None = None) -> Operation:
        return self.accepted(self.control.create_share(call or Call(), SERVER, id, spec or ShareSpec()))

    def create_user(self, id: str, password: str = "geheim") -> Operation:
        return self.accepted(self.control.create_user(Call(), SERVER, id, UserSpec(), password))

    def accepted(self, answer: Operation | Planned) -> Operation:
        assert isinstance(answer, Operation)
        return answer

    def finished(self, operation: Operation) -> Operation:
        """The operation after everything that waits has run."""
        self.drain()
        return self.operation(operation)

    def operation(self, operation: Operation) -> Operation:
        with self.store.snapshot() as tx:
            found = tx.operation(operation.id)
        assert found is not None
        return found

    def find(self, name: Name) -> Resource[Any] | None:
        with self.store.snapshot() as tx:
            return tx.find(name)

    def share(self, id: str) -> Resource[Any] | None:
        return self.find(SERVER.child(Kind.SHARE, id))

    def claims(self) -> int:
        from services.core.store.tables import claims

        with self.store.snapshot() as tx:
            return len(tx._c.execute(claims.select()).all())
