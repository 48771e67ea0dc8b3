"""Containers and volumes that only remember: for everything about the API that needs no guest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from services.localnode.guests.ports import Address, ContainerPlan, GuestError, Interface, Mount, Network, Usage
from services.localnode.volumes import Unpack


class FakeContainers:
    """Containers by id. `start_error` fails the next start."""

    def __init__(self) -> None:
        self.started: dict[int, ContainerPlan] = {}
        self.limits: dict[int, dict[str, int]] = {}
        self.mounted: dict[int, list[str]] = {}
        self.deaf: set[int] = set()
        self.start_error = ""
        self.unpack_error = ""

    def unpack(self, template: Path, rootfs: Path) -> None:
        if self.unpack_error:
            raise GuestError(self.unpack_error)
        (rootfs / "unpacked").write_text(template.name)

    def set_up(self, plan: ContainerPlan, *, ssh_keys: str, password: str) -> None:
        (plan.rootfs / "keys").write_text(ssh_keys)

    def start(self, plan: ContainerPlan) -> None:
        if self.start_error:
            raise GuestError(self.start_error)
        self.started[plan.vmid] = plan
        self.mounted[plan.vmid] = [mount.target for mount in plan.mounts]

    def readdress(self, plan: ContainerPlan, old: Network, new: Network) -> None:
        self.started[plan.vmid] = plan

    def running(self, vmid: int) -> bool:
        return vmid in self.started

    def shutdown(self, vmid: int, timeout: float) -> bool:
        if vmid in self.deaf:
            return False
        self.stop(vmid)
        return True

    def stop(self, vmid: int) -> None:
        self.started.pop(vmid, None)

    def forget(self, vmid: int) -> None:
        self.limits.pop(vmid, None)

    def mount(self, vmid: int, mount: Mount) -> None:
        self.mounted[vmid].append(mount.target)

    def limit(self, vmid: int, limits: Mapping[str, int]) -> None:
        self.limits.setdefault(vmid, {}).update(limits)

    def usage(self, vmid: int) -> Usage | None:
        return Usage(pid=238, memory_bytes=11317248, uptime_seconds=5) if vmid in self.started else None

    def bridges(self) -> Sequence[str]:
        return ["vmbr0", "vmbr1"]

    def interfaces(self, vmid: int) -> Sequence[Interface] | None:
        if vmid not in self.started:
            return None
        loopback = Interface("lo", "00:00:00:00:00:00", [Address("inet", "127.0.0.1", 8), Address("inet6", "::1", 128)])
        return [loopback, *(Interface(net.name, net.hwaddr.lower()) for net in self.started[vmid].networks)]


class FakeVolumes:
    """Volumes as directories, whose size is only remembered."""

    format = "raw"
    can_snapshot = False

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}

    def create(self, file: Path, size: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(exist_ok=False)
        self.sizes[file.name] = size

    def name(self, vmid: int, number: int) -> str:
        return f"vm-{vmid}-disk-{number}.raw"

    def create_root(self, file: Path, size: int, at: Path, template: Path, unpack: Unpack) -> None:
        self.create(file, size)
        unpack(self.mount(file, at))

    def size(self, file: Path) -> int:
        return self.sizes[file.name]

    def grow(self, file: Path, size: int, at: Path) -> None:
        self.sizes[file.name] = size

    def remove(self, file: Path) -> None:
        file.unlink(missing_ok=True)
        self.sizes.pop(file.name, None)

    def mount(self, file: Path, at: Path) -> Path:
        at.mkdir(parents=True, exist_ok=True)
        return at

    def unmount(self, at: Path) -> None:
        pass

    def snapshot(self, file: Path, name: str) -> None:
        raise GuestError("snapshot feature is not available")

    rollback = remove_snapshot = snapshot
