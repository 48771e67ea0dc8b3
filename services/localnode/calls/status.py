"""What a container is doing: its status, its interfaces, and where it stands in lists."""

from __future__ import annotations

from typing import Any

from services.localnode.api.formats import parse_properties, parse_size
from services.localnode.api.routes import Call
from services.localnode.node import Node

_MIB = 1 << 20
_PRESSURES = [f"pressure{what}{how}" for what in ("cpu", "io", "memory") for how in ("some", "full")]


def guest_status(node: Node, vmid: int) -> dict[str, Any]:
    """As `status/current` shows it; the pressures and the pid only of a running one."""
    guest = node.guest(vmid)
    usage = node.containers.usage(vmid)
    config = guest.config
    size = parse_properties(str(config.get("rootfs", "")), "volume").get("size", "0")
    shown: dict[str, Any] = {
        "vmid": vmid, "type": "lxc", "name": config.get("hostname", f"CT{vmid}"),
        "status": "running" if usage else "stopped",
        "cpus": int(config.get("cores", 0)) or 1, "cpu": usage.cpu_share if usage else 0,
        "mem": usage.memory_bytes if usage else 0, "maxmem": int(config.get("memory", 512)) * _MIB,
        "swap": 0, "maxswap": int(config.get("swap", 512)) * _MIB,
        "disk": 0, "maxdisk": parse_size(size), "diskread": 0, "diskwrite": 0, "netin": 0, "netout": 0,
        "uptime": usage.uptime_seconds if usage else 0, "ha": {"managed": 0},
    }  # fmt: skip
    if config.get("tags"):
        shown["tags"] = config["tags"]
    if config.get("lock"):
        shown["lock"] = config["lock"]
    if usage:
        shown |= {"pid": usage.pid, **dict.fromkeys(_PRESSURES)}
    return shown


def current(node: Node, call: Call) -> Any:
    call.rights.need(f"/vms/{call.vmid}", "VM.Audit")
    return guest_status(node, call.vmid)


def interfaces(node: Node, call: Call) -> Any:
    """Null of a stopped container; an interface without address has an empty list, and neither `inet` nor `inet6`."""
    call.rights.need(f"/vms/{call.vmid}", "VM.Audit")
    node.guest(call.vmid)
    found = node.containers.interfaces(call.vmid)
    if found is None:
        return None
    answer: list[dict[str, Any]] = []
    for interface in found:
        entry: dict[str, Any] = {
            "name": interface.name, "hwaddr": interface.hwaddr, "hardware-address": interface.hwaddr,
            "ip-addresses": [
                {"ip-address": a.address, "ip-address-type": a.family, "prefix": str(a.prefix)}
                for a in interface.addresses
            ],
        }  # fmt: skip
        for address in interface.addresses:
            entry.setdefault(address.family, f"{address.address}/{address.prefix}")
        answer.append(entry)
    return answer


def containers(node: Node, call: Call) -> Any:
    """`GET N/lxc`: those that the caller may see."""
    with node.state.read() as facts:
        vmids = sorted(facts.guests)
    return [guest_status(node, vmid) for vmid in vmids if call.rights.has(f"/vms/{vmid}", "VM.Audit")]
