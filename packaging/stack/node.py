"""A stand-in for a Proxmox VE node, with what an administrator makes on a real one: bridge, storages, pool, token.

Everything is in one network namespace, the API too (on its loopback). The process that calls `start` has to be in it
(`netns.enter`, or `netns.command` before it begins), as everything that talks with the node or its guests.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.stack import netns
from packaging.stack.processes import Service
from services.core.errors import PvesmbError
from services.proxmox.logins import Password
from services.proxmox.preflight import GUEST_PRIVILEGES
from services.proxmox.session import Api, Endpoint, Session

NODE, POOL, USER, TOKEN = "pve1", "smbgw", "smbgw@pve", "gw"
#: Root disks, and everything else: volumes of shares, templates.
ROOTS, STORE = "fast", "local"
#: The first node's port and network.
PORT = 8006
NETWORK = ipaddress.IPv4Interface("10.98.0.1/24")
CLONE = Path(__file__).resolve().parent.parent.parent
_READY_SECONDS = 30.0

#: With those for guests the least that a token needs: docs/lxc.md, for administrators of real nodes.
STORE_PRIVILEGES = "Datastore.AllocateSpace,Datastore.Audit,Datastore.AllocateTemplate"


def open_network(namespace: str, number: int = 0) -> bool:
    """Makes the namespace and the bridge of a node, if they are not there; whether the namespace was made."""
    made = netns.ensure(namespace)
    network, network6, bridge = _network(number), _network6(number), f"vmbr{number}"
    if subprocess.run(["ip", "-n", namespace, "link", "show", bridge], capture_output=True, check=False).returncode != 0:
        options = ["type", "bridge", "forward_delay", "0", "mcast_snooping", "0"]
        for command in (
            ["link", "add", bridge, *options],
            ["address", "add", str(network), "dev", bridge],
            ["address", "add", str(network6), "dev", bridge, "nodad"],
            ["link", "set", bridge, "up"],
        ):
            subprocess.run(["ip", "-n", namespace, *command], check=True)
    return made


def _network(number: int) -> ipaddress.IPv4Interface:
    """With the bridge's own address."""
    return ipaddress.IPv4Interface(f"{NETWORK.ip + 256 * number}/{NETWORK.network.prefixlen}")


def _network6(number: int) -> ipaddress.IPv6Interface:
    return ipaddress.IPv6Interface(f"fd98:{number:x}::1/64")


