"""The configuration file of a native backend."""

from __future__ import annotations

import ipaddress

from pydantic import Field, model_validator

from services.kit.config import ServerConfig
from services.native.settings import NativeSettings

#: Threads of the pool that long polls leave to every other call.
SPARE_WORKERS = 16


class NativeConfig(ServerConfig):
    """Keys of the TOML file, each overridden by the environment variable `PVESMB_NATIVE_` + its name in capitals."""

    backend_id: str = Field(default="native", pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", description="id at the gateway")
    node: str = Field(default="", description="name of this Proxmox VE node; default: the host name")
    state_dir: str = Field(default="/var/lib/pvesmb", description="everything of ours: store, keys, instances, volumes")
    run_dir: str = Field(default="", description="locks of running instances, best in memory (/run); default: in state_dir")
    data_root: str = Field(default="/srv/pvesmb", description="directories of shares lie below it")
    extra_roots: list[str] = Field(default=[], description="further directories below which shares may be laid")
    store_url: str = Field(default="", description="postgresql+psycopg://…; default: SQLite in state_dir")
    default_address: str = Field(default="0.0.0.0", description="where file servers listen that name no address")
    default_port: int = Field(default=445, ge=1, le=65535, description="port of file servers that name none")
    id_first: int = Field(default=500_000, ge=1000, description="first numeric id for users of file servers")
    id_count: int = Field(default=100_000, ge=3, description="how many numeric ids there are; none is used twice")
    share_options: dict[str, str] = Field(default={}, description="smb.conf options that every share gets")
    stop_servers_on_exit: bool = Field(default=False, description="stop every smbd with the service")
    worker_threads: int = Field(default=4, ge=1, le=64, description="file servers worked on at once")
    drift_seconds: float = Field(default=300.0, ge=1, description="time between two drift checks")
    wait_slots: int = Field(default=64, ge=1, description="WaitOperation calls that may wait at once")

    @model_validator(mode="after")
    def _check_native(self) -> NativeConfig:
        try:
            ipaddress.ip_address(self.default_address)
        except ValueError:
            raise ValueError(f"default_address: {self.default_address!r} is not an IP address") from None
        if self.wait_slots > self.max_workers - SPARE_WORKERS:
            raise ValueError(
                f"wait_slots: at most max_workers - {SPARE_WORKERS}, which is {self.max_workers - SPARE_WORKERS}"
            )
        return self

    @property
    def url(self) -> str:
        return self.store_url or f"sqlite:///{self.state_dir}/store.db"

    def settings(self) -> NativeSettings:
        """What native mode itself needs of it."""
        return NativeSettings(
            backend_id=self.backend_id,
            state_dir=self.state_dir,
            data_root=self.data_root,
            extra_roots=tuple(self.extra_roots),
            default_address=self.default_address,
            default_port=self.default_port,
            id_first=self.id_first,
            id_count=self.id_count,
            site_share_options=dict(self.share_options),
            stop_servers_on_exit=self.stop_servers_on_exit,
            run_dir=self.run_dir,
        )
