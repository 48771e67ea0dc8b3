"""LXC mode with its gateway: containers of a stand-in node, which all deployments of a run share."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pvesmb

from packaging.stack import node as stand_in
from services.core.errors import PvesmbError
from services.localnode.guests.lxc import ID_FIRST
from services.lxc.settings import LAYOUT
from services.proxmox import containers, tasks
from services.proxmox.mounts import Mount
from services.proxmox.ownership import owner_of
from tests.e2e import guest_processes
from tests.e2e.deployment import Deployment
from tests.e2e.guest_processes import Guest
from tests.e2e.node import TestNode
from tests.e2e.waiting import until
from tests.e2e.words import MIB, Server

#: Of a share that asks for nothing else.
VOLUME_BYTES = 512 * MIB


class LxcDeployment(Deployment):
    """See `Deployment`. Its guests are in a pool of its own."""

    mode = "lxc"
    steps = ("container", "volume", "start", "address", "prepare", "config", "process", "apply", "confirm")
    failures = ("STORAGE_FULL",)
    #: One of the API for each thread, one to each container.
    pooled_files = 32
    client_network = str(stand_in.NETWORK.network)

    def __init__(self, node: TestNode, settings: Mapping[str, Any] | None = None, *, deadly: bool = False) -> None:
        self.node = node
        self.pool = node.new_pool()
        super().__init__(settings, deadly=deadly)
        (self.state / guest_processes.NODE).write_text(str(node.containers))

    def _settings(self) -> Mapping[str, Any]:
        return {**self.node.local.settings(), "pool": self.pool, "volume_size_bytes": VOLUME_BYTES}

    def spec(self, **fields: Any) -> pvesmb.FileServer:
        """With a fixed address: a lease takes its time."""
        network = pvesmb.GuestNetwork(ipv4_address=self.node.free_address(), ipv6_address="none")
        return pvesmb.FileServer(**{"lxc": pvesmb.LxcDeployment(network=network), **fields})

    def failing_share(self) -> pvesmb.Share:
        """No storage here has so much."""
        return pvesmb.Share(volume=pvesmb.VolumeStorage(size_bytes=2**50))

    # From outside

    def guest(self, uid: str) -> Guest:
        """The container of a file server, which runs."""
        [vmid] = [vmid for vmid, owner in self._owners().items() if owner == uid]
        found = self.node.running(vmid)
        assert found is not None, f"container {vmid} does not run"
        return found

    def stop_guest(self, server: Server) -> None:
        """As somebody does on the node."""
        guest = self.on_node(server)
        tasks.wait(self.node.root, containers.stop(self.node.root, guest), timeout=60)

    def destroy(self, server: Server) -> None:
        """The same, of one that does not run."""
        guest = self.on_node(server)

        def destroyed() -> bool:
            """A drift check may have started it meanwhile."""
            try:
                tasks.wait(self.node.root, containers.destroy(self.node.root, guest), timeout=60)
            except PvesmbError:
                self.stop_guest(server)
                return False
            return True

        until(destroyed, "the end of the container")

    def on_node(self, server: Server) -> containers.Guest:
        """As the API names its container."""
        [vmid] = [vmid for vmid, owner in self._owners().items() if owner == server.uid]
        return containers.Guest(stand_in.NODE, vmid)

    def _owners(self) -> dict[int, str]:
        """Uid of the file server that each container says it is of."""
        guests = self.node.guests(self.pool)
        tags = {vmid: [*config.get("tags", "").replace(",", ";").split(";")] for vmid, config in guests.items()}
        return {vmid: owner_of(tags[vmid], config.get("description", "")) for vmid, config in guests.items()}

    def conf_of(self, uid: str) -> str:
        return LAYOUT.conf

    def place(self, server: Server, path: str) -> Path:
        return self.guest(server.uid).path(path)

    def owner(self, id: int) -> int:
        return ID_FIRST + id

    def tool_of(self, uid: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.guest(uid).run(*argv)

    def smbd(self, server: Server) -> int:
        found = guest_processes.smbd(self.guest(server.uid))
        assert found is not None, "smbd does not run"
        return found

    def processes(self, uid: str = "") -> list[int]:
        found = []
        for vmid, owner in self._owners().items():
            guest = self.node.running(vmid) if uid in ("", owner) else None
            found += guest.samba() if guest is not None else []
        return found

    def mounted(self, vmid: int) -> set[str]:
        """Where a container's volumes are mounted in it, without those that it lets go of at its next stop."""
        config = self.node.guests(self.pool)[vmid]
        points = {key: Mount.parse(text).mount for key, text in config.items() if key.startswith("mp")}
        return {point for key, point in points.items() if config["pending"].get(key, "") is not None}

    def traces(self, id: str, resource: pvesmb.FileServer) -> Sequence[str]:
        return [*self._leftovers(set()), *self._rows_left()]

    def strays(self, wanted: Mapping[str, set[str]]) -> Sequence[str]:
        found = self._leftovers(set(wanted))
        for vmid, owner in self._owners().items():
            if owner in wanted and len(mounted := self.mounted(vmid)) != len(wanted[owner]):
                found.append(f"volumes of {vmid} at {mounted} for {wanted[owner]}")
        return found

    def _leftovers(self, wanted: set[str]) -> list[str]:
        """Guests of ours that are not of these file servers; and volumes, mounts and containers of anybody's guests that
        are not there any more."""
        found = [f"guest {vmid} of {owner}" for vmid, owner in self._owners().items() if owner not in wanted]
        there = set(self.node.all_guests())
        found += [f"volume {volume} of {vmid}" for vmid, volume in self.node.volumes() if vmid not in there]
        paths = [path for path in self.node.mounts() if not set(path.split("/")) & {str(v) for v in there}]
        found += [f"mount or loop device {path}" for path in paths]
        running = [int(d.name) for d in self.node.containers.iterdir() if d.name.isdigit()]
        return found + [f"container {vmid}" for vmid in running if vmid not in there]

    def hosted(self) -> set[str]:
        return set(self._owners().values())

    def stored(self, server: Server) -> int:
        [vmid] = [vmid for vmid, owner in self._owners().items() if owner == server.uid]
        return len(self.mounted(vmid))

    def flaws(self, server: Server, volumes: int) -> Sequence[str]:
        """Every share is a volume here, whatever it asks for."""
        found = self._leftovers({server.uid})
        for file in self.place(server, LAYOUT.private_dir).glob("*.tdb"):
            if file.stat().st_mode & 0o077:
                found.append(f"{file} is open to others")
        shares = len(list(self.client.shares.list(server.name)))
        if self.stored(server) != shares:
            found.append(f"{self.stored(server)} volumes for {shares} shares")
        kinds = {kind for (kind,) in self.rows("SELECT kind FROM claims")}
        wanted = {"guest", "container", "host-key", "endpoint", "volume", "volume-made"}
        return found if kinds == wanted else [*found, f"claims {kinds}"]

    def look(self) -> Mapping[str, Any]:
        mine = self.node.guests(self.pool)
        volumes = sorted(name for vmid, name in self.node.volumes() if vmid in mine)
        return {"guests": mine, "volumes": volumes}