@dataclass(frozen=True)
class LocalNode:
    """One node. `directory` holds all of it, and lets others pass; `number` tells nodes apart that are in one namespace;
    `fast_bytes` is the size of the file system of root disks, where the directory is not on btrfs itself."""

    directory: Path
    namespace: str
    number: int = 0
    fast_bytes: int = 20 << 30
    grants: Mapping[str, str] = field(default_factory=dict)
    _services: list[Service] = field(default_factory=list)

    @property
    def bridge(self) -> str:
        return f"vmbr{self.number}"

    @property
    def port(self) -> int:
        return PORT + self.number

    @property
    def network(self) -> ipaddress.IPv4Network:
        """Of its bridge. Guests with DHCP get addresses from the hundredth on."""
        return _network(self.number).network

    @property
    def state(self) -> Path:
        return self.directory / "node"

    @property
    def ca_file(self) -> Path:
        return self.state / "pki" / "ca.pem"

    @property
    def token_file(self) -> Path:
        return self.directory / "token"

    @property
    def password_file(self) -> Path:
        """Of root@pam."""
        return self.directory / "root.password"

    @property
    def config(self) -> Path:
        return self.directory / "localnode.toml"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, ca_file=str(self.ca_file))

    def settings(self) -> dict[str, object]:
        """What the configuration of lxc mode says of this node; a password login comes on top of it."""
        return {
            "url": f"https://127.0.0.1:{self.port}", "ca_file": str(self.ca_file), "node": NODE,
            "token": f"{USER}!{TOKEN}", "token_file": str(self.token_file), "pool": POOL,
            "storage": ROOTS, "volume_storage": STORE, "template_storage": STORE, "bridge": self.bridge,
        }  # fmt: skip

    def root(self) -> Session:
        """A session of root@pam by password; who takes it closes it."""
        return Session(self.endpoint, Password("root@pam", self.password_file.read_text().strip()))

    def start(self) -> None:
        """The node and a DHCP server on its bridge; at the first start, pool, user, roles, grants and token."""
        if not netns.inside(self.namespace):
            raise RuntimeError(f"a node in network namespace {self.namespace} is started from within")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write()
        self._services[:] = [
            self._service("localnode", [sys.executable, "-m", "services.localnode", "--config", str(self.config)]),
            self._service("dhcp", self._dhcp()),
        ]
        for service in self._services:
            service.start()
        session = self.root()
        try:
            self._wait(session)
            if not self.token_file.exists():
                provision(session, self.token_file, self.grants)
        finally:
            session.close()

    def look(self) -> None:
        """Restarts what has died."""
        for service in self._services:
            service.look()

    def stop(self) -> None:
        """Guests go on running."""
        for service in self._services:
            service.stop()

    def kill(self) -> None:
        """Ends the node as a crash would; `start` brings it back."""
        process = self._services[0].process
        assert process is not None
        process.kill()
        process.wait()
        self.stop()

    def clean(self) -> None:
        """After `stop`: ends guests, unmounts. Files stay."""
        if self.config.exists():
            command = [sys.executable, "-m", "services.localnode", "--config", str(self.config), "--clean"]
            subprocess.run(command, cwd=CLONE, check=True)

    def _write(self) -> None:
        storages: dict[str, dict[str, object]] = {
            ROOTS: {"kind": "btrfs", "path": str(self.directory / ROOTS), "size_bytes": self.fast_bytes},
            STORE: {"path": str(self.directory / STORE)},
        }
        lines = [
            f"node = {json.dumps(NODE)}", f"port = {self.port}", f"state_dir = {json.dumps(str(self.state))}",
            f"root_password_file = {json.dumps(str(self.password_file))}",
            f"network_namespace = {json.dumps(f'/run/netns/{self.namespace}')}",
        ]  # fmt: skip
        for name, storage in storages.items():
            lines += ["", f"[storages.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in storage.items())]
        self.config.write_text("\n".join(lines) + "\n")
        if not self.password_file.exists():
            write_secret(self.password_file, secrets.token_urlsafe(16))

    def _dhcp(self) -> Sequence[str]:
        first, last, network6 = self.network[100], self.network[250], _network6(self.number).network
        return [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file=", "--port=0",
            f"--interface={self.bridge}", "--bind-interfaces", "--except-interface=lo", "--no-ping", "--dhcp-authoritative",
            f"--dhcp-leasefile={self.directory}/dhcp.leases", f"--dhcp-range={first},{last},12h", "--enable-ra",
            f"--dhcp-range={network6.network_address},ra-stateless,64,12h",
        ]  # fmt: skip

    def _service(self, name: str, argv: Sequence[str]) -> Service:
        return Service(name, argv, Path(), self.directory / f"{name}.log", self.directory / f"{name}.pid")

    def _wait(self, session: Api) -> None:
        deadline, pause = time.monotonic() + _READY_SECONDS, 0.02
        while True:
            process = self._services[0].process
            try:
                if self.ca_file.exists():
                    session.call("GET", ("version",), timeout=2)
                    return
            except PvesmbError:
                pass
            if process is None or process.poll() is not None or time.monotonic() > deadline:
                tail = self._services[0].log.read_text(errors="replace").splitlines()[-15:]
                raise RuntimeError("\n".join(["the stand-in node did not start; the end of its log:", *tail]))
            time.sleep(pause)
            pause = min(pause * 2, 0.5)


def provision(api: Api, token_file: Path, grants: Mapping[str, str] | None = None) -> None:
    """What an administrator does once on a real node, with the same calls. The token's secret is told once, so it is
    written last. `grants` adds privileges by path."""
    api.call("POST", ("pools",), {"poolid": POOL})
    api.call("POST", ("access", "users"), {"userid": USER})
    api.call("POST", ("access", "roles"), {"roleid": "SMBGuest", "privs": ",".join(GUEST_PRIVILEGES)})
    api.call("POST", ("access", "roles"), {"roleid": "SMBStore", "privs": STORE_PRIVILEGES})
    api.call("POST", ("access", "roles"), {"roleid": "SMBNode", "privs": "Sys.Audit"})
    roles = [(f"/pool/{POOL}", "SMBGuest"), (f"/storage/{ROOTS}", "SMBStore"), (f"/storage/{STORE}", "SMBStore")]
    roles += [("/sdn/zones/localnetwork", "PVESDNUser"), ("/nodes", "SMBNode")]
    for number, (path, privileges) in enumerate((grants or {}).items()):
        roles.append((path, f"SMBMore{number}"))
        api.call("POST", ("access", "roles"), {"roleid": f"SMBMore{number}", "privs": privileges})
    for path, role in roles:
        api.call("PUT", ("access", "acl"), {"path": path, "users": USER, "roles": role})
    made = api.call("POST", ("access", "users", USER, "token", TOKEN), {"privsep": False})
    write_secret(token_file, made["value"])


def write_secret(file: Path, value: str) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as f:
        f.write(f"{value}\n")
