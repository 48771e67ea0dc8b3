"""Where a container is by now: an administrator, or HA, may have migrated it to another node of the cluster."""

from __future__ import annotations

from services.core.steps import Claims
from services.lxc.known import Known, guest_of, note_node
from services.proxmox import nodes
from services.proxmox.containers import Config, Guest, find
from services.proxmox.ids import is_free
from services.proxmox.session import Api


def guest_now(api: Api, claims: Claims, uid: str) -> tuple[Guest, Config | None]:
    """The container of a file server that has one, where it is by now."""
    guest = guest_of(claims, uid)
    return locate(api, claims, uid, Known(guest, made=True))


def locate(api: Api, claims: Claims, uid: str, found: Known) -> tuple[Guest, Config | None]:
    """The container with its configuration, on the node where we knew it or on another one, which is remembered then. None
    if it is on none, and only ours is followed."""
    config = find(api, found.guest)
    if config is not None or not found.made or is_free(api, found.guest.vmid):
        return found.guest, config
    node = nodes.of_container(api, found.guest.vmid)
    if node in ("", found.guest.node):
        return found.guest, None
    moved = Guest(node, found.guest.vmid)
    config = find(api, moved)
    if config is not None and config.owner == uid:
        note_node(claims, uid, node)
    return moved, config
