"""The first share: made through the gateway like any other, once."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

import pvesmb

SERVER = "backends/native/fileServers/files"
SHARE = "share"
USER = "demo"


@dataclass(frozen=True)
class FirstShare:
    """How to reach it."""

    address: str
    port: int
    password_file: Path


def ensure(gateway: str, password_file: Path, *, port: int) -> FirstShare:
    """Makes the file server `files` with one share and one user, unless it is there; `port` 0 takes a free one."""
    with pvesmb.Client(gateway) as client:
        # An earlier start may have been ended while it was being made; then it is going on.
        for operation in client.operations.list("backends/native"):
            if operation.metadata.target == SERVER:
                operation.wait(timeout=120)
        try:
            server = client.file_servers.get(SERVER)
        except pvesmb.NotFound:
            server = _create(client, password_file, port or _free_port())
        if not server.endpoints:
            raise RuntimeError(f"{SERVER} could not be made; `pvesmb server get files` says why")
        endpoint = server.endpoints[0]
        return FirstShare(endpoint.address, endpoint.port, password_file)


def _create(client: pvesmb.Client, password_file: Path, port: int) -> pvesmb.FileServer:
    password = secrets.token_urlsafe(12)
    with open(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(password + "\n")
    rule = pvesmb.AccessRule(user=USER, level=pvesmb.AccessRule.ACCESS_LEVEL_READ_WRITE)
    native = pvesmb.NativeDeployment(listen_addresses=["127.0.0.1"], port=port)
    return client.file_servers.create(
        "backends/native",
        "files",
        pvesmb.FileServer(description="First file server", native=native),
        users={USER: pvesmb.User(full_name="First user", password=password)},
        shares={SHARE: pvesmb.Share(comment="First share", access=[rule])},
    ).result(timeout=120)


def _free_port() -> int:
    """4450 if it is free, else any."""
    for port in (4450, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RuntimeError("no free port")
