"""Native mode with its gateway, each a process of its own, in one temporary directory, on loopback addresses of its own."""

from __future__ import annotations

import glob
import itertools
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pvesmb

from tests.e2e import cleanup
from tests.e2e.deployment import Server
from tests.e2e.process import CLONE, ServiceProcess

PORT = 4455
_METRICS = {"gateway": 9741, "native": 9742}


class NativeDeployment:
    """See `Deployment`. `settings` are further keys of the backend's configuration; `module` is the program to run."""

    def __init__(self, settings: Mapping[str, Any] | None = None, module: str = "services.native") -> None:
        self.state = Path(tempfile.mkdtemp(prefix="pvesmb-e2e-"))
        self.state.chmod(0o755)
        self._cleaner = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.cleanup", str(self.state)],
            cwd=CLONE,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.native_dir, self.data = self.state / "native", self.state / "data"
        self.address = free_address()
        self._numbers = itertools.count(1)
        config = {
            "backend_id": "node1",
            "listen": [f"unix:{self.state}/native.sock"],
            "metrics_listen": f"{self.address}:{_METRICS['native']}",
            "state_dir": str(self.native_dir),
            "data_root": str(self.data),
            "default_address": self.address,
            "default_port": PORT,
            **(settings or {}),
        }
        native = _write(self.state / "native.toml", config)
        _write(self.state / "backends.toml", {}, {"backends.node1": {"target": f"unix:{self.state}/native.sock"}})
        gateway = {
            "listen": [f"unix:{self.state}/gateway.sock"],
            "backends_file": str(self.state / "backends.toml"),
            "metrics_listen": f"{self.address}:{_METRICS['gateway']}",
            "log_level": config.get("log_level", "info"),
        }
        self.store_url = str(config.get("store_url", ""))
        self.native = ServiceProcess(module, native, self.state / "native.sock", self.state / "native.log")
        self.gateway = ServiceProcess(
            "gateway", _write(self.state / "gateway.toml", gateway), self.state / "gateway.sock", self.state / "gateway.log"
        )
        self.client = pvesmb.Client(f"unix:{self.gateway.socket}")

    backend = "backends/node1"

    def another_gateway(self) -> ServiceProcess:
        """A second one for the same backends, not started; who starts it ends it."""
        config = {"listen": [f"unix:{self.state}/gateway2.sock"], "backends_file": str(self.state / "backends.toml")}
        written = _write(self.state / "gateway2.toml", config)
        return ServiceProcess("gateway", written, self.state / "gateway2.sock", self.state / "gateway2.log")

    def start(self) -> None:
        self.native.start()
        self.native.ready()

    def stop(self) -> int:
        return self.native.stop()

    def kill(self) -> None:
        self.native.kill()

    def running(self) -> None:
        for service in (self.native, self.gateway):
            if not service.running:
                service.process = None
                service.start()
        for service in (self.native, self.gateway):
            service.ready()

    def close(self) -> None:
        """Ends and removes everything."""
        self.client.close()
        assert self._cleaner.stdin is not None
        self._cleaner.stdin.close()
        self._cleaner.wait()
        for service in (self.native, self.gateway):
            if service.process is not None:
                service.process.wait()

    # File servers

    def spec(self, **fields: Any) -> pvesmb.FileServer:
        deployment = pvesmb.NativeDeployment(listen_addresses=[free_address()], port=PORT)
        return pvesmb.FileServer(**{"native": deployment, **fields})

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
        spec = self.spec(**fields)
        handle = self.client.file_servers.create(
            self.backend, self.new_id(), spec, shares=shares, users=users, groups=groups
        )
        return Server(handle.result(timeout=100))

    # From outside

    def traces(self, id: str, resource: pvesmb.FileServer) -> Sequence[str]:
        found = [f"instance {base}" for base in self.instances(id)]
        found += [f"process {pid}" for pid in self.instance_processes()]
        found += [f"mount {point}" for point in cleanup.mounts(str(self.state))]
        found += [f"image {path}" for path in glob.glob(f"{self.native_dir}/volumes/*")]
        if (self.data / id).exists():
            found.append(f"data {os.listdir(self.data / id)}")
        address, port = resource.native.listen_addresses[0], resource.native.port
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                found.append(f"listener {address}:{port}")
        found += [f"claim {row}" for row in self.rows("SELECT kind, value FROM claims")]
        found += [f"resource {row}" for row in self.rows("SELECT name FROM resources")]
        return [*found, *(f"secret {row}" for row in self.rows("SELECT key FROM secrets"))]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the store holds, read past the service."""
        if self.store_url:
            import psycopg

            with psycopg.connect(self.store_url.replace("+psycopg", "")) as postgres:
                return list(postgres.execute(query.encode()))
        connection = sqlite3.connect(self.native_dir / "store.db")
        try:
            return list(connection.execute(query))
        finally:
            connection.close()

    def instances(self, id: str = "") -> list[str]:
        """Directories of instances, of one file server or of all."""
        found = []
        for base in glob.glob(f"{self.native_dir}/servers/*"):
            marker = Path(base, "instance.json")
            named = json.loads(marker.read_text())["name"].endswith(f"/{id}") if marker.exists() else True
            if named or not id:
                found.append(base)
        return found

    def conf(self, server: Server) -> str:
        return f"{self.native_dir}/servers/{server.uid}/smb.conf"

    def instance_processes(self, uid: str = "") -> list[int]:
        """The programs of Samba that run for one instance, or for any."""
        return cleanup.living(f"{self.native_dir}/servers/{uid}")

    def smbd(self, server: Server) -> int:
        """Pid of the main smbd."""
        return int(Path(self.native_dir, "servers", server.uid, "pid", "smbd.pid").read_text())

    def tool(self, server: Server, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a tool of Samba by hand, as an administrator would."""
        return self.tool_of(server.uid, *argv)

    def tool_of(self, uid: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """The same for the file server of this uid."""
        base = f"{self.native_dir}/servers/{uid}"
        environment = {
            **os.environ,
            "LD_PRELOAD": "libnss_wrapper.so",
            "NSS_WRAPPER_PASSWD": f"{base}/passwd",
            "NSS_WRAPPER_GROUP": f"{base}/group",
        }
        return subprocess.run([*argv], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def metrics(self) -> Mapping[str, str]:
        # No proxy of the environment stands between us and loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        texts = {}
        for name, port in _METRICS.items():
            with opener.open(f"http://{self.address}:{port}/metrics", timeout=10) as answer:
                texts[name] = answer.read().decode()
        return texts


def free_address() -> str:
    """A loopback address that nobody else is likely to use, with the ports that we want free."""
    while True:
        address = f"127.{random.randint(64, 127)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
        try:
            for port in (PORT, *_METRICS.values()):
                with socket.socket() as probe:
                    probe.bind((address, port))
        except OSError:
            continue
        return address


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
