"""Volumes of a container that exists: added while it runs, grown, detached, destroyed.

Each looks first and does nothing that is done already, so that they may be repeated when an answer was lost. A volume is
known by its place inside the guest until it has an id.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import TypeVar

from services.core.errors import LimitReached, NotFound, ProxmoxFailed, PvesmbError
from services.proxmox.containers import Config, Guest, configure, pending, read_config
from services.proxmox.failures import Kind, kind_of
from services.proxmox.mounts import HostPath, Mount, NewVolume, mib
from services.proxmox.session import Api
from services.proxmox.tasks import Upid

T = TypeVar("T")
#: mp0 to mp255 (schema of 8.1 to 9.2).
_MOUNT_POINTS = 256
_STALE_TRIES = 5


def mounted_at(config: Config, mount: str) -> tuple[str, Mount] | None:
    """The mount point at this place inside, with its key."""
    return next(((key, each) for key, each in config.mounts.items() if key.startswith("mp") and each.mount == mount), None)


def add_host_path(api: Api, guest: Guest, new: HostPath) -> Mount:
    """Mounts a directory of the node, which only a password login of root@pam may ask for."""
    return _add(api, guest, new)


def add_volume(api: Api, guest: Guest, new: NewVolume) -> Mount:
    """Makes the volume and mounts it, in a running container too; one that is mounted there already stays."""
    return _add(api, guest, new)


def _add(api: Api, guest: Guest, new: NewVolume | HostPath) -> Mount:
    def once() -> Mount:
        config = read_config(api, guest)
        if found := mounted_at(config, new.mount):
            return found[1]
        key = next((f"mp{n}" for n in range(_MOUNT_POINTS) if f"mp{n}" not in config.mounts), None)
        if key is None:
            raise LimitReached(
                f"{guest.subject} has all the {_MOUNT_POINTS} mount points that a container can have",
                help="Restart the container, so that it lets go of deleted shares, or use another file server.",
            )
        try:
            configure(api, guest, {key: new.text()}, digest=config.digest)
        except PvesmbError:
            _take_back(api, guest, key)
            raise
        if found := mounted_at(read_config(api, guest), new.mount):
            return found[1]
        raise ProxmoxFailed(
            f"{guest.subject}: {new.mount} could not be mounted while it runs",
            help="Restart the container, or see why hot-plugging failed in the node's system log.",
        )

    return _despite_others(once)


def _take_back(api: Api, guest: Guest, key: str) -> None:
    """A volume that could not be made stays pending, and the container's next start would make it (PVE::LXC::Config)."""
    with contextlib.suppress(PvesmbError):
        if key in pending(api, guest):
            api.call("PUT", (*guest.path, "config"), {"revert": key}, subject=guest.subject)


def grow_volume(api: Api, guest: Guest, mount: str, size_bytes: int) -> Upid | None:
    """Grows it to this size, in use too; None if it is that large. By the whole size and not by the difference, so that
    twice is once."""
    key, now = _need(read_config(api, guest), guest, mount)
    return _grow(api, guest, key, now, size_bytes)


def grow_root(api: Api, guest: Guest, size_bytes: int) -> Upid | None:
    """The same for the root disk."""
    return _grow(api, guest, "rootfs", read_config(api, guest).mounts["rootfs"], size_bytes)


def _grow(api: Api, guest: Guest, key: str, now: Mount, size_bytes: int) -> Upid | None:
    if now.size_bytes >= mib(size_bytes) * 2**20:
        return None
    params = {"disk": key, "size": f"{mib(size_bytes)}M"}
    return Upid.parse(api.call("PUT", (*guest.path, "resize"), params, subject=guest.subject, timeout=120.0))


def detach_volume(api: Api, guest: Guest, mount: str) -> bool:
    """Takes it out of the guest and keeps it as `unusedN`. False if it stays until the guest is stopped, because a running
    one does not let go of it: then call again after."""

    def once() -> bool:
        config = read_config(api, guest)
        found = mounted_at(config, mount)
        if found is None:
            return True
        configure(api, guest, {}, delete=[found[0]], digest=config.digest)
        return mounted_at(read_config(api, guest), mount) is None

    return _despite_others(once)


def destroy_detached(api: Api, guest: Guest, volume: str) -> None:
    """Destroys a volume with its data; only one that is detached. No error if the guest has none of this id."""

    def once() -> None:
        config = read_config(api, guest)
        keys = [key for key, each in config.mounts.items() if re.match("unused", key) and each.volume == volume]
        if keys:
            configure(api, guest, {}, delete=keys, digest=config.digest)

    _despite_others(once)


def _need(config: Config, guest: Guest, mount: str) -> tuple[str, Mount]:
    if found := mounted_at(config, mount):
        return found
    raise NotFound(f"{guest.subject} has no volume at {mount}", help="It was detached on the node.")


def _despite_others(once: Callable[[], T]) -> T:
    """Again if somebody changed the configuration between our look and our change."""
    for _ in range(_STALE_TRIES - 1):
        try:
            return once()
        except PvesmbError as error:
            if kind_of(error) is not Kind.STALE:
                raise
    return once()
