"""The configuration file of the stand-in node."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from services.kit.config import Config


class StorageConfig(Config):
    """One storage that is there at the first start."""

    kind: Literal["dir", "btrfs"] = Field(default="dir", description="how volumes are kept: XFS images, or subvolumes")
    path: str = Field(description="directory")
    size_bytes: int = Field(default=0, ge=0, description="of an image for a btrfs storage that is not on btrfs itself")
    content: list[str] = Field(default=["vztmpl", "iso", "import", "rootdir", "images"], description="what may lie on it")


class LocalNodeConfig(Config):
    """Keys of the TOML file."""

    node: str = Field(default="pve1", pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$", description="node name")
    host: str = Field(default="127.0.0.1", description="loopback address to listen on")
    port: int = Field(default=8006, ge=0, le=65535, description="port; 0: any that is free, written to state_dir/port")
    state_dir: str = Field(default="/var/lib/pvesmb-localnode", description="state, tasks, keys, mounts, containers")
    root_password_file: str = Field(default="", description="password of root@pam; without it nobody logs in by password")
    network_namespace: str = Field(default="", description="file of the namespace that holds the bridges")
    storages: dict[str, StorageConfig] = Field(default={}, description="default: one, `local`, in state_dir")

    @model_validator(mode="after")
    def _check(self) -> LocalNodeConfig:
        if not ipaddress.ip_address(self.host).is_loopback:
            raise ValueError(f"host: {self.host} is not a loopback address; this stand-in serves no network")
        return self

    @property
    def directory(self) -> Path:
        return Path(self.state_dir)

    def all_storages(self) -> dict[str, StorageConfig]:
        return self.storages or {"local": StorageConfig(path=str(self.directory / "local"))}
