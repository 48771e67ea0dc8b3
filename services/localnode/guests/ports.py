"""What the node asks of whatever runs containers. VMs get a port of their own beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Network:
    """One interface of a container, as configured: `ip` is CIDR, `dhcp`, `manual` or empty."""

    name: str
    bridge: str
    hwaddr: str
    ip: str = ""
    gateway: str = ""
    ip6: str = ""
    gateway6: str = ""
    vlan: int = 0


@dataclass(frozen=True)
class Mount:
    """A volume of a container: its directory on the node, and where it lies inside."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class ContainerPlan:
    """Everything that a start needs; the volumes are there and hold their content already."""

    vmid: int
    hostname: str
    rootfs: Path
    mounts: Sequence[Mount] = ()
    networks: Sequence[Network] = ()
    memory_mib: int = 512
    swap_mib: int = 512
    cores: int = 0
    nesting: bool = False
    nameservers: Sequence[str] = ()
    searchdomain: str = ""


@dataclass(frozen=True)
class Usage:
    """What a running container uses now."""

    pid: int = 0
    memory_bytes: int = 0
    uptime_seconds: int = 0
    cpu_share: float = 0.0


@dataclass(frozen=True)
class Address:
    """An address of an interface: `family` is inet or inet6."""

    family: str
    address: str
    prefix: int


@dataclass(frozen=True)
class Interface:
    name: str
    hwaddr: str
    addresses: Sequence[Address] = ()


class GuestError(Exception):
    """A guest could not be made, started, stopped or asked. The text becomes the task's exit status."""


class Containers(Protocol):
    """Containers of this machine. It keeps no state of its own: running ones are found again after a restart."""

    def unpack(self, template: Path, rootfs: Path) -> None:
        """Fills an empty root volume from an archive, with the owners that an unprivileged container sees."""
        ...

    def set_up(self, plan: ContainerPlan, *, ssh_keys: str, password: str) -> None:
        """First set-up inside the root volume: keys and password."""
        ...

    def start(self, plan: ContainerPlan) -> None:
        """With name, interfaces and resolver of the plan in its files."""
        ...

    def readdress(self, plan: ContainerPlan, old: Network, new: Network) -> None:
        """Other addresses for a running container, whose plan has the new ones."""
        ...

    def running(self, vmid: int) -> bool: ...

    def shutdown(self, vmid: int, timeout: float) -> bool:
        """Asks the container to end; whether it did in time."""
        ...

    def stop(self, vmid: int) -> None:
        """Ends it at once. One that does not run is no error."""
        ...

    def forget(self, vmid: int) -> None:
        """Removes what `start` laid down beside the volumes."""
        ...

    def mount(self, vmid: int, mount: Mount) -> None:
        """Adds a volume to a running container."""
        ...

    def limit(self, vmid: int, limits: Mapping[str, int]) -> None:
        """New `memory` (MiB), `swap` (MiB) or `cores` of a running container."""
        ...

    def usage(self, vmid: int) -> Usage | None:
        """None if it does not run."""
        ...

    def bridges(self) -> Sequence[str]:
        """The bridges that guests may be on."""
        ...

    def interfaces(self, vmid: int) -> Sequence[Interface] | None:
        """None if it does not run."""
        ...
