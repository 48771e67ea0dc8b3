"""How large a node is, and which one holds a container."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.errors import PvesmbError
from services.proxmox.failures import Kind, kind_of
from services.proxmox.session import Api

_TIMEOUT = 15.0


@dataclass(frozen=True)
class NodeSize:
    cores: int
    memory_mib: int


def of_container(api: Api, vmid: int) -> str:
    """The node of the cluster that holds it; empty if there is none that the login may see. The cluster's list lags some
    seconds behind."""
    got = api.call("GET", ("cluster", "resources"), {"type": "vm"}, subject="guests of the cluster", timeout=_TIMEOUT)
    return next((str(each["node"]) for each in got if each.get("type") == "lxc" and int(each["vmid"]) == vmid), "")


def size(api: Api, node: str) -> NodeSize | None:
    """None where the login may not know (it takes Sys.Audit on the node)."""
    try:
        got = api.call("GET", ("nodes", node, "status"), subject=f"node {node}", timeout=_TIMEOUT)
    except PvesmbError as error:
        if kind_of(error) is not Kind.PRIVILEGE:
            raise
        return None
    return NodeSize(int(got["cpuinfo"]["cpus"]), int(got["memory"]["total"]) // 2**20)
