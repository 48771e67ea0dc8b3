"""Settings of a native backend, and what follows from them alone: where each thing of a file server has its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.core.domain.file_server import FileServerSpec, NativeDeployment
from services.core.domain.names import Name
from services.samba.layout import Layout

#: Accounts that every instance sees beside its own: smbd needs root, and `nobody` as the owner of what nobody owns. The
#: ids are Debian's (base-passwd).
SYSTEM_PASSWD = "root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
SYSTEM_GROUP = "root:x:0:\nnogroup:x:65534:\n"
NSS_WRAPPER = "libnss_wrapper.so"


@dataclass(frozen=True)
class NativeSettings:
    """What an administrator may choose. Below `state_dir` lie our own things, below `data_root` the files of shares;
    `extra_roots` are further directories below which shares may be laid. Below `run_dir`, if it is set, lie the locks of
    running instances: smbd lets nobody in while the disk with them is full. `id_first` and `id_count` are the range of
    numeric user and group ids that users of file servers get."""

    backend_id: str
    state_dir: str
    data_root: str
    extra_roots: tuple[str, ...] = ()
    default_address: str = "0.0.0.0"
    default_port: int = 445
    id_first: int = 500_000
    id_count: int = 100_000
    site_share_options: Mapping[str, str] = field(default_factory=dict)
    stop_servers_on_exit: bool = False
    run_dir: str = ""

    @property
    def servers_dir(self) -> str:
        """One directory below it for each instance, named by uid."""
        return f"{self.state_dir}/servers"

    @property
    def image_dir(self) -> str:
        """The image files of volumes, named by the share's uid."""
        return f"{self.state_dir}/volumes"

    @property
    def roots(self) -> tuple[str, ...]:
        return (self.data_root, *self.extra_roots)

    def instance_dir(self, uid: str) -> str:
        return f"{self.servers_dir}/{uid}"

    def runtime_dir(self, uid: str) -> str:
        """What an instance needs only while it runs: may be gone after a reboot."""
        return f"{self.run_dir}/{uid}" if self.run_dir else self.instance_dir(uid)

    def server_root(self, name: Name) -> str:
        """Above the shares that have no path of their own choosing."""
        return f"{self.data_root}/{name.file_server}"

    def endpoints(self, spec: FileServerSpec) -> Sequence[tuple[str, int]]:
        """Addresses and ports where a file server of this spec listens."""
        native = spec.native or NativeDeployment()
        addresses = native.listen_addresses or (self.default_address,)
        return [(address, native.port or self.default_port) for address in addresses]

    def layout(self, uid: str) -> Layout:
        """Where the instance of the file server with this uid has its things."""
        base, run = self.instance_dir(uid), self.runtime_dir(uid)
        passwd, group = f"{base}/passwd", f"{base}/group"
        return Layout(
            conf=f"{base}/smb.conf",
            private_dir=f"{base}/private",
            state_dir=f"{base}/state",
            lock_dir=f"{run}/lock",
            cache_dir=f"{base}/cache",
            pid_dir=f"{run}/pid",
            ncalrpc_dir=f"{run}/ncalrpc",
            log_dir=f"{base}/log",
            passwd=passwd,
            group=group,
            system_passwd=SYSTEM_PASSWD,
            system_group=SYSTEM_GROUP,
            probe_dir=f"{base}/probe",
            environment=(
                ("LD_PRELOAD", NSS_WRAPPER),
                ("NSS_WRAPPER_PASSWD", passwd),
                ("NSS_WRAPPER_GROUP", group),
            ),
        )
