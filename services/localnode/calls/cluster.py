"""`/version`, `/cluster` and `/nodes`: what there is, and how it is."""

from __future__ import annotations

import os
import platform
import shutil
import time
from typing import Any

from services.localnode.api.formats import VMID_MAX, VMID_MIN
from services.localnode.api.refusal import bad_parameters, failed
from services.localnode.api.routes import Call
from services.localnode.calls.status import guest_status
from services.localnode.calls.storage import storage_figures
from services.localnode.node import Node

#: The version whose answers these are (the recorded node's).
RELEASE, VERSION, REPOID = "9.2", "9.2.11", "localnode"


def version(node: Node, call: Call) -> Any:
    return {"release": RELEASE, "version": VERSION, "repoid": REPOID}


def nextid(node: Node, call: Call) -> Any:
    """The smallest free id, or the one asked for if it is free. It reserves nothing."""
    with node.state.read() as facts:
        taken = set(facts.guests)
    if "vmid" in call.values:
        if call.number("vmid") in taken:
            raise bad_parameters({"vmid": f"VM {call.number('vmid')} already exists"})
        return call.text("vmid")
    free = next((vmid for vmid in range(VMID_MIN, VMID_MAX + 1) if vmid not in taken), None)
    if free is None:
        raise failed("unable to get any free VMID")
    return str(free)


def resources(node: Node, call: Call) -> Any:
    """Guests and storages that the caller may see, and the node."""
    kind = call.text("type")
    found: list[dict[str, Any]] = []
    if kind in {"", "node"}:
        shown = {
            "id": f"node/{node.name}", "type": "node", "node": node.name, "status": "online", "level": "",
            "cgroup-mode": 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1,
        }  # fmt: skip
        found.append({**shown, **_figures(node, call)})
    if kind in {"", "vm"}:
        found += _guests(node, call)
    if kind in {"", "storage"}:
        for name in node.storage_names():
            if call.rights.has_any(f"/storage/{name}", "Datastore.Audit", "Datastore.AllocateSpace"):
                figures = storage_figures(node.storage(name))
                found.append({
                    "id": f"storage/{node.name}/{name}", "type": "storage", "node": node.name, "storage": name,
                    "status": "available", "plugintype": figures["type"], "content": figures["content"],
                    "shared": 0, "disk": figures["used"], "maxdisk": figures["total"],
                })  # fmt: skip
    return found


def nodes(node: Node, call: Call) -> Any:
    shown = {
        "id": f"node/{node.name}", "type": "node", "node": node.name, "status": "online", "level": "",
        "ssl_fingerprint": "",
    }  # fmt: skip
    return [{**shown, **_figures(node, call)}]


def node_status(node: Node, call: Call) -> Any:
    """Capacity: what a caller compares a guest's wishes with."""
    call.rights.need(f"/nodes/{node.name}", "Sys.Audit")
    memory = _meminfo()
    system = platform.uname()
    disk = shutil.disk_usage("/")
    swap_total, swap_free = memory.get("SwapTotal", 0), memory.get("SwapFree", 0)
    return {
        "boot-info": {"mode": "legacy-bios"},
        "cpu": _load()[0] / _cpus(),
        "cpuinfo": {"cpus": _cpus(), "cores": _cpus(), "sockets": 1, "model": platform.processor() or system.machine},
        "current-kernel": {
            "machine": system.machine, "release": system.release, "sysname": system.system, "version": system.version,
        },
        "idle": 0,
        "ksm": {"shared": 0},
        "kversion": f"{system.system} {system.release} {system.version}",
        "loadavg": [f"{value:.2f}" for value in _load()],
        "memory": _memory(memory),
        "pveversion": f"pve-manager/{VERSION}/{REPOID}",
        "rootfs": {"total": disk.total, "used": disk.used, "free": disk.free, "avail": disk.free},
        "swap": {"total": swap_total, "free": swap_free, "used": swap_total - swap_free},
        "uptime": int(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "wait": 0,
    }  # fmt: skip


def _figures(node: Node, call: Call) -> dict[str, Any]:
    """Load and sizes, for those who may see them."""
    if not call.rights.has(f"/nodes/{node.name}", "Sys.Audit"):
        return {}
    memory, disk = _memory(_meminfo()), shutil.disk_usage("/")
    return {
        "cpu": _load()[0] / _cpus(), "maxcpu": _cpus(), "mem": memory["used"], "maxmem": memory["total"],
        "disk": disk.used, "maxdisk": disk.total, "uptime": int(time.clock_gettime(time.CLOCK_BOOTTIME)),
    }  # fmt: skip


def _guests(node: Node, call: Call) -> list[dict[str, Any]]:
    with node.state.read() as facts:
        seen = [vmid for vmid in sorted(facts.guests) if call.rights.has(f"/vms/{vmid}", "VM.Audit")]
        pools = dict(facts.pool_of)
    found = []
    for vmid in seen:
        shown = guest_status(node, vmid)
        entry = {
            "id": f"lxc/{vmid}", "type": "lxc", "node": node.name, "template": 0, "maxcpu": shown.pop("cpus"),
            **{name: value for name, value in shown.items() if name not in {"pid", "ha", "swap", "maxswap"}},
        }  # fmt: skip
        found.append({**entry, "pool": pools[vmid]} if vmid in pools else entry)
    return found


def _meminfo() -> dict[str, int]:
    """Bytes by name, from proc(5)."""
    with open("/proc/meminfo") as f:
        rows = (line.split() for line in f)
        return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3}


def _memory(info: dict[str, int]) -> dict[str, int]:
    total, available = info["MemTotal"], info["MemAvailable"]
    return {"total": total, "used": total - available, "free": info["MemFree"], "available": available}


def _load() -> tuple[float, float, float]:
    return os.getloadavg()


def _cpus() -> int:
    return os.cpu_count() or 1


def bridges(node: Node, call: Call) -> Any:
    """`GET N/network`: bridges that the caller may put guests on, or see."""
    found = []
    for name in node.containers.bridges():
        if call.rights.has_any(f"/sdn/zones/localnetwork/{name}", "SDN.Use", "SDN.Audit"):
            found.append({"iface": name, "type": "bridge", "active": 1, "autostart": 1, "method": "manual"})
    return found
