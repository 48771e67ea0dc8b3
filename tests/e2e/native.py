"""Native mode with its gateway, on loopback addresses of its own."""

from __future__ import annotations

import glob
import json
import os
import socket
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pvesmb

from tests.e2e import cleanup
from tests.e2e.addresses import PORT, free_address
from tests.e2e.deployment import Deployment
from tests.e2e.words import Server


class NativeDeployment(Deployment):
    """See `Deployment`. Shares are directories below `data` where they ask for nothing else."""

    mode = "native"
    steps = ("address", "instance", "volume", "config", "process", "apply", "confirm")
    directories = True
    failures = ("PATH_UNSUITABLE",)
    client_network = "127.0.0.0/8"

    def _settings(self) -> Mapping[str, Any]:
        self.data = self.state / "data"
        return {"data_root": str(self.data), "default_address": self.address, "default_port": PORT}

    def spec(self, **fields: Any) -> pvesmb.FileServer:
        deployment = pvesmb.NativeDeployment(listen_addresses=[free_address()], port=PORT)
        return pvesmb.FileServer(**{"native": deployment, **fields})

    def failing_share(self) -> pvesmb.Share:
        file = self.data / "file"
        file.write_text("no directory")
        return pvesmb.Share(directory=pvesmb.DirectoryStorage(path=str(file)))

    # From outside

    def conf_of(self, uid: str) -> str:
        return f"{self.service_dir}/servers/{uid}/smb.conf"

    def place(self, server: Server, path: str) -> Path:
        return Path(path)

    def owner(self, id: int) -> int:
        return id

    def tool_of(self, uid: str, *argv: str) -> subprocess.CompletedProcess[str]:
        base = f"{self.service_dir}/servers/{uid}"
        environment = {
            **os.environ,
            "LD_PRELOAD": "libnss_wrapper.so",
            "NSS_WRAPPER_PASSWD": f"{base}/passwd",
            "NSS_WRAPPER_GROUP": f"{base}/group",
        }
        return subprocess.run([*argv], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def smbd(self, server: Server) -> int:
        return int(Path(self.service_dir, "servers", server.uid, "pid", "smbd.pid").read_text())

    def processes(self, uid: str = "") -> list[int]:
        return cleanup.living(f"{self.service_dir}/servers/{uid}")

    def instances(self, id: str = "") -> list[str]:
        """Directories of instances, of one file server or of all."""
        found = []
        for base in glob.glob(f"{self.service_dir}/servers/*"):
            marker = Path(base, "instance.json")
            named = json.loads(marker.read_text())["name"].endswith(f"/{id}") if marker.exists() else True
            if named or not id:
                found.append(base)
        return found

    def traces(self, id: str, resource: pvesmb.FileServer) -> Sequence[str]:
        found = [f"instance {base}" for base in self.instances(id)]
        found += [f"process {pid}" for pid in self.processes()]
        found += [f"mount {point}" for point in cleanup.mounts(str(self.state))]
        found += [f"image {path}" for path in glob.glob(f"{self.service_dir}/volumes/*")]
        if (self.data / id).exists():
            found.append(f"data {os.listdir(self.data / id)}")
        address, port = resource.native.listen_addresses[0], resource.native.port
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                found.append(f"listener {address}:{port}")
        return [*found, *self._rows_left()]

    def strays(self, wanted: Mapping[str, set[str]]) -> Sequence[str]:
        resources = {uid: (name, kind) for uid, name, kind in self.rows("SELECT uid, name, kind FROM resources")}
        found = [f"instance {base}" for base in self.instances() if Path(base).name not in wanted]
        for pid in self.processes():
            words = words_of(pid)
            if words and not any(uid.encode() in words for uid in wanted):
                found.append(f"process {pid}: {words!r}")
        paths = {value for kind, value in self.rows("SELECT kind, value FROM claims") if kind == "directory"}
        volumes = [uid for uid, (_, kind) in resources.items() if kind == "shares"]
        images = _entries(self.service_dir / "volumes")
        found += [f"image {name}" for name in images if Path(name).stem not in volumes]
        ids = {name.rpartition("/")[2]: uid for uid, (name, kind) in resources.items() if kind == "fileServers"}
        places = {str(self.data / id / share) for id, uid in ids.items() for share in wanted.get(uid, ())}
        found += [f"mount {point}" for point in cleanup.mounts(str(self.state)) if point not in places]
        for id in _entries(self.data):
            below = [str(self.data / id / name) for name in _entries(self.data / id)]
            found += [f"data {path}" for path in below if path not in places | paths]
            if id not in ids:
                found.append(f"data {id}")
        return found

    def hosted(self) -> set[str]:
        found = {Path(base).name for base in self.instances()}
        words = {pid: words_of(pid) for pid in self.processes()}
        return found | {f"process {pid}" for pid, w in words.items() if w and not any(u.encode() in w for u in found)}

    def stored(self, server: Server) -> int:
        return len(_entries(self.data / server.id))

    def flaws(self, server: Server, volumes: int) -> Sequence[str]:
        found = [f"instance {base}" for base in self.instances() if Path(base).name != server.uid]
        mode = stat.S_IMODE(Path(self.conf(server)).with_name("private").stat().st_mode)
        if mode != 0o700:
            found.append(f"private has mode {mode:o}")
        if len(images := _entries(self.service_dir / "volumes")) != volumes:
            found.append(f"images {images}")
        kinds = {kind for (kind,) in self.rows("SELECT kind FROM claims")}
        return found if kinds == {"address", "instance", "directory", "volume"} else [*found, f"claims {kinds}"]

    def look(self) -> Mapping[str, Any]:
        return {
            "data": sorted(os.path.join(root, n) for root, ds, fs in os.walk(self.data) for n in (*ds, *fs)),
            "instances": sorted(self.instances()),
            "mounts": cleanup.mounts(str(self.state)),
        }


def words_of(pid: int) -> bytes:
    """Environment and arguments; empty for one that has just ended, as smbd's children do after their clients."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _entries(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.exists() else []
