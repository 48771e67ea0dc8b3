"""Start, shutdown, stop and delete. What a call refuses at once and what only its task says is as on a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.localnode.api.refusal import failed
from services.localnode.api.routes import Call
from services.localnode.calls import pending, settings
from services.localnode.node import Node
from services.localnode.state import Guest
from services.localnode.tasks import Say

#: How long a shutdown waits if the call does not say.
SHUTDOWN_SECONDS = 60


def need_unlocked(guest: Guest) -> None:
    if guest.config.get("lock"):
        raise failed(f"CT is locked ({guest.config['lock']})")


def start(node: Node, call: Call) -> Any:
    call.rights.need(f"/vms/{call.vmid}", "VM.PowerMgmt")
    if node.containers.running(call.vmid):
        raise failed(f"CT {call.vmid} already running")
    return node.tasks.start(call.rights.caller, "vzstart", str(call.vmid), start_work(node, call.vmid))


def start_work(node: Node, vmid: int) -> Callable[[Say], None]:
    """The task of a start; changes that waited for it are taken on first."""

    def work(say: Say) -> None:
        with node.guest_lock(vmid):
            need_unlocked(node.guest(vmid))
            if node.containers.running(vmid):
                raise failed(f"CT {vmid} already running")
            pending.take(node, vmid)
            guest = node.guest(vmid)
            try:
                node.containers.start(settings.plan(node, guest))
            except BaseException:
                settings.release(node, guest)
                raise

    return work


def release_stopped(node: Node) -> None:
    """At the start of the process: lets go of the volumes of guests that ended while it did not look."""
    with node.state.read() as facts:
        vmids = sorted(facts.guests)
    for vmid in vmids:
        if not node.containers.running(vmid):
            settings.release(node, node.guest(vmid))


def stop(node: Node, call: Call) -> Any:
    return _ending(node, call, "vzstop", lambda: node.containers.stop(call.vmid))


def shutdown(node: Node, call: Call) -> Any:
    seconds, force = call.number("timeout", SHUTDOWN_SECONDS), call.flag("forceStop")

    def end() -> None:
        if not node.containers.shutdown(call.vmid, seconds):
            if not force:
                raise failed("container did not stop")
            node.containers.stop(call.vmid)

    return _ending(node, call, "vzshutdown", end)


def delete(node: Node, call: Call) -> Any:
    """Only with `force` while it runs, never under a lock or protection; its volumes go with it."""
    vmid, force = call.vmid, call.flag("force")
    call.rights.need(f"/vms/{vmid}", "VM.Allocate")
    guest = node.guest(vmid)
    if guest.config.get("protection"):
        raise failed(f"can't remove CT {vmid} - protection mode enabled")
    need_unlocked(guest)
    if not force and node.containers.running(vmid):
        raise failed(f"unable to destroy CT {vmid} - container is running")

    def work(say: Say) -> None:
        with node.guest_lock(vmid):
            guest = node.guest(vmid)
            need_unlocked(guest)
            if node.containers.running(vmid):
                if not force:
                    raise failed(f"unable to destroy CT {vmid} - container is running")
                say(f"forced to stop CT {vmid} before destroying!")
                node.containers.stop(vmid)
            settings.release(node, guest)
            settings.remove_volumes(node, vmid)
            node.containers.forget(vmid)
            if call.flag("purge"):
                say(f"purging CT {vmid} from related configurations..")
            with node.state.change() as facts:
                del facts.guests[vmid]
                facts.pool_of.pop(vmid, None)
                facts.acl = [entry for entry in facts.acl if entry.path != f"/vms/{vmid}"]

    return node.tasks.start(call.rights.caller, "vzdestroy", str(vmid), work)


def _ending(node: Node, call: Call, kind: str, end: Callable[[], None]) -> Any:
    call.rights.need(f"/vms/{call.vmid}", "VM.PowerMgmt")
    if not node.containers.running(call.vmid):
        raise failed(f"CT {call.vmid} not running")

    def work(say: Say) -> None:
        with node.guest_lock(call.vmid):
            need_unlocked(node.guest(call.vmid))
            end()
            settings.release(node, node.guest(call.vmid))

    return node.tasks.start(call.rights.caller, kind, str(call.vmid), work)
