"""The options of `server create` and `server update` that are about the guest in which it runs (LXC mode)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from pvesmb.cli._parse import listed, size

_NETWORK, _GUEST = "The guest's network", "The guest"


def _of(panel: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(help=help, metavar=metavar, rich_help_panel=panel)


def _bytes(help: str) -> Any:
    return typer.Option(parser=size, metavar="SIZE", help=help, rich_help_panel=_GUEST)


@dataclass
class GuestFields:
    """Each option is the field of its name."""

    ipv4: Annotated[str | None, _of(_NETWORK, "10.0.0.5/24, dhcp (default) or none.", "ADDRESS")] = None
    ipv4_gateway: Annotated[str | None, _of(_NETWORK, "Of a fixed IPv4 address.", "ADDRESS")] = None
    ipv6: Annotated[str | None, _of(_NETWORK, "fd00::5/64, auto (default), dhcp or none.", "ADDRESS")] = None
    ipv6_gateway: Annotated[str | None, _of(_NETWORK, "Of a fixed IPv6 address.", "ADDRESS")] = None
    bridge: Annotated[str | None, _of(_NETWORK, "Such as vmbr0.", "NAME")] = None
    vlan: Annotated[int | None, typer.Option(min=0, max=4094, rich_help_panel=_NETWORK, help="0 is none.")] = None
    nameserver: Annotated[list[str], _of(_NETWORK, "DNS server; may be repeated.", "ADDRESS")] = field(default_factory=list)
    search_domain: Annotated[str | None, _of(_NETWORK, "DNS search domain.", "DOMAIN")] = None
    firewall: Annotated[bool | None, _of(_NETWORK, "Whether Proxmox's firewall filters it.")] = None
    node: Annotated[str | None, _of(_GUEST, "Proxmox VE node.", "NAME")] = None
    vmid: Annotated[int | None, typer.Option(min=100, rich_help_panel=_GUEST, help="Guest id; default: a free one.")] = None
    pool: Annotated[str | None, _of(_GUEST, "Resource pool.", "NAME")] = None
    disk_storage: Annotated[str | None, _of(_GUEST, "Proxmox storage of the system disk.", "NAME")] = None
    disk: Annotated[int | None, _bytes("System disk; it can grow.")] = None
    cores: Annotated[int | None, typer.Option(min=0, max=128, rich_help_panel=_GUEST)] = None
    memory: Annotated[int | None, _bytes("Memory, such as 512MiB.")] = None
    swap: Annotated[int | None, _bytes("Swap.")] = None
    template: Annotated[str | None, _of(_GUEST, "Template; default: the newest.", "NAME")] = None
    hostname: Annotated[str | None, _of(_GUEST, "Default: the file server's id.", "NAME")] = None
    start_on_boot: Annotated[bool | None, _of(_GUEST, "Whether it starts with its node.")] = None
    start_order: Annotated[int | None, typer.Option(min=0, rich_help_panel=_GUEST, help="0 is none.")] = None
    protection: Annotated[bool | None, _of(_GUEST, "Whether Proxmox refuses to remove it.")] = None

    def fill(self, server: Any) -> list[str]:
        """Sets the fields that were given, and names their paths."""
        network = {
            "ipv4_address": self.ipv4, "ipv4_gateway": self.ipv4_gateway, "ipv6_address": self.ipv6,
            "ipv6_gateway": self.ipv6_gateway, "bridge": self.bridge, "vlan": self.vlan,
            "search_domain": self.search_domain, "firewall": self.firewall,
        }  # fmt: skip
        placement = {
            "node": self.node, "vmid": self.vmid, "pool": self.pool, "storage": self.disk_storage,
            "system_disk_bytes": self.disk, "cores": self.cores, "memory_bytes": self.memory, "template": self.template,
            "hostname": self.hostname, "start_on_boot": self.start_on_boot, "start_order": self.start_order,
            "protection": self.protection,
        }  # fmt: skip
        paths = []
        for part, values in (("network", network), ("placement", placement)):
            for name, value in values.items():
                if value is not None:
                    setattr(getattr(server.lxc, part), name, value)
                    paths.append(f"lxc.{part}.{name}")
        if self.nameserver:
            server.lxc.network.nameservers[:] = listed(self.nameserver)
            paths.append("lxc.network.nameservers")
        if self.swap is not None:
            server.lxc.swap_bytes = self.swap
            paths.append("lxc.swap_bytes")
        return paths
