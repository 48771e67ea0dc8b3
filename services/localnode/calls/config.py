"""A container's configuration: read, changed under its digest, grown; mount points added to a running one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.localnode.api.formats import parse_properties, parse_size, render_properties, render_size, split_list
from services.localnode.api.refusal import bad_parameters, failed
from services.localnode.api.routes import Call
from services.localnode.api.schema import Value
from services.localnode.calls import pending, settings
from services.localnode.calls.power import need_unlocked
from services.localnode.node import Node
from services.localnode.state import Guest
from services.localnode.tasks import Say


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


def listed(node: Node, call: Call) -> Any:
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
    """Synchronous. On a running container what can be taken on at once is, the rest waits for its end."""
    vmid, rights = call.vmid, call.rights
    values = {key: value for key, value in call.values.items() if key not in {"delete", "digest", "revert"}}
    delete, revert = split_list(call.text("delete")), split_list(call.text("revert"))
    if not values and not delete and not revert:
        raise failed("no options specified")
    with node.guest_lock(vmid):
        with node.state.read() as facts:
            known = facts.guests.get(vmid)
            unprivileged = known is None or bool(known.config["unprivileged"])
        settings.check_rights(rights, vmid, "", values, [*delete, *revert], unprivileged)
        guest = node.guest(vmid)
        settings.check_spaces(rights, values)
        settings.check_bridges(rights, values)
        need_unlocked(guest)
        _need_digest(call, guest)
        _need_allowed(guest, values, delete)
        settings.check_contents(node, values)
        pending.write(node, vmid, values, delete, revert)
        wrong = pending.take(node, vmid, {*values, *delete})
        if wrong:
            raise bad_parameters(wrong)


def _need_allowed(guest: Guest, values: Mapping[str, Value], delete: Sequence[str]) -> None:
    """What no container may change, and what a protected one may not."""
    for key in delete:
        if key in {"memory", "rootfs", "ostype"}:
            raise failed(f"unable to delete required option '{key}'")
        if key == "unprivileged":
            raise failed("unable to delete read-only option: 'unprivileged'")
        if settings.is_volume_key(key) and guest.config.get("protection"):
            raise failed(f"can't remove CT {guest.vmid} drive '{key}' - protection mode enabled")
    for key in values:
        if key == "unprivileged":
            raise failed("unable to modify read-only option: 'unprivileged'")
        if settings.is_volume_key(key) and guest.config.get("protection"):
            raise failed(f"can't update CT {guest.vmid} drive '{key}' - protection mode enabled")


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
    if size == old:
        raise failed("disk is already at specified size")

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
