"""`POST N/lxc`: a container from a template. The id is taken before the call answers; the rest is a task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.localnode.api.refusal import Refusal, denied, failed
from services.localnode.api.routes import Call
from services.localnode.api.schema import Value
from services.localnode.calls import settings
from services.localnode.calls.disks import Root, add_volume
from services.localnode.calls.power import start_work
from services.localnode.guests.ports import GuestError
from services.localnode.node import Node
from services.localnode.state import Guest
from services.localnode.storages import Storage
from services.localnode.tasks import Say, TaskError

#: Parameters of the create that are no keys of the configuration.
_NOT_KEPT = frozenset(
    [
        "vmid",
        "ostemplate",
        "bwlimit",
        "force",
        "ha-managed",
        "ignore-unpack-errors",
        "password",
        "pool",
        "ssh-public-keys",
        "start",
        "storage",
        "unique",
    ]
)


def create(node: Node, call: Call) -> Any:
    vmid, pool, rights = call.number("vmid"), call.text("pool"), call.rights
    unprivileged = call.flag("unprivileged", True)
    kept = {key: value for key, value in call.values.items() if key not in _NOT_KEPT}
    kept.setdefault("rootfs", f"{call.text('storage', 'local')}:4")
    with node.state.read() as facts:
        if pool and pool not in facts.pools:
            raise denied(f"pool '{pool}' does not exist")
    if not rights.has(f"/vms/{vmid}", "VM.Allocate") and not (pool and rights.has(f"/pool/{pool}", "VM.Allocate")):
        raise denied()
    if not unprivileged:
        rights.need("/", "Sys.Modify")
    settings.check_rights(rights, vmid, pool, _changing(kept), (), unprivileged)
    if call.flag("start"):
        rights.need_vm(vmid, pool, "VM.PowerMgmt")
    _need_free(node, vmid, "")
    settings.check_storages(node, rights, kept)
    settings.check_bridges(rights, kept)
    template = call.text("ostemplate")
    storage = node.storage(template.partition(":")[0])
    rights.need_any(f"/storage/{storage.name}", "Datastore.AllocateSpace", "Datastore.Audit")
    _reserve(node, vmid, pool, kept, unprivileged)

    def work(say: Say) -> None:
        try:
            _make(node, vmid, kept, storage, template, call.text("ssh-public-keys"), call.text("password"), say)
        except (GuestError, Refusal, OSError) as error:
            _unmake(node, vmid)
            raise TaskError(f"unable to create CT {vmid} - {error}") from error
        except BaseException:
            _unmake(node, vmid)
            raise
        if call.flag("start"):
            node.tasks.start(rights.caller, "vzstart", str(vmid), start_work(node, vmid))

    return node.tasks.start(rights.caller, "vzcreate", str(vmid), work)


def undo_interrupted(node: Node) -> None:
    """Removes what creates left that ended with the process. (A real node's workers outlive its API's restart.)"""
    with node.state.read() as facts:
        unfinished = [vmid for vmid, guest in facts.guests.items() if guest.config.get("lock") == "create"]
    for vmid in unfinished:
        _unmake(node, vmid)


def _changing(kept: Mapping[str, Value]) -> dict[str, Value]:
    """The keys that a right of their own stands behind; `unprivileged` and `arch` come with the create."""
    return {key: value for key, value in kept.items() if key not in {"unprivileged", "arch"}}


def _need_free(node: Node, vmid: int, prefix: str) -> None:
    with node.state.read() as facts:
        if vmid in facts.guests:
            raise failed(f"{prefix}CT {vmid} already exists on node '{node.name}'")


def _reserve(node: Node, vmid: int, pool: str, kept: Mapping[str, Value], unprivileged: bool) -> None:
    """Takes the id, under the lock of a create. Of several at once, one wins."""
    plain = {key: value for key, value in kept.items() if not settings.is_volume_key(key)}
    config = {"hostname": f"CT{vmid}", **settings.DEFAULTS}
    config |= {key: settings.written(key, value) for key, value in plain.items()}
    with node.state.change() as facts:
        _need_free(node, vmid, f"unable to create CT {vmid} - ")
        facts.guests[vmid] = Guest(vmid, {**config, "unprivileged": int(unprivileged), "lock": "create"})
        if pool:
            facts.pool_of[vmid] = pool


def _make(
    node: Node, vmid: int, kept: Mapping[str, Value], storage: Storage, template: str, keys: str, password: str, say: Say
) -> None:
    archive = storage.file(template)
    if not archive.is_file():
        raise failed(f"volume '{template}' does not exist")
    if not node.guest(vmid).config["unprivileged"]:
        raise GuestError("this node runs unprivileged containers only")
    volumes = settings.new_volumes(kept)
    if not volumes or volumes[0].key != "rootfs":
        raise GuestError("this node makes root disks anew only")

    def unpack(directory: Path) -> None:
        say(f"extracting archive '{archive}'")
        node.containers.unpack(archive, directory)

    add_volume(node, vmid, volumes[0], say, Root(archive, unpack))
    for volume in volumes[1:]:
        add_volume(node, vmid, volume, say)
    bound = {key: value for key, value in kept.items() if settings.volume_of(value).startswith("/")}
    with node.state.change() as facts:
        facts.guests[vmid].config |= {key: value for key, value in bound.items() if settings.is_volume_key(key)}
    guest = node.guest(vmid)
    try:
        plan = settings.plan(node, guest)
        node.containers.set_up(plan, ssh_keys=keys, password=password)
    finally:
        settings.release(node, guest)
    with node.state.change() as facts:
        del facts.guests[vmid].config["lock"]


def _unmake(node: Node, vmid: int) -> None:
    guest = node.guest(vmid)
    settings.release(node, guest)
    settings.remove_volumes(node, vmid)
    node.containers.forget(vmid)
    with node.state.change() as facts:
        facts.guests.pop(vmid, None)
        facts.pool_of.pop(vmid, None)
