"""`/nodes/{node}/network`: the bridges that a caller may put guests on."""

from __future__ import annotations

from typing import Any

from services.localnode.api.routes import Call
from services.localnode.node import Node

_BRIDGES = frozenset({"", "bridge", "any_bridge", "any_local_bridge", "include_sdn"})


def interfaces(node: Node, call: Call) -> Any:
    """Nothing but bridges is told here; each to who may use it or look at it."""
    if call.text("type") not in _BRIDGES:
        return []
    return [
        {
            "iface": name, "type": "bridge", "active": 1, "autostart": 1, "exists": 1, "method": "manual",
            "method6": "manual", "families": ["inet"], "priority": number,
        }
        for number, name in enumerate(sorted(node.containers.bridges()), 3)
        if call.rights.has_any(f"/sdn/zones/localnetwork/{name}", "SDN.Use", "SDN.Audit")
    ]  # fmt: skip
