"""The configuration file of an LXC backend."""

from __future__ import annotations

import ipaddress
import posixpath
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from services.core.domain.share import MIN_VOLUME_BYTES
from services.kit.config import ConfigError
from services.lxc.settings import LxcSettings
from services.proxmox.logins import Password, Token
from services.proxmox.session import SHA256, Endpoint
from services.wire.backend import BACKEND_ID, BackendConfig

#: Ids in an unprivileged container end at 65535 (subuid(5), and Proxmox VE's default map).
HIGHEST_ID = 65_533


class LxcConfig(BackendConfig):
    """Keys of the TOML file, each overridden by the environment variable `PVESMB_LXC_` + its name in capitals."""

    backend_id: str = Field(default="lxc", pattern=BACKEND_ID, description="id at the gateway")
    state_dir: str = Field(default="/var/lib/pvesmb-lxc", description="store, keys and templates that were built")
    url: str = Field(default="https://127.0.0.1:8006", description="the API: https://HOST:PORT")
    node: str = Field(min_length=1, description="name of the Proxmox VE node that containers are made on")
    ca_file: str = Field(default="", description="authority of the API's certificate; default: those of the system")
    fingerprint: str = Field(default="", description="SHA-256 fingerprint of the API's certificate, instead of ca_file")
    token: str = Field(pattern=r"^[^!@\s]+@[^!@\s]+![^!@=\s]+$", description="API token: USER@REALM!NAME")
    token_file: str = Field(description="file that holds the token's secret, readable by us alone")
    password_file: str = Field(default="", description="file with the password of root@pam; without it no host_path")
    pool: str = Field(default="", description="resource pool that containers are put into")
    storage: str = Field(default="local", description="storage of root disks")
    volume_storage: str = Field(default="", description="storage of shares' volumes; default: that of root disks")
    volume_size_bytes: int = Field(
        default=10 * 1024**3, ge=MIN_VOLUME_BYTES, description="volume of a share that asks none"
    )
    template_storage: str = Field(default="local", description="storage of templates, with content vztmpl")
    bridge: str = Field(default="vmbr0", description="bridge of containers that name none")
    nameservers: list[str] = Field(default=[], description="DNS servers of containers that name none; default: the node's")
    host_path_roots: list[str] = Field(default=[], description="directories of the node below which host_path may be")
    overcommit: bool = Field(default=False, description="make volumes that are larger than what the storage has free")
    nesting: bool = Field(default=False, description="allow nesting, which systemd of Debian 13 wants")
    id_first: int = Field(default=10_000, ge=1000, le=HIGHEST_ID, description="first numeric id for users, in containers")
    id_count: int = Field(default=50_000, ge=3, description="how many numeric ids there are; none is used twice")
    worker_threads: int = Field(default=10, ge=1, le=64, description="file servers worked on at once")

    @model_validator(mode="after")
    def _check_lxc(self) -> LxcConfig:
        if not _is_api(self.url):
            raise ValueError("url: must be https://HOST:PORT")
        if self.fingerprint and not SHA256.fullmatch(self.fingerprint):
            raise ValueError("fingerprint: must be a SHA-256 fingerprint, as `pvenode cert info` shows it")
        if self.ca_file:
            _check_authority(self.ca_file)
        for path in self.host_path_roots:
            if not path.startswith("/") or posixpath.normpath(path) != path:
                raise ValueError(f"host_path_roots: {path!r} must be absolute and without `.`, `..` or trailing slashes")
        for address in self.nameservers:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise ValueError(f"nameservers: {address!r} must be an IP address") from None
        if self.id_first + self.id_count - 1 > HIGHEST_ID:
            raise ValueError(f"id_count: id_first + id_count must stay below {HIGHEST_ID + 1}, where a container's ids end")
        return self

    @property
    def endpoint(self) -> Endpoint:
        parts = urlsplit(self.url)
        return Endpoint(parts.hostname or "", parts.port or 8006, self.ca_file, self.fingerprint)

    def api_token(self) -> Token:
        user, _, name = self.token.partition("!")
        return Token(user, name, _secret("token_file", self.token_file))

    def password(self) -> Password | None:
        """The login that may make bind mounts, if there is one."""
        return Password("root@pam", _secret("password_file", self.password_file)) if self.password_file else None

    def settings(self) -> LxcSettings:
        """What LXC mode itself needs of it."""
        return LxcSettings(
            node=self.node,
            pool=self.pool,
            storage=self.storage,
            volume_storage=self.volume_storage or self.storage,
            volume_size_bytes=self.volume_size_bytes,
            template_storage=self.template_storage,
            bridge=self.bridge,
            nameservers=tuple(self.nameservers),
            host_path_roots=tuple(self.host_path_roots) if self.password_file else (),
            overcommit=self.overcommit,
            nesting=self.nesting,
            id_first=self.id_first,
            id_count=self.id_count,
            site_share_options=dict(self.share_options),
        )


def _is_api(url: str) -> bool:
    parts = urlsplit(url)
    try:
        port = parts.port or 8006
    except ValueError:
        return False
    bare = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    plain = parts.netloc.lower() in (bare, f"{bare}:{port}")
    return parts.scheme == "https" and plain and parts.path in ("", "/") and not parts.query + parts.fragment


def _check_authority(path: str) -> None:
    """Told at start: a call that finds no authority fails with nothing that an administrator could use."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        told = "is no certificate in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"ca_file: {path}: {told}") from None


def _secret(key: str, path: str) -> str:
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "not text"
        raise ConfigError(f"{key}: {path}: {told}. Put the secret there, alone on one line.") from None
    if not secret:
        raise ConfigError(f"{key}: {path} is empty. Put the secret there, alone on one line.")
    return secret
