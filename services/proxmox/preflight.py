"""What lxc mode needs of its Proxmox VE node, looked at before work is taken.

All that is missing is told at once, each with what the administrator types. What cannot be looked at is a condition too:
a preflight never fails, so that `GetBackend` can show why a backend does not work.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.core.domain.resource import Condition, Severity
from services.core.errors import PvesmbError
from services.proxmox.session import Api
from services.proxmox.storage import list_storages

OLDEST, NEWEST = (8, 3), (9, 2)
GUEST_PRIVILEGES = (
    "VM.Allocate",
    "VM.Audit",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
)
_TIMEOUT = 15.0


@dataclass(frozen=True)
class Needs:
    """What the backend is configured to use."""

    node: str
    rootfs_storage: str
    volume_storages: Sequence[str]
    template_storage: str
    bridge: str
    pool: str = ""

    def privileges(self) -> dict[str, tuple[str, ...]]:
        """What the login needs, by path; without a pool the rights on guests must be on all of them."""
        wanted: dict[str, tuple[str, ...]] = {f"/pool/{self.pool}" if self.pool else "/vms": GUEST_PRIVILEGES}
        for storage in dict.fromkeys((self.rootfs_storage, *self.volume_storages)):
            wanted[f"/storage/{storage}"] = ("Datastore.AllocateSpace", "Datastore.Audit")
        templates = f"/storage/{self.template_storage}"
        wanted[templates] = (*wanted.get(templates, ("Datastore.Audit",)), "Datastore.AllocateTemplate")
        wanted[self.bridge_path] = ("SDN.Use",)
        return wanted

    @property
    def bridge_path(self) -> str:
        """Where the right to use the bridge is granted."""
        return f"/sdn/zones/localnetwork/{self.bridge}"


def preflight(api: Api, needs: Needs) -> list[Condition]:
    """What is missing, and no file server could be made without. If the node does not answer at all, that alone."""
    try:
        version = str(api.call("GET", ("version",), subject="Proxmox VE", timeout=_TIMEOUT)["version"])
    except PvesmbError as error:
        return [_failed(error)]
    found: list[Condition] = []
    looks: tuple[Callable[[], Iterator[Condition]], ...] = (
        lambda: _version(version),
        lambda: _node(api, needs),
        lambda: _privileges(api, needs),
        lambda: _storages(api, needs),
        lambda: _bridge(api, needs),
    )
    for look in looks:
        try:
            found += look()
        except PvesmbError as error:
            found.append(_failed(error))
    return list({(each.type, each.message): each for each in found}.values())


def _version(version: str) -> Iterator[Condition]:
    parts = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if parts < OLDEST:
        action = f"Upgrade the node to Proxmox VE {OLDEST[0]}.{OLDEST[1]} or later."
        yield _condition("VersionTooOld", "HOST_NOT_PREPARED", f"the node runs Proxmox VE {version}", action)
    elif parts > NEWEST:
        action = "Nothing has to be done; report what does not work."
        message = f"Proxmox VE {version} is newer than what was tried"
        yield _condition("VersionUntried", "HOST_NOT_PREPARED", message, action, Severity.INFO)


def _node(api: Api, needs: Needs) -> Iterator[Condition]:
    states = {str(each["node"]): str(each.get("status", "")) for each in api.call("GET", ("nodes",), timeout=_TIMEOUT)}
    if needs.node not in states:
        action = f"Configure one of these: {', '.join(sorted(states)) or 'none is seen'}."
        yield _condition("NodeMissing", "HOST_NOT_PREPARED", f"the cluster has no node {needs.node}", action)
    elif states[needs.node] != "online":
        message = f"node {needs.node} is {states[needs.node] or 'unknown'}"
        yield _condition("NodeOffline", "HOST_UNREACHABLE", message, "Bring the node back (pvecm status).")


def _privileges(api: Api, needs: Needs) -> Iterator[Condition]:
    for path, wanted in needs.privileges().items():
        for privilege in sorted(set(wanted) - held_privileges(api, path)):
            action = (
                f"Grant it to the token's user, and to the token too if it has privilege separation: "
                f"pveum acl modify {path} --users USER --roles ROLE (a role with {privilege})."
            )
            yield _condition("PrivilegeMissing", "PROXMOX_DENIED", f"privilege {privilege} on {path} is missing", action)


def held_privileges(api: Api, path: str) -> set[str]:
    """What the login may do there. A right that comes from a pool has the value 0 (it is not passed on), and holds all the
    same."""
    got: Mapping[str, Mapping[str, int]] = (
        api.call("GET", ("access", "permissions"), {"path": path}, subject="permissions", timeout=_TIMEOUT) or {}
    )
    return {privilege for rights in got.values() for privilege in rights}


def _storages(api: Api, needs: Needs) -> Iterator[Condition]:
    wanted = {name: {"rootdir"} for name in (needs.rootfs_storage, *needs.volume_storages)}
    wanted[needs.template_storage] = wanted.get(needs.template_storage, set()) | {"vztmpl"}
    there = {each.name: each for each in list_storages(api, needs.node)}
    for name, content in wanted.items():
        if name not in there:
            message = f"storage {name} is not on node {needs.node}, or the login may not see it"
            action = "Choose one that `pvesm status` shows, and grant Datastore.Audit on it."
            yield _condition("StorageMissing", "HOST_NOT_PREPARED", message, action)
            continue
        if not there[name].active:
            message = f"storage {name} is not active on node {needs.node}"
            yield _condition(
                "StorageInactive", "HOST_NOT_PREPARED", message, "See `pvesm status` and mount what it lies on."
            )
        for kind in sorted(content - there[name].content):
            have = ",".join(sorted({*there[name].content, kind}))
            message = f"storage {name} does not take content {kind}"
            yield _condition("StorageContent", "HOST_NOT_PREPARED", message, f"pvesm set {name} --content {have}")


def _bridge(api: Api, needs: Needs) -> Iterator[Condition]:
    """Vnets of SDN are listed with the bridges by `any_bridge`."""
    path = ("nodes", needs.node, "network")
    got = api.call("GET", path, {"type": "any_bridge"}, subject="bridges", timeout=_TIMEOUT)
    if needs.bridge not in {each.get("iface") for each in got}:
        message = f"bridge {needs.bridge} is not on node {needs.node}, or the login may not use it"
        action = f"Make the bridge, choose another, or grant SDN.Use on {needs.bridge_path}."
        yield _condition("BridgeMissing", "HOST_NOT_PREPARED", message, action)


def _failed(error: PvesmbError) -> Condition:
    return _condition("ProxmoxUnavailable", error.reason, error.message, error.help)


def _condition(type: str, reason: str, message: str, action: str, severity: Severity = Severity.ERROR) -> Condition:
    return Condition(type, severity, reason, message, action, time.time())
