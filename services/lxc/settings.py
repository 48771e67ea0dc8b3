"""Settings of an LXC backend, and what follows from them alone: what is asked of Proxmox VE for a file server."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.domain.file_server import FileServerSpec
from services.core.domain.guest import GIB, MIB, GuestNetwork, LxcDeployment
from services.proxmox.containers import NewContainer, Nic
from services.proxmox.mounts import NewVolume
from services.proxmox.preflight import Needs
from services.samba.instance import Server
from services.samba.layout import Layout

#: Shares' volumes are mounted below it, each under a name that is used once.
SHARES_ROOT = "/srv/pvesmb"
_CORES, _MEMORY_MIB, _DISK_BYTES = 1, 256, 4 * GIB

#: The distribution's places (Debian 12, `smbd -b`); users come from libnss-extrausers, the system's own stay as they are.
LAYOUT = Layout(
    conf="/etc/samba/smb.conf",
    private_dir="/var/lib/samba/private",
    state_dir="/var/lib/samba",
    lock_dir="/run/samba",
    cache_dir="/var/cache/samba",
    pid_dir="/run/samba",
    ncalrpc_dir="/run/samba/ncalrpc",
    log_dir="/var/log/samba",
    passwd="/var/lib/extrausers/passwd",
    group="/var/lib/extrausers/group",
    probe_dir="/var/lib/samba/pvesmb-probe",
    every_address=True,
    nt_acl_attribute="user.NTACL",
)


@dataclass(frozen=True)
class LxcSettings:
    """What an administrator may choose; `services/lxc/config.py` says what each means."""

    node: str
    pool: str = ""
    storage: str = "local"
    volume_storage: str = "local"
    volume_size_bytes: int = 10 * GIB
    template_storage: str = "local"
    bridge: str = "vmbr0"
    nameservers: tuple[str, ...] = ()
    host_path_roots: tuple[str, ...] = ()
    overcommit: bool = False
    nesting: bool = False
    id_first: int = 10_000
    id_count: int = 50_000
    site_share_options: Mapping[str, str] = field(default_factory=dict)

    def needs(self) -> Needs:
        """What the node must have and the token may do."""
        return Needs(
            node=self.node,
            rootfs_storage=self.storage,
            volume_storages=(self.volume_storage,),
            template_storage=self.template_storage,
            bridge=self.bridge,
            pool=self.pool,
        )

    def node_of(self, spec: FileServerSpec) -> str:
        return deployment(spec).placement.node or self.node

    def nic(self, network: GuestNetwork) -> Nic:
        return Nic(
            bridge=network.bridge or self.bridge,
            address="" if network.ipv4_address == "none" else network.ipv4_address,
            gateway=network.ipv4_gateway,
            address6="" if network.ipv6_address == "none" else network.ipv6_address,
            gateway6=network.ipv6_gateway,
            vlan=network.vlan,
            firewall=network.firewall,
        )

    def container(self, server: Server, template: str, key: str) -> NewContainer:
        """What is made for this file server. `key` is the line of the SSH key that may log in."""
        lxc = deployment(server.spec)
        placement, network = lxc.placement, lxc.network
        return NewContainer(
            uid=server.uid,
            hostname=placement.hostname or server.name.file_server,
            template=template,
            rootfs=NewVolume(placement.storage or self.storage, placement.system_disk_bytes or _DISK_BYTES),
            nic=self.nic(network),
            ssh_public_keys=(key,),
            pool=placement.pool or self.pool,
            nameserver=" ".join(network.nameservers or self.nameservers),
            search_domain=network.search_domain,
            cores=placement.cores or _CORES,
            memory_mib=(placement.memory_bytes // MIB) or _MEMORY_MIB,
            swap_mib=lxc.swap_bytes // MIB,
            onboot=placement.start_on_boot,
            startup=f"order={placement.start_order}" if placement.start_order else "",
            protection=placement.protection,
            nesting=self.nesting,
            note=f"File server {server.name}, made by PVE SMB Gateway. Do not change the line below.",
        )


def deployment(spec: FileServerSpec) -> LxcDeployment:
    return spec.lxc or LxcDeployment()


def new_share_path() -> str:
    """A place that no share had before: a volume that was deleted stays mounted until its container stops."""
    return f"{SHARES_ROOT}/{uuid.uuid4().hex[:12]}"
