"""The first share: made through the gateway like any other, once."""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import pvesmb

from packaging.stack.modes import Mode

ID = "files"
SHARE = "share"
USER = "demo"
REACHED_SECONDS = 60.0


@dataclass(frozen=True)
class FirstShare:
    """How to reach it."""

    address: str
    port: int
    password_file: Path


def ensure(gateway: str, mode: Mode, password_file: Path, *, port: int) -> FirstShare:
    """Makes the file server `files` with one share and one user, unless it is there, and returns when clients reach it;
    `port` 0 takes a free one."""
    backend = f"backends/{mode.name}"
    name = f"{backend}/fileServers/{ID}"
    with pvesmb.Client(gateway) as client:
        # An earlier start may have been ended while it was being made; then it is going on.
        for operation in client.operations.list(backend):
            if operation.metadata.target == name:
                operation.wait(timeout=120)
        try:
            server = client.file_servers.get(name)
        except pvesmb.NotFound:
            mode.before_the_first(client)
            server = _create(client, backend, mode.deployment(port or _free_port()), password_file)
        if not server.endpoints:
            raise RuntimeError(f"{name} could not be made; `pvesmb server get {ID}` says why")
        endpoint = server.endpoints[0]
        _wait(endpoint.address, endpoint.port)
        return FirstShare(endpoint.address, endpoint.port, password_file)


def _create(client: pvesmb.Client, backend: str, server: pvesmb.FileServer, password_file: Path) -> pvesmb.FileServer:
    password = secrets.token_urlsafe(12)
    with open(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(password + "\n")
    rule = pvesmb.AccessRule(user=USER, level=pvesmb.AccessRule.ACCESS_LEVEL_READ_WRITE)
    server.description = "First file server"
    return client.file_servers.create(
        backend,
        ID,
        server,
        users={USER: pvesmb.User(full_name="First user", password=password)},
        shares={SHARE: pvesmb.Share(comment="First share", access=[rule])},
    ).result(timeout=120)


def _wait(address: str, port: int) -> None:
    """A guest that has just been started takes its time."""
    end = time.monotonic() + REACHED_SECONDS
    while time.monotonic() < end:
        try:
            socket.create_connection((address, port), timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the first file server does not answer at {address}:{port}; `pvesmb server get {ID}` says more")


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
