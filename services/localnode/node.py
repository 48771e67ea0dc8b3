"""The node: what every call works on."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from services.localnode.api.permissions import Caller, Rights
from services.localnode.api.refusal import failed
from services.localnode.guests.ports import Containers
from services.localnode.login import Logins
from services.localnode.state import Guest, State
from services.localnode.storages import Storage
from services.localnode.tasks import Tasks
from services.localnode.volumes import Volumes


@dataclass(frozen=True)
class Node:
    """Everything behind the API, composed in `__main__` or by a test."""

    name: str
    state: State
    tasks: Tasks
    containers: Containers
    logins: Logins
    #: How a storage of each kind keeps its volumes.
    volumes: dict[str, Volumes]
    #: Where volumes are mounted.
    mounts: Path
    _locks: defaultdict[int, threading.RLock] = field(default_factory=lambda: defaultdict(threading.RLock))

    def rights(self, caller: Caller) -> Rights:
        with self.state.read() as facts:
            return Rights(facts.snapshot(), caller)

    def storage(self, name: str) -> Storage:
        with self.state.read() as facts:
            store = facts.storages.get(name)
            if store is None:
                raise failed(f"storage '{name}' does not exist")
            return Storage(name, Path(store.path), tuple(store.content), self.volumes[store.kind], store.kind)

    def storage_names(self) -> list[str]:
        with self.state.read() as facts:
            return sorted(facts.storages)

    def guest(self, vmid: int) -> Guest:
        """A copy of what is known of a guest, or a node's refusal for one that is not there."""
        with self.state.read() as facts:
            guest = facts.guests.get(vmid)
            if guest is None:
                raise failed(no_config(self.name, vmid))
            return Guest(vmid, dict(guest.config), dict(guest.pending), dict(guest.snapshots))

    def guest_lock(self, vmid: int) -> threading.RLock:
        """Held by whatever changes a guest, as a node locks its configuration file."""
        return self._locks[vmid]


def no_config(node: str, vmid: int) -> str:
    return f"Configuration file 'nodes/{node}/lxc/{vmid}.conf' does not exist"
