"""A node that answers, as the suite needs it: whatever it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from services.proxmox.containers import Guest, NewContainer, Nic, create
from services.proxmox.ids import next_id
from services.proxmox.mounts import NewVolume
from services.proxmox.session import Api
from services.proxmox.tasks import wait

GIB = 2**30


@dataclass
class Place:
    """`api` is a session of the least rights that docs and preflight ask for. `storage` takes containers, `templates`
    takes templates, and `template` is there."""

    api: Api
    node: str
    storage: str
    templates: str
    template: str
    bridge: str
    pool: str
    #: A session of root@pam by password, for what is told to it alone.
    root: Api
    _uids: count[int] = field(default_factory=lambda: count(1))

    def guest(self, vmid: int) -> Guest:
        return Guest(self.node, vmid)

    def new(self, **changes: object) -> NewContainer:
        """What a small container is made from."""
        uid = f"5f0c{next(self._uids):08d}"
        wanted: dict[str, object] = {
            "uid": uid,
            "hostname": f"smb-{uid}",
            "template": self.template,
            "rootfs": NewVolume(self.storage, GIB),
            "nic": Nic(self.bridge, "10.99.0.30/24"),
            "memory_mib": 128,
            "pool": self.pool,
        }
        return NewContainer(**(wanted | changes))  # type: ignore[arg-type]

    def made(self, **changes: object) -> Guest:
        """A container that is there, stopped."""
        guest = Guest(self.node, next_id(self.api))
        wait(self.api, create(self.api, guest, self.new(**changes)), timeout=120)
        return guest
