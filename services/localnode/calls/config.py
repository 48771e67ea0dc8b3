"""A container's configuration: read, changed under its digest, grown; mount points added to a running one."""

from __future__ import annotations

import re
from typing import Any

from services.localnode.api.formats import parse_properties, parse_size, render_properties, render_size, split_list
from services.localnode.api.refusal import Refusal, failed
from services.localnode.api.routes import Call
from services.localnode.calls import settings
from services.localnode.calls.create import add_volume
from services.localnode.calls.power import detach, need_unlocked
from services.localnode.guests.network import can_readdress
from services.localnode.guests.ports import GuestError
from services.localnode.node import Node
from services.localnode.state import Guest
from services.localnode.tasks import Say

_LIMITS = ("memory", "swap", "cores")


def get(node: Node, call: Call) -> Any:
    """With the changes that wait for a start, as a node shows it unless `current` is asked for."""
    call.rights.need(f"/vms/{call.vmid}", "VM.Audit")
    guest = node.guest(call.vmid)
    shown = dict(guest.config)
    if not call.flag("current"):
        for key, value in guest.pending.items():
            if value is None:
                shown.pop(key, None)
            else:
                shown[key] = value
    return {**shown, "digest": guest.digest()}


def pending(node: Node, call: Call) -> Any:
    """Each key with its value, and what it will be (`pending`) or that it will go (`delete`)."""
    call.rights.need(f"/vms/{call.vmid}", "VM.Audit")
    guest = node.guest(call.vmid)
    answer = []
    for key in sorted({*guest.config, *guest.pending}):
        entry: dict[str, Any] = {"key": key}
        if key in guest.config:
            entry["value"] = guest.config[key]
        if key in guest.pending:
            entry |= {"delete": 1} if guest.pending[key] is None else {"pending": guest.pending[key]}
        answer.append(entry)
    return [*answer, {"key": "digest", "value": guest.digest()}]


def put(node: Node, call: Call) -> Any:
    """Synchronous. On a running container what can be taken on at once is, the rest waits for its next start."""
    vmid, rights = call.vmid, call.rights
    values = {key: value for key, value in call.values.items() if key not in {"delete", "digest", "revert"}}
    delete = split_list(call.text("delete"))
    with node.guest_lock(vmid):
        with node.state.read() as facts:
            known = facts.guests.get(vmid)
            unprivileged = known is None or bool(known.config["unprivileged"])
        settings.check_rights(rights, vmid, "", values, delete, unprivileged)
        guest = node.guest(vmid)
        settings.check_storages(node, rights, values)
        settings.check_bridges(rights, values)
        _need_digest(call, guest)
        need_unlocked(guest)
        if "unprivileged" in {*values, *delete}:
            raise failed("unable to modify read-only option: 'unprivileged'")
        running = node.containers.running(vmid)
        for key in delete:
            _delete(node, guest, key, running)
        for volume in settings.new_volumes(values):
            _add(node, vmid, volume, running)
        new = {volume.key for volume in settings.new_volumes(values)}
        plain = {key: settings.written(key, value) for key, value in values.items() if key not in new}
        waits = {key: value for key, value in plain.items() if running and not _taken(node, guest, key, value)}
        with node.state.change() as facts:
            facts.guests[vmid].config |= {key: value for key, value in plain.items() if key not in waits}
            kept = {key: value for key, value in facts.guests[vmid].pending.items() if key not in values}
            facts.guests[vmid].pending = kept | waits
        limits = {key: int(plain[key]) for key in _LIMITS if key in plain}
        if running and limits:
            node.containers.limit(vmid, limits)


