"""Snapshots of containers: of all their volumes and their configuration, where every storage can."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from services.localnode.api.refusal import failed
from services.localnode.api.routes import Call
from services.localnode.calls import settings
from services.localnode.calls.power import need_unlocked
from services.localnode.node import Node
from services.localnode.state import Guest
from services.localnode.tasks import Say, TaskError
from services.localnode.volumes import Volumes


def listed(node: Node, call: Call) -> Any:
    """The last entry is the present, `current`."""
    call.rights.need(f"/vms/{call.vmid}", "VM.Audit")
    guest = node.guest(call.vmid)
    found = [
        {"name": name, "snaptime": kept["snaptime"], "description": kept["description"]}
        for name, kept in guest.snapshots.items()
    ]
    running = int(node.containers.running(call.vmid))
    return [*found, {"name": "current", "description": "You are here!", "digest": guest.digest(), "running": running}]


def create(node: Node, call: Call) -> Any:
    vmid, name = call.vmid, call.text("snapname")
    call.rights.need(f"/vms/{vmid}", "VM.Snapshot")
    node.guest(vmid)

    def work(say: Say) -> None:
        with node.guest_lock(vmid):
            guest = node.guest(vmid)
            need_unlocked(guest)
            if any(not volumes.can_snapshot for volumes, _ in _volumes(node, guest)):
                raise TaskError("snapshot feature is not available")
            if name in guest.snapshots:
                raise TaskError(f"snapshot name '{name}' already used")
            for volumes, file in _volumes(node, guest):
                volumes.snapshot(file, name)
            kept = {"config": guest.config, "snaptime": int(time.time()), "description": call.text("description")}
            with node.state.change() as facts:
                facts.guests[vmid].snapshots[name] = kept

    return node.tasks.start(call.rights.caller, "vzsnapshot", str(vmid), work)


def rollback(node: Node, call: Call) -> Any:
    """A running container is stopped for it."""
    vmid, name = call.vmid, call.where["snapname"]
    call.rights.need_any(f"/vms/{vmid}", "VM.Snapshot", "VM.Snapshot.Rollback")
    node.guest(vmid)

    def work(say: Say) -> None:
        with node.guest_lock(vmid):
            guest = node.guest(vmid)
            need_unlocked(guest)
            config = _kept(guest, name)["config"]
            node.containers.stop(vmid)
            settings.release(node, guest)
            for volumes, file in _volumes(node, Guest(vmid, config)):
                volumes.rollback(file, name)
            with node.state.change() as facts:
                facts.guests[vmid].config, facts.guests[vmid].pending = dict(config), {}

    return node.tasks.start(call.rights.caller, "vzrollback", str(vmid), work)


def delete(node: Node, call: Call) -> Any:
    vmid, name = call.vmid, call.where["snapname"]
    call.rights.need(f"/vms/{vmid}", "VM.Snapshot")
    node.guest(vmid)

    def work(say: Say) -> None:
        with node.guest_lock(vmid):
            guest = node.guest(vmid)
            need_unlocked(guest)
            for volumes, file in _volumes(node, Guest(vmid, _kept(guest, name)["config"])):
                volumes.remove_snapshot(file, name)
            with node.state.change() as facts:
                del facts.guests[vmid].snapshots[name]

    return node.tasks.start(call.rights.caller, "vzdelsnapshot", str(vmid), work)


def _kept(guest: Guest, name: str) -> dict[str, Any]:
    if name not in guest.snapshots:
        raise failed(f"snapshot '{name}' does not exist")
    return guest.snapshots[name]


def _volumes(node: Node, guest: Guest) -> list[tuple[Volumes, Path]]:
    """The volumes in use; a bind mount is none, and what is detached has no part in a snapshot."""
    found = []
    for key, volid in settings.own_volumes(guest).items():
        if not key.startswith("unused"):
            storage = node.storage(volid.partition(":")[0])
            found.append((storage.volumes, storage.file(volid)))
    return found
