"""What is there and belongs to nobody."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.e2e import cleanup
from tests.e2e.native import NativeDeployment


def orphans(deployment: NativeDeployment, wanted: Mapping[str, set[str]]) -> list[str]:
    """Everything in a deployment that does not belong to these file servers (by uid) and to their shares."""
    resources = {uid: (name, kind) for uid, name, kind in deployment.rows("SELECT uid, name, kind FROM resources")}
    found = [f"resource {name}" for uid, (name, kind) in resources.items() if kind == "fileServers" and uid not in wanted]
    found += [f"claim {row}" for row in deployment.rows("SELECT kind, value, owner FROM claims") if row[2] not in resources]
    found += [f"secret {row}" for row in deployment.rows("SELECT key FROM secrets")]
    found += [f"instance {base}" for base in deployment.instances() if Path(base).name not in wanted]
    for pid in deployment.instance_processes():
        words = words_of(pid)
        if words and not any(uid.encode() in words for uid in wanted):
            found.append(f"process {pid}: {words!r}")
    paths = {value for kind, value in deployment.rows("SELECT kind, value FROM claims") if kind == "directory"}
    volumes = [uid for uid, (_, kind) in resources.items() if kind == "shares"]
    found += [f"image {name}" for name in _entries(deployment.native_dir / "volumes") if Path(name).stem not in volumes]
    ids = {name.rpartition("/")[2]: uid for uid, (name, kind) in resources.items() if kind == "fileServers"}
    places = {str(deployment.data / id / share) for id, uid in ids.items() for share in wanted.get(uid, ())}
    found += [f"mount {point}" for point in cleanup.mounts(str(deployment.state)) if point not in places]
    for id in _entries(deployment.data):
        below = [str(deployment.data / id / name) for name in _entries(deployment.data / id)]
        found += [f"data {path}" for path in below if path not in places | paths]
        if id not in ids:
            found.append(f"data {id}")
    for uid, names in wanted.items():
        found += _in_samba(deployment, uid, names)
    return found


def _in_samba(deployment: NativeDeployment, uid: str, names: set[str]) -> list[str]:
    """Registry entries and accounts of one file server beside those of its shares and of ann."""
    conf = f"{deployment.native_dir}/servers/{uid}/smb.conf"
    listed = deployment.tool_of(uid, "net", "-s", conf, "conf", "listshares").stdout.split()
    found = [f"registry {name} in {uid}" for name in listed if "probe" not in name and name not in names]
    told = deployment.tool_of(uid, "pdbedit", "-s", conf, "-L").stdout
    accounts = [line.partition(":")[0] for line in told.splitlines()]
    return found + [f"account {name} in {uid}" for name in accounts if name != "ann" and not name.startswith("pvesmb-")]


def words_of(pid: int) -> bytes:
    """Environment and arguments; empty for one that has just ended, as smbd's children do after their clients."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _entries(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.exists() else []