def resize(node: Node, call: Call) -> Any:
    """Grows a volume, also under a running container."""
    vmid, disk = call.vmid, call.text("disk")
    call.rights.need(f"/vms/{vmid}", "VM.Config.Disk")
    guest = node.guest(vmid)
    _need_digest(call, guest)
    need_unlocked(guest)
    if disk not in guest.config:
        raise failed(f"disk '{disk}' does not exist")
    storage = node.storage(settings.volume_of(guest.config[disk]).partition(":")[0])
    call.rights.need(f"/storage/{storage.name}", "Datastore.AllocateSpace")
    properties = parse_properties(guest.config[disk], "volume")
    old, text = parse_size(properties["size"]), call.text("size")
    size = parse_size(text.lstrip("+")) + (old if text.startswith("+") else 0)
    if size < old:
        raise failed("unable to shrink disk size")

    def work(say: Say) -> None:
        with node.guest_lock(vmid):
            storage.need_space(size - old)
            storage.volumes.grow(storage.file(properties["volume"]), size, settings.mount_point(node, vmid, disk))
            with node.state.change() as facts:
                value = {**properties, "size": render_size(size)}
                facts.guests[vmid].config[disk] = render_properties(value, "volume", ("mp",))

    return node.tasks.start(call.rights.caller, "resize", str(vmid), work)


def _need_digest(call: Call, guest: Guest) -> None:
    if call.text("digest") not in {"", guest.digest()}:
        raise failed("detected modified configuration - file changed by other user? Try again.")


def _delete(node: Node, guest: Guest, key: str, running: bool) -> None:
    """A mount point's volume stays as unusedN, and goes when that is deleted."""
    if key == "rootfs":
        raise failed("unable to delete required option 'rootfs'")
    if re.fullmatch(r"unused\d+", key) and key in guest.config:
        volid = guest.config[key]
        storage = node.storage(volid.partition(":")[0])
        storage.volumes.remove(storage.file(volid))
    with node.state.change() as facts:
        known = facts.guests[guest.vmid]
        known.pending.pop(key, None)
        if running and key not in settings.LIVE and not key.startswith("unused"):
            if key in known.config:
                known.pending[key] = None
        else:
            detach(known.config, key)


def _add(node: Node, vmid: int, volume: settings.NewVolume, running: bool) -> None:
    """Makes a mount point's volume and mounts it; what cannot be mounted is not left in the configuration."""
    if volume.key in node.guest(vmid).config:
        raise failed(f"mount point '{volume.key}' already exists")
    try:
        add_volume(node, vmid, volume, lambda line: None)
    except GuestError as error:
        raise failed(str(error)) from error
    if not running:
        return
    value = node.guest(vmid).config[volume.key]
    try:
        _hotplug(node, vmid, volume.key, value)
    except Refusal:
        storage = node.storage(volume.storage)
        storage.volumes.unmount(settings.mount_point(node, vmid, volume.key))
        storage.volumes.remove(storage.file(settings.volume_of(value)))
        with node.state.change() as facts:
            del facts.guests[vmid].config[volume.key]
        raise


def _hotplug(node: Node, vmid: int, key: str, value: Any) -> None:
    try:
        node.containers.mount(vmid, settings.mount(node, vmid, key, value))
    except GuestError as error:
        raise failed(f"unable to hotplug {key}: {error}") from error


def _taken(node: Node, guest: Guest, key: str, value: Any) -> bool:
    """Whether a running container has taken on a value: what means nothing to it, another bind mount, other addresses of an
    interface. Anything else waits."""
    if key in settings.LIVE:
        return True
    if re.fullmatch(r"mp\d+", key) and key not in guest.config and settings.volume_of(value).startswith("/"):
        _hotplug(node, guest.vmid, key, value)
        return True
    if not re.fullmatch(r"net\d+", key) or key not in guest.config:
        return False
    old, new = settings.network(guest.config[key]), settings.network(value)
    if not can_readdress(old, new):
        return False
    changed = Guest(guest.vmid, {**guest.config, key: value})
    try:
        node.containers.readdress(settings.plan(node, changed), old, new)
    except GuestError as error:
        raise failed(str(error)) from error
    return True
