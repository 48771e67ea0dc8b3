"""What a container is told about its network, and what is changed about it while it runs."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from services.localnode.guests.ports import GuestError, Network


def hosts(hostname: str, networks: Sequence[Network]) -> str:
    static = next((net.ip.partition("/")[0] for net in networks if "/" in net.ip), "127.0.1.1")
    return f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{static} {hostname}"


def interfaces_file(networks: Sequence[Network]) -> str:
    """interfaces(5), as a node writes it for Debian."""
    lines = ["auto lo", "iface lo inet loopback"]
    for net in networks:
        lines += ["", f"auto {net.name}"]
        for family, ip, gateway in (("inet", net.ip, net.gateway), ("inet6", net.ip6, net.gateway6)):
            if ip in {"dhcp", "auto"}:
                lines.append(f"iface {net.name} {family} {ip}")
            elif ip in {"", "manual"}:
                lines += [f"iface {net.name} {family} manual"] if family == "inet" else []
            else:
                lines += [f"iface {net.name} {family} static", f"    address {ipaddress.ip_interface(ip)}"]
                lines += [f"    gateway {ipaddress.ip_address(gateway)}"] if gateway else []
    return "\n".join(lines)


def bridge_of(net: Network) -> str:
    """A tagged interface is on a bridge of its own, as on a node whose bridge knows no VLANs (PVE::Network): `vmbr0v5`."""
    return f"{net.bridge}v{net.vlan}" if net.bridge and net.vlan else net.bridge


def can_readdress(old: Network, new: Network) -> bool:
    """Whether only addresses differ, which a running container takes on."""
    return (old.name, old.bridge, old.hwaddr, old.vlan) == (new.name, new.bridge, new.hwaddr, new.vlan)


def readdress(old: Network, new: Network) -> Iterator[list[str]]:
    """What ip(8) is told inside. An address by DHCP comes at the next start, as on a node."""
    for family, before, after, gateway in (("-4", old.ip, new.ip, new.gateway), ("-6", old.ip6, new.ip6, new.gateway6)):
        if before != after:
            yield [family, "address", "flush", "dev", new.name, "scope", "global"]
            if "/" in after:
                yield [family, "address", "add", str(ipaddress.ip_interface(after)), "dev", new.name]
        if gateway and "/" in after:
            yield [family, "route", "replace", "default", "via", str(ipaddress.ip_address(gateway)), "dev", new.name]


def check(networks: Sequence[Network]) -> None:
    """Refuses what is no address before it becomes part of a file."""
    try:
        interfaces_file(networks)
    except ValueError as error:
        raise GuestError(f"network: {error}") from error
