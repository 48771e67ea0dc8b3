"""The product as these tests see it, whatever the mode: what they may do to it, and what they can see from outside."""

from __future__ import annotations

import itertools
import json
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pvesmb

from services.samba.shares import PROBE_SHARE
from tests.e2e.addresses import GATEWAY_METRICS, SERVICE_METRICS, free_address
from tests.e2e.process import CLONE, ServiceProcess
from tests.e2e.words import Server

#: Accounts of our own in Samba begin so.
OWN_ACCOUNTS = "pvesmb-"


class Deployment(ABC):
    """One backend behind one gateway, each a process of its own, in one temporary directory; with a client. Whoever has one
    may stop and start its parts at will; `running` puts that right for the next test.

    `settings` are further keys of the backend's configuration. A `deadly` one dies when it is told to: `deadly.py`.
    """

    mode: str
    #: Names of the steps that make a file server, in their order.
    steps: Sequence[str]
    #: Whether a share may be a directory of the host.
    directories: bool = False
    #: Files that a backend may keep open for connections that it might need again.
    pooled_files: int = 0
    #: Where clients come from, as a file server sees them.
    client_network: str

    backend = "backends/node1"

    def __init__(self, settings: Mapping[str, Any] | None = None, *, deadly: bool = False) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="pvesmb-e2e-"))
        self.state.chmod(0o755)
        self._cleaner = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.cleanup", str(self.state)],
            cwd=CLONE,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.service_dir = self.state / self.mode
        self.address = free_address()
        self._numbers = itertools.count(1)
        config = {
            "backend_id": "node1",
            "listen": [f"unix:{self.state}/{self.mode}.sock"],
            "metrics_listen": f"{self.address}:{SERVICE_METRICS}",
            "state_dir": str(self.service_dir),
            **self._settings(),
            **(settings or {}),
        }
        written = _write(self.state / f"{self.mode}.toml", config)
        _write(self.state / "backends.toml", {}, {"backends.node1": {"target": f"unix:{self.state}/{self.mode}.sock"}})
        self.store_url = str(config.get("store_url", ""))
        module = "tests.e2e.deadly" if deadly else f"services.{self.mode}"
        arguments = ["--mode", self.mode] if deadly else []
        #: The backend.
        self.service = ServiceProcess(
            module, written, self.state / f"{self.mode}.sock", self.state / f"{self.mode}.log", arguments
        )
        metrics = {"metrics_listen": f"{self.address}:{GATEWAY_METRICS}", "log_level": config.get("log_level", "info")}
        self.gateway = self._gateway("gateway", metrics)
        #: Speaks to the gateway.
        self.client = pvesmb.Client(f"unix:{self.gateway.socket}")

    @abstractmethod
    def _settings(self) -> Mapping[str, Any]:
        """Keys of the backend's configuration that the mode needs."""

    def _gateway(self, name: str, keys: Mapping[str, Any]) -> ServiceProcess:
        listen = {"listen": [f"unix:{self.state}/{name}.sock"], "backends_file": str(self.state / "backends.toml")}
        written = _write(self.state / f"{name}.toml", {**listen, **keys})
        return ServiceProcess("gateway", written, self.state / f"{name}.sock", self.state / f"{name}.log")

    def another_gateway(self) -> ServiceProcess:
        """A second one for the same backends, not started; who starts it ends it."""
        return self._gateway("gateway2", {})

    def start(self) -> None:
        """Starts the backend and returns when it serves."""
        self.service.start()
        self.service.ready()

    def stop(self) -> int:
        """SIGTERM to the backend; its exit status."""
        return self.service.stop()

    def kill(self) -> None:
        """SIGKILL to the backend."""
        self.service.kill()

    def running(self) -> None:
        """Starts what does not run."""
        for service in (self.service, self.gateway):
            if not service.running:
                service.process = None
                service.start()
        for service in (self.service, self.gateway):
            service.ready()

    def close(self) -> None:
        """Ends and removes everything."""
        self.client.close()
        assert self._cleaner.stdin is not None
        self._cleaner.stdin.close()
        self._cleaner.wait()
        for service in (self.service, self.gateway):
            if service.process is not None:
                service.process.wait()

    # File servers

    @abstractmethod
    def spec(self, **fields: Any) -> pvesmb.FileServer:
        """A new file server of this mode, at an address of its own."""

    #: The reasons of that error.
    failures: Collection[str]

    @abstractmethod
    def failing_share(self) -> pvesmb.Share:
        """One that is accepted, and that a step finds impossible."""

    def new_id(self) -> str:
        return f"fs{next(self._numbers)}"

    def new_server(
        self,
        *,
        shares: Mapping[str, pvesmb.Share] | None = None,
        users: Mapping[str, pvesmb.User] | None = None,
        groups: Mapping[str, pvesmb.Group] | None = None,
        **fields: Any,
    ) -> Server:
        """Makes one, under a new id; `fields` are those of the file server."""
        spec = self.spec(**fields)
        handle = self.client.file_servers.create(
            self.backend, self.new_id(), spec, shares=shares, users=users, groups=groups
        )
        return Server(handle.result(timeout=100))

    # From outside: the host of a file server

    @abstractmethod
    def conf_of(self, uid: str) -> str:
        """The path of smb.conf, as the file server's host has it."""

    def conf(self, server: Server) -> str:
        return self.conf_of(server.uid)

    @abstractmethod
    def place(self, server: Server, path: str) -> Path:
        """A path of the file server's host, as this machine has it."""

    def files(self, server: Server, share: str) -> Path:
        """The directory of a share, as this machine has it."""
        return self.place(server, self.client.shares.get(server.share(share)).effective_path)

    @abstractmethod
    def owner(self, id: int) -> int:
        """What a user's or group's numeric id is on this machine."""

    @abstractmethod
    def tool_of(self, uid: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a tool of Samba by hand, as an administrator would, in the host of the file server with this uid."""

    def tool(self, server: Server, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.tool_of(server.uid, *argv)

    def registry_of(self, uid: str) -> set[str]:
        """Names of the shares that Samba has, but for its own."""
        listed = self.tool_of(uid, "net", "-s", self.conf_of(uid), "conf", "listshares").stdout.splitlines()
        return {name for name in listed if name != PROBE_SHARE}

    def accounts_of(self, uid: str) -> set[str]:
        """Names of the accounts that Samba has, but for its own."""
        told = self.tool_of(uid, "pdbedit", "-s", self.conf_of(uid), "-L").stdout
        names = {line.partition(":")[0] for line in told.splitlines()}
        return {name for name in names if not name.startswith(OWN_ACCOUNTS)}

    @abstractmethod
    def smbd(self, server: Server) -> int:
        """Pid of the main smbd, on this machine."""

    @abstractmethod
    def processes(self, uid: str = "") -> list[int]:
        """The programs of Samba that run for one file server, or for any; on this machine."""

    # From outside: everything

    @abstractmethod
    def traces(self, id: str, resource: pvesmb.FileServer) -> Sequence[str]:
        """Everything that a file server of this id and spec has left outside the store and in it, with whatever there is
        of others: processes, directories, guests, volumes, mounts, listeners, claims. Empty when nothing is left."""

    @abstractmethod
    def strays(self, wanted: Mapping[str, set[str]]) -> Sequence[str]:
        """Everything outside the store that belongs to none of these file servers (by uid) and none of their shares."""

    @abstractmethod
    def hosted(self) -> set[str]:
        """Uids of the file servers that there is something of, and what runs for none."""

    @abstractmethod
    def stored(self, server: Server) -> int:
        """How many directories or volumes it has for its shares."""

    @abstractmethod
    def flaws(self, server: Server, volumes: int) -> Sequence[str]:
        """What is not as it has to be outside Samba, if this file server is the only one and that many of its shares are
        volumes by their spec."""

    @abstractmethod
    def look(self) -> Mapping[str, Any]:
        """What is there outside the store: a call that is refused leaves it as it is."""

    def _rows_left(self) -> list[str]:
        found = [f"claim {row}" for row in self.rows("SELECT kind, value FROM claims")]
        found += [f"resource {row}" for row in self.rows("SELECT name FROM resources")]
        return [*found, *(f"secret {row}" for row in self.rows("SELECT key FROM secrets"))]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the store holds, read past the service."""
        if self.store_url:
            import psycopg

            with psycopg.connect(self.store_url.replace("+psycopg", "")) as postgres:
                return list(postgres.execute(query.encode()))
        connection = sqlite3.connect(self.service_dir / "store.db")
        try:
            return list(connection.execute(query))
        finally:
            connection.close()

    def metrics(self) -> Mapping[str, str]:
        """The text of /metrics of `gateway` and `service`."""
        # No proxy of the environment stands between us and loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        texts = {}
        for name, port in (("gateway", GATEWAY_METRICS), ("service", SERVICE_METRICS)):
            with opener.open(f"http://{self.address}:{port}/metrics", timeout=10) as answer:
                texts[name] = answer.read().decode()
        return texts


def _write(path: Path, keys: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
    """TOML; a dictionary among the keys is a table."""
    plain = {key: value for key, value in keys.items() if not isinstance(value, dict)}
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in plain.items()]
    named = {key: value for key, value in keys.items() if isinstance(value, dict)}
    for table, values in {**named, **(tables or {})}.items():
        lines += [f"[{table}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in values.items())]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path
