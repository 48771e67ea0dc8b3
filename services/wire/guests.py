"""Deployments in guests, as messages and as specs."""

from __future__ import annotations

from pvesmb.v1 import file_server_pb2

from services.core.domain.guest import GuestNetwork, GuestPlacement, LxcDeployment
from services.wire.paths import at

_TEXTS = ("node", "pool", "storage", "template", "hostname")
_NUMBERS = ("vmid", "system_disk_bytes", "cores", "memory_bytes", "start_order")


def lxc_deployment(message: file_server_pb2.LxcDeployment, prefix: str) -> LxcDeployment:
    placement = at(f"{prefix}.placement", lambda: _placement(message.placement))
    network = at(f"{prefix}.network", lambda: _network(message.network))
    return at(prefix, lambda: LxcDeployment(placement, network, message.swap_bytes))


def lxc_message(spec: LxcDeployment) -> file_server_pb2.LxcDeployment:
    placement = spec.placement
    return file_server_pb2.LxcDeployment(
        placement=file_server_pb2.GuestPlacement(
            **{name: getattr(placement, name) for name in (*_TEXTS, *_NUMBERS)},
            start_on_boot=placement.start_on_boot,
            protection=placement.protection,
        ),
        network=_network_message(spec.network),
        swap_bytes=spec.swap_bytes,
    )


def _placement(message: file_server_pb2.GuestPlacement) -> GuestPlacement:
    return GuestPlacement(
        **{name: getattr(message, name) for name in (*_TEXTS, *_NUMBERS)},
        start_on_boot=message.start_on_boot if message.HasField("start_on_boot") else True,
        protection=message.protection,
    )


def _network(message: file_server_pb2.GuestNetwork) -> GuestNetwork:
    return GuestNetwork(
        bridge=message.bridge,
        vlan=message.vlan,
        ipv4_address=message.ipv4_address or "dhcp",
        ipv4_gateway=message.ipv4_gateway,
        ipv6_address=message.ipv6_address or "auto",
        ipv6_gateway=message.ipv6_gateway,
        nameservers=tuple(message.nameservers),
        search_domain=message.search_domain,
        firewall=message.firewall,
    )


def _network_message(network: GuestNetwork) -> file_server_pb2.GuestNetwork:
    return file_server_pb2.GuestNetwork(
        bridge=network.bridge,
        vlan=network.vlan,
        ipv4_address=network.ipv4_address,
        ipv4_gateway=network.ipv4_gateway,
        ipv6_address=network.ipv6_address,
        ipv6_gateway=network.ipv6_gateway,
        nameservers=network.nameservers,
        search_domain=network.search_domain,
        firewall=network.firewall,
    )
