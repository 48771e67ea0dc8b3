"""The configuration file of a native backend."""

from __future__ import annotations

import ipaddress

from pydantic import Field, model_validator

from services.native.settings import NativeSettings
from services.wire.backend import BACKEND_ID, BackendConfig


class NativeConfig(BackendConfig):
    """Keys of the TOML file, each overridden by the environment variable `PVESMB_NATIVE_` + its name in capitals."""

    backend_id: str = Field(default="native", pattern=BACKEND_ID, description="id at the gateway")
    run_dir: str = Field(default="", description="locks of running instances, best in memory (/run); default: in state_dir")
    data_root: str = Field(default="/srv/pvesmb", description="directories of shares lie below it")
    extra_roots: list[str] = Field(default=[], description="further directories below which shares may be laid")
    default_address: str = Field(default="0.0.0.0", description="where file servers listen that name no address")
    default_port: int = Field(default=445, ge=1, le=65535, description="port of file servers that name none")
    stop_servers_on_exit: bool = Field(default=False, description="stop every smbd with the service")

    @model_validator(mode="after")
    def _check_native(self) -> NativeConfig:
        try:
            ipaddress.ip_address(self.default_address)
        except ValueError:
            raise ValueError(f"default_address: {self.default_address!r} is not an IP address") from None
        return self

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
