"""The configuration files of the stack's processes, written at each start."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.stack.modes import Mode
from packaging.stack.places import Places
from services.kit import pki
from services.kit.identity import Role

#: The gateway's port for callers on the network, if it is free.
GATEWAY_PORT = 7443


@dataclass(frozen=True)
class Settings:
    """Where the files are, and the gateway's address for callers with a certificate."""

    service: Path
    gateway: Path
    address: str


def write(places: Places, mode: Mode) -> Settings:
    """Writes every file. Certificates are made at the first start and kept."""
    authority = pki.authority(places.etc / "tls")
    if not (authority.directory / "gateway.pem").exists():
        authority.issue_gateway(["localhost", "127.0.0.1", socket.gethostname()])
        authority.issue("admin", uris=[pki.role_uri(Role.ADMIN, "admin")])
    address = f"127.0.0.1:{_port(places.etc / 'gateway.port')}"
    listen = f"unix:{places.sockets / f'{mode.name}.sock'}"
    backends = _write(places.etc / "backends.toml", {}, {f"backends.{mode.name}": {"target": listen}})
    gateway = _write(
        places.etc / "gateway.toml",
        {
            "listen": [f"unix:{places.sockets / 'gateway.sock'}", address],
            "backends_file": str(backends),
            "metrics_listen": f"127.0.0.1:{_port(places.etc / 'gateway-metrics.port', 9741)}",
        },
        {
            "tls": {
                "ca_file": str(authority.ca_file),
                "cert_file": str(authority.directory / "gateway.pem"),
                "key_file": str(authority.directory / "gateway.key"),
            }
        },
    )
    service = _write(
        places.etc / f"{mode.name}.toml",
        {
            "backend_id": mode.name,
            "listen": [listen],
            "metrics_listen": f"127.0.0.1:{_port(places.etc / f'{mode.name}-metrics.port', 9742)}",
            **mode.settings(),
        },
        {},
    )
    _write(places.client_config, {"gateway": f"unix:{places.sockets / 'gateway.sock'}"}, {})
    return Settings(service, gateway, address)


def _write(path: Path, keys: Mapping[str, object], tables: Mapping[str, Mapping[str, object]]) -> Path:
    """Writes TOML. Its strings, lists and booleans are written as JSON writes them."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    for table, values in tables.items():
        lines += ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def _port(kept: Path, wanted: int = GATEWAY_PORT) -> int:
    """The port of the last start, so that clients need not be told anew; at the first start `wanted`, or a free one."""
    candidates = [int(kept.read_text())] if kept.exists() else [wanted, 0]
    for candidate in [*candidates, 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            port = int(probe.getsockname()[1])
            kept.write_text(str(port))
            return port
    raise RuntimeError("no free port")
