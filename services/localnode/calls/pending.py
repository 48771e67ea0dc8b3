"""Changes of a configuration: each is written down as pending first, then taken on, or left until the next start.

That is how a real node does it (PVE::LXC::Config): what cannot be taken on stays pending and is told as an error of its
parameter, while the other parameters of the same call have their effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from logging import getLogger
from typing import Any

from services.localnode.api.refusal import Refusal
from services.localnode.api.schema import Value
from services.localnode.calls import settings
from services.localnode.calls.disks import add_volume
from services.localnode.guests.network import can_readdress
from services.localnode.guests.ports import GuestError
from services.localnode.node import Node
from services.localnode.state import Guest

log = getLogger(__name__)

_LIMITS = frozenset({"memory", "swap", "cores"})


def write(node: Node, vmid: int, values: Mapping[str, Value], delete: Iterable[str], revert: Iterable[str]) -> None:
    """Writes the changes down."""
    with node.state.change() as facts:
        guest = facts.guests[vmid]
        for key in revert:
            guest.pending.pop(key, None)
        for key in delete:
            guest.pending.pop(key, None)
            if key in guest.config:
                guest.pending[key] = None
        for key, value in values.items():
            guest.pending[key] = settings.written(key, value)


def take(node: Node, vmid: int, keys: Iterable[str] | None = None) -> dict[str, str]:
    """Takes on what waits (for all keys, or these), as far as the container lets it; what went wrong, by key."""
    wrong: dict[str, str] = {}
    running = node.containers.running(vmid)
    waiting = node.guest(vmid).pending
    for key in sorted(waiting if keys is None else waiting.keys() & set(keys)):
        try:
            if _take(node, node.guest(vmid), key, running):
                with node.state.change() as facts:
                    facts.guests[vmid].pending.pop(key, None)
        except (GuestError, Refusal) as error:
            wrong[key] = (
                f"unable to hotplug {key}: {error}" if running else f"unable to apply pending change {key} : {error}"
            )
            log.warning("CT %d: %s", vmid, wrong[key])
    return wrong


def _take(node: Node, guest: Guest, key: str, running: bool) -> bool:
    """Whether the change has had its effect."""
    value = guest.pending[key]
    if value is None:
        if running and key not in settings.LIVE and not key.startswith("unused"):
            return False
        _delete(node, guest, key)
        return True
    new = settings.new_volumes({key: value})
    if running and not _takes(guest, key, value):
        return False
    if new:
        _set(node, guest.vmid, key, None)
        _add(node, guest.vmid, new[0], running)
        return True
    if running and re.fullmatch(r"mp\d+", key):
        node.containers.mount(guest.vmid, settings.mount(node, guest.vmid, key, value))
    elif running and key.startswith("net"):
        changed = Guest(guest.vmid, {**guest.config, key: value})
        old, wanted = settings.network(guest.config[key]), settings.network(value)
        node.containers.readdress(settings.plan(node, changed), old, wanted)
    elif running and key in _LIMITS:
        node.containers.limit(guest.vmid, {key: int(value)})
    _set(node, guest.vmid, key, value)
    return True


def _takes(guest: Guest, key: str, value: Any) -> bool:
    """Whether a running container takes on a value: what means nothing to it or is only a limit, another mount point, other
    addresses of an interface."""
    if re.fullmatch(r"mp\d+", key):
        return key not in guest.config
    if re.fullmatch(r"net\d+", key) and key in guest.config:
        return can_readdress(settings.network(guest.config[key]), settings.network(value))
    return key in settings.LIVE


def _set(node: Node, vmid: int, key: str, value: Any) -> None:
    """A volume that was there under this key stays as `unusedN`."""
    with node.state.change() as facts:
        config = facts.guests[vmid].config
        if settings.is_volume_key(key):
            detach(config, key)
        if value is not None:
            config[key] = value


def _delete(node: Node, guest: Guest, key: str) -> None:
    """A mount point's volume stays as `unusedN`, and goes when that is deleted."""
    if key.startswith("unused") and key in guest.config:
        volid = settings.volume_of(guest.config[key])
        storage = node.storage(volid.partition(":")[0])
        storage.volumes.remove(storage.file(volid))
    with node.state.change() as facts:
        detach(facts.guests[guest.vmid].config, key)


def detach(config: dict[str, Any], key: str) -> None:
    """Removes a key; a volume of a mount point stays as `unusedN`."""
    value = config.pop(key, None)
    if value is not None and key.startswith("mp") and not settings.volume_of(value).startswith("/"):
        number = next(n for n in range(len(config) + 1) if f"unused{n}" not in config)
        config[f"unused{number}"] = settings.volume_of(value)


def _add(node: Node, vmid: int, volume: settings.NewVolume, running: bool) -> None:
    """Makes a mount point's volume and mounts it; one that cannot be mounted is not kept."""
    add_volume(node, vmid, volume, lambda line: None)
    if not running:
        return
    value = node.guest(vmid).config[volume.key]
    try:
        node.containers.mount(vmid, settings.mount(node, vmid, volume.key, value))
    except (GuestError, Refusal):
        storage = node.storage(volume.storage)
        storage.volumes.unmount(settings.mount_point(node, vmid, volume.key))
        storage.volumes.remove(storage.file(settings.volume_of(value)))
        with node.state.change() as facts:
            del facts.guests[vmid].config[volume.key]
        raise
