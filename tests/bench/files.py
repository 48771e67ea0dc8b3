"""Reading and writing over a share of ours, against the same smbd with stock settings and the same level of security."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pvesmb

from tests.bench.measuring import Row, ratio, seconds
from tests.e2e.addresses import PORT, free_address
from tests.e2e.deployment import Deployment
from tests.e2e.native import NativeDeployment
from tests.e2e.waiting import until
from tests.e2e.words import MIB, Server, password, user_rule, users

USER = "ann"
FILES, FILE_BYTES = 1000, 4096
#: Where it keeps its things, whom it lets in, and the three settings that make up the level of security: Samba's defaults
#: for the rest.
STOCK = """
[global]
  server min protocol = SMB3
  server signing = required
  server smb encrypt = desired
  smb ports = {port}
  interfaces = {address}/8
  bind interfaces only = yes
  disable netbios = yes
  private dir = {base}/private
  state directory = {base}/state
  lock directory = {base}/lock
  cache directory = {base}/cache
  pid directory = {base}/pid
  ncalrpc dir = {base}/ncalrpc
  log file = {base}/smbd.log
  passdb backend = tdbsam:{base}/private/passdb.tdb
[files]
  path = {base}/files
  read only = no
"""


@dataclass(frozen=True)
class Target:
    """A share, as smbclient reaches it, of the smbd with this smb.conf."""

    address: str
    share: str
    conf: str
    port: int = PORT

    def run(self, command: str, login: Path) -> None:
        subprocess.run([*self._client(login), "-c", command], check=True, capture_output=True)

    def security(self, login: Path) -> dict[str, Any]:
        """Dialect, encryption and signing of a session, as the server tells them: a line that begins with `!` is for the
        shell, while smbclient(1) is connected."""
        ask = f"!smbstatus -s {self.conf} --json -p\n"
        told = subprocess.run(self._client(login), input=ask, check=True, capture_output=True, text=True).stdout
        status = json.loads(told[told.index("{") : told.rindex("}") + 1])
        [session] = status["sessions"].values()
        return {key: session[key] for key in ("session_dialect", "encryption", "signing")}

    def _client(self, login: Path) -> list[str]:
        return ["smbclient", f"//{self.address}/{self.share}", "-p", str(self.port), "-s", "/dev/null", "-A", str(login)]


def throughput(deployment: NativeDeployment, mib: int, rounds: int) -> list[Row]:
    """Medians of rounds in which the two take turns, each beginning every other round."""
    with tempfile.TemporaryDirectory(prefix="pvesmb-bench-", dir="/dev/shm") as memory:
        source, login = Path(memory, "source"), Path(memory, "login")
        with open(source, "wb") as file:
            for _ in range(mib):
                file.write(os.urandom(MIB))
        login.write_text(f"username={USER}\npassword={password(USER)}\n")
        server = deployment.new_server(users=users(USER), shares={"files": pvesmb.Share(access=[user_rule(USER)])})
        with stock(deployment) as theirs:
            targets = {"ours": Target(server.endpoint[0], "files", deployment.conf(server)), "stock": theirs}
            ours, stocks = (target.security(login) for target in targets.values())
            assert ours == stocks, "not the same level of security"
            taken: dict[tuple[str, str], list[float]] = {}
            for i in range(rounds + 1):
                for name in sorted(targets, reverse=bool(i % 2)):
                    for what, command in (("write", f"put {source} f"), ("read", "get f /dev/null")):
                        took = seconds(partial(targets[name].run, command, login))
                        if i:
                            taken.setdefault((what, name), []).append(took)
                    targets[name].run("del f", login)
    speed = {key: mib / statistics.median(values) for key, values in taken.items()}
    size = f"{mib / 1024:g} GiB"
    return [
        ratio(
            f"sequential {what} of {size} over our share, over stock smbd", 0.97,
            speed[what, "ours"], speed[what, "stock"], "MiB/s", least=True,
        )
        for what in ("write", "read")
    ]  # fmt: skip


def between_modes(native: Deployment, lxc: Deployment, mib: int, rounds: int) -> list[Row]:
    """Shares of both on volumes of their own, which are XFS in files of the same disk: one large file, and many small ones.
    Medians of rounds in which the two take turns, each beginning every other round."""
    with tempfile.TemporaryDirectory(prefix="pvesmb-bench-", dir="/dev/shm") as memory:
        source, small, back, login = (Path(memory, name) for name in ("source", "small", "back", "login"))
        source.write_bytes(os.urandom(mib * MIB))
        for directory in (small, back):
            directory.mkdir()
        for i in range(FILES):
            (small / f"f{i}").write_bytes(os.urandom(FILE_BYTES))
        login.write_text(f"username={USER}\npassword={password(USER)}\n")
        storage = pvesmb.VolumeStorage(size_bytes=(2 * mib + 512) * MIB)
        share = pvesmb.Share(volume=storage, access=[user_rule(USER)])
        targets = {}
        for mode, deployment in (("native", native), ("lxc", lxc)):
            spec = deployment.spec()
            if mode == "lxc":
                # Else it would be one core and the page cache of a small container against those of the machine.
                spec.lxc.placement.cores, spec.lxc.placement.memory_bytes = os.cpu_count() or 1, 4 << 30
            create = deployment.client.file_servers.create
            made = create(deployment.backend, deployment.new_id(), spec, users=users(USER), shares={"files": share})
            server = Server(made.result(timeout=100))
            address, port = server.endpoint
            targets[mode] = Target(address, "files", deployment.conf(server), port)
        work = {
            "write of a large file": f"put {source} f",
            "read of a large file": "get f /dev/null",
            "write of small files": f"prompt off; lcd {small}; mput *",
            "read of small files": f"prompt off; lcd {back}; mget f*",
        }
        after = {"read of a large file": "del f", "read of small files": "del f*"}

        speed = {}
        for kind, amount in (("large file", mib), ("small files", FILES)):
            both: dict[str, dict[str, list[float]]] = {}
            for i in range(rounds + 1):
                for mode in sorted(targets, reverse=bool(i % 2)):
                    for what in (what for what in work if kind in what):
                        took = seconds(partial(targets[mode].run, work[what], login))
                        if what in after:
                            targets[mode].run(after[what], login)
                        if i:
                            both.setdefault(what, {}).setdefault(mode, []).append(took)
            for what, taken in both.items():
                speed[what] = {mode: amount / statistics.median(values) for mode, values in taken.items()}
    size = f"{mib / 1024:g} GiB"
    named = {
        "write of a large file": (f"sequential write of {size}", "MiB/s"),
        "read of a large file": (f"sequential read of {size}", "MiB/s"),
        "write of small files": (f"writing {FILES:,} files of 4 KiB", "files/s"),
        "read of small files": (f"reading {FILES:,} files of 4 KiB", "files/s"),
    }
    return [
        ratio(f"{text}, share in a container, over native mode", 0.9, of["lxc"], of["native"], unit, least=True)
        for what, of in speed.items()
        for text, unit in [named[what]]
    ]


@contextmanager
def stock(deployment: NativeDeployment) -> Iterator[Target]:
    """An smbd that is not ours, beside ours. Its one user is seen by nss_wrapper(1), as ours are."""
    base, address = deployment.state / "stock", free_address()
    for name in ("private", "state", "lock", "cache", "pid", "ncalrpc", "files"):
        (base / name).mkdir(parents=True, exist_ok=True)
    os.chmod(base / "files", 0o777)
    (base / "passwd").write_text(f"{Path('/etc/passwd').read_text()}{USER}:x:72001:72001::/:/bin/false\n")
    (base / "group").write_text(f"{Path('/etc/group').read_text()}{USER}:x:72001:\n")
    conf = base / "smb.conf"
    conf.write_text(STOCK.format(base=base, address=address, port=PORT))
    environment = {
        **os.environ,
        "LD_PRELOAD": "libnss_wrapper.so",
        "NSS_WRAPPER_PASSWD": str(base / "passwd"),
        "NSS_WRAPPER_GROUP": str(base / "group"),
    }
    twice = f"{password(USER)}\n" * 2
    add = ["smbpasswd", "-c", str(conf), "-a", "-s", USER]
    subprocess.run(add, input=twice, env=environment, check=True, capture_output=True, text=True)
    argv = ["smbd", "--foreground", "--no-process-group", "-s", str(conf)]
    with open(base / "out", "wb") as log:
        # At its end smbd ends its whole process group.
        process = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)
    try:
        until((base / "pid" / "smbd.pid").exists, f"stock smbd; see {base}/out", 10)
        yield Target(address, "files", str(conf))
    finally:
        process.terminate()
        process.wait()
