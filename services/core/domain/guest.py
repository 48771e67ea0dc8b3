"""What a container or virtual machine is given of its node. Field meanings, limits and defaults:
`protos/pvesmb/v1/file_server.proto`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from services.core.domain import checks
from services.core.errors import InvalidField

MIB, GIB = 1024**2, 1024**3
#: Highest guest id of Proxmox VE (its schema, 8.1 to 9.2).
MAX_VMID = 999_999_999
_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
_DOMAIN = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\Z")
_POOL = re.compile(r"[A-Za-z0-9._-]{1,40}(?:/[A-Za-z0-9._-]{1,40}){0,2}\Z|\Z")
_BRIDGE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{1,19}\Z|\Z")


def _multiple(field: str, value: int, unit: int, most: int) -> None:
    checks.within(field, value, 0, most)
    if value % unit:
        raise InvalidField.of(field, f"must be a multiple of {unit}")


def _address(family: str, version: int, value: str, gateway: str, words: tuple[str, ...]) -> None:
    field = f"{family}_address"
    if value in words:
        if gateway:
            raise InvalidField.of(f"{family}_gateway", f"needs a fixed {field}")
        return
    try:
        interface = ipaddress.ip_interface(value)
    except ValueError:
        interface = None
    if interface is None or interface.version != version or "/" not in value or "%" in value:
        raise InvalidField.of(field, f"must be an address with its prefix length, or {' or '.join(words)}")
    ip, network = interface.ip, interface.network
    if ip.is_multicast or ip.is_loopback or ip.is_unspecified or ip.is_link_local or getattr(ip, "ipv4_mapped", None):
        raise InvalidField.of(field, "must be an address that a host can have")
    if version == 4 and network.prefixlen < 31 and ip in (network.network_address, network[-1]):
        raise InvalidField.of(field, "must not be the network's own or its broadcast address")
    if gateway:
        checks.addresses(f"{family}_gateway", (gateway,))
        way = ipaddress.ip_address(gateway)
        if way.version != version or way == ip or (way not in network and not way.is_link_local):
            raise InvalidField.of(f"{family}_gateway", "must be another address of the same network")


@dataclass(frozen=True)
class GuestNetwork:
    """Its one network interface. Addresses are CIDR, or one of the words of the contract."""

    bridge: str = ""
    vlan: int = 0
    ipv4_address: str = "dhcp"
    ipv4_gateway: str = ""
    ipv6_address: str = "auto"
    ipv6_gateway: str = ""
    nameservers: tuple[str, ...] = ()
    search_domain: str = ""
    firewall: bool = False

    def __post_init__(self) -> None:
        if not _BRIDGE.match(self.bridge):
            raise InvalidField.of("bridge", "must be the name of a bridge, such as vmbr0")
        checks.within("vlan", self.vlan, 0, 4094)
        _address("ipv4", 4, self.ipv4_address, self.ipv4_gateway, ("dhcp", "none"))
        _address("ipv6", 6, self.ipv6_address, self.ipv6_gateway, ("dhcp", "auto", "none"))
        if self.ipv4_address == "none" and self.ipv6_address == "none":
            raise InvalidField.of("ipv4_address", "must not be none where ipv6_address is: nobody could reach the guest")
        checks.addresses("nameservers", self.nameservers)
        if len(self.nameservers) > 3:
            raise InvalidField.of("nameservers", "must be at most 3 (resolv.conf(5) reads no more)")
        if self.search_domain and not _DOMAIN.match(self.search_domain):
            raise InvalidField.of("search_domain", "must be a DNS domain")


@dataclass(frozen=True)
class GuestPlacement:
    """Where it runs and what it may use. Empty texts and zeros mean the backend's, or the mode's, own."""

    node: str = ""
    vmid: int = 0
    pool: str = ""
    storage: str = ""
    system_disk_bytes: int = 0
    cores: int = 0
    memory_bytes: int = 0
    start_on_boot: bool = True
    start_order: int = 0
    protection: bool = False
    template: str = ""
    hostname: str = ""

    def __post_init__(self) -> None:
        for name in ("node", "hostname"):
            if (text := getattr(self, name)) and not _HOSTNAME.match(text):
                raise InvalidField.of(name, "must be 1 to 63 letters, digits and hyphens")
        if not _POOL.match(self.pool):
            raise InvalidField.of("pool", "must be letters, digits and . _ -, with slashes before pools within pools")
        checks.storage_id("storage", self.storage)
        if self.vmid:
            checks.within("vmid", self.vmid, 100, MAX_VMID)
        _multiple("system_disk_bytes", self.system_disk_bytes, GIB, 1024 * GIB)
        _multiple("memory_bytes", self.memory_bytes, MIB, 4096 * GIB)
        if self.memory_bytes and self.memory_bytes < 64 * MIB:
            raise InvalidField.of("memory_bytes", "must be at least 64 MiB: Samba needs them")
        checks.within("cores", self.cores, 0, 128)
        checks.within("start_order", self.start_order, 0, 1_000_000)


@dataclass(frozen=True)
class LxcDeployment:
    """How a file server runs in a container."""

    placement: GuestPlacement = GuestPlacement()
    network: GuestNetwork = GuestNetwork()
    swap_bytes: int = 0

    def __post_init__(self) -> None:
        _multiple("swap_bytes", self.swap_bytes, MIB, 1024 * GIB)
