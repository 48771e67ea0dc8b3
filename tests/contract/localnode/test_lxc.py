"""Real containers: the API on one side, a process in a network namespace on the other."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.localnode.__main__ import compose
from services.localnode.config import LocalNodeConfig, StorageConfig
from services.localnode.guests.lxc import LxcContainers
from services.localnode.guests.ports import Containers
from services.localnode.machine import close_machine, open_machine
from tests.contract.localnode.conftest import PASSWORD, Client, Lab, close_lab
from tests.contract.localnode.fake import FakeContainers, FakeVolumes

pytestmark = pytest.mark.root

NEEDED = ("lxc-start", "lxc-usernsexec", "ip", "mkfs.xfs", "mkfs.btrfs", "losetup")
BUSYBOX = "/bin/busybox"
INIT = """#!/bin/sh
trap 'exit 0' PWR
while read -r key value rest; do
  case $key in
    iface) device=$value;;
    address) ip address add "$value" dev "$device";;
  esac
done < /etc/network/interfaces
while :; do sleep 1 & wait $!; done
"""
#: Debian's busybox has none of its own.
CHPASSWD = "#!/bin/sh\ncat > /root/was-set\n"
APPLETS = ("sh", "sleep", "ip", "mkdir", "chmod", "mv", "rm", "cat", "df", "true")
#: A refused connection is an answer of the container's own kernel side: packets go there and back.
REACHED = """
import socket
try:
    socket.create_connection(("10.97.0.12", 445), timeout=10)
except ConnectionRefusedError:
    pass
"""
CT = "/nodes/pve1/lxc"


def _static_busybox() -> bool:
    """Whether there is one that needs no library (ldd(1) names those of another)."""
    return os.path.exists(BUSYBOX) and "=>" not in subprocess.run(["ldd", BUSYBOX], capture_output=True, text=True).stdout


missing = [program for program in NEEDED if shutil.which(program) is None]
if not _static_busybox():
    missing.append("busybox-static")
if os.geteuid() != 0:
    missing.append("root")


def tiny_template(file: Path) -> None:
    """A container of one program: enough to start, to bring up its interface, and to be asked."""
    with tarfile.open(file, "w:gz") as tar:
        for name in ("bin", "sbin", "etc", "etc/network", "proc", "sys", "dev", "root", "run", "tmp", "var"):
            entry = tarfile.TarInfo(f"./{name}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        tar.add(BUSYBOX, "./bin/busybox", filter=_as_root)
        for name in APPLETS:
            entry = tarfile.TarInfo(f"./bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        passwd = "root:x:0:0::/root:/bin/sh\n"
        for name, text, mode in (
            ("sbin/init", INIT, 0o755), ("bin/chpasswd", CHPASSWD, 0o755), ("etc/passwd", passwd, 0o644),
        ):  # fmt: skip
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode = len(text), mode
            tar.addfile(entry, io.BytesIO(text.encode()))


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.mode = 0o755
    return entry


@pytest.fixture
def namespace() -> Iterator[str]:
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    name = f"pvesmb-ln-{os.getpid()}"
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        _run("ip", "-n", name, "link", "add", "vmbr0", "type", "bridge", "forward_delay", "0")
        _run("ip", "-n", name, "address", "add", "10.97.0.1/24", "dev", "vmbr0")
        _run("ip", "-n", name, "link", "set", "vmbr0", "up")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def open_real(directory: Path, namespace: str) -> Lab:
    containers: Containers = LxcContainers(directory / "lxc", Path(f"/run/netns/{namespace}"))
    settings = LocalNodeConfig(
        state_dir=str(directory), port=0, root_password_file=str(directory / "password"), storages=_storages(directory)
    )
    open_machine(directory, settings.storages)
    node, server = compose(settings, containers)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return Lab(node, server, FakeContainers(), FakeVolumes(), directory)


def _storages(directory: Path) -> dict[str, StorageConfig]:
    return {
        "local": StorageConfig(path=str(directory / "local")),
        "fast": StorageConfig(kind="btrfs", path=str(directory / "fast"), size_bytes=1 << 30),
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """State that root inside a container may pass through: pytest's own directories let nobody."""
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(above.stat().st_mode | 0o011)
    (tmp_path / "password").write_text(PASSWORD)
    cache = tmp_path / "local" / "template" / "cache"
    cache.mkdir(parents=True)
    return tmp_path


def test_a_real_container(namespace: str, directory: Path) -> None:
    lab = open_real(directory, namespace)
    tiny_template(directory / "local/template/cache/tiny.tar.gz")
    root = lab.root()
    try:
        upid = root.must(
            "POST", CT, vmid=102, ostemplate="local:vztmpl/tiny.tar.gz", rootfs="fast:0.0625", hostname="smb-1",
            net0="name=eth0,bridge=vmbr0,ip=10.97.0.12/24,gw=10.97.0.1", memory=64, password="secret1",
            mp0="local:0.3125,mp=/srv/share one", ssh__public__keys="ssh-ed25519 AAAA x",
        )  # fmt: skip
        assert lab.wait(upid) == "OK"
        assert lab.wait(root.must("POST", f"{CT}/102/status/start")) == "OK"
        assert _address(root) == "10.97.0.12/24"
        status = root.must("GET", f"{CT}/102/status/current")
        inside = Path(f"/proc/{status['pid']}/root")
        assert (inside / "etc/hostname").read_text() == "smb-1\n"
        assert (inside / "root/.ssh/authorized_keys").read_text() == "ssh-ed25519 AAAA x\n"
        assert (inside / "root/was-set").read_text() == "root:secret1\n"
        assert Path(f"/proc/{status['pid']}").stat().st_uid == 100000
        _run("ip", "netns", "exec", namespace, sys.executable, "-c", REACHED)
        assert 250 << 20 < _size(inside / "srv/share one") < 260 << 20  # less its log of 64 MiB
        close_lab(lab)
        lab = open_real(directory, namespace)
        root = lab.root()
        assert root.must("GET", f"{CT}/102/status/current")["pid"] == status["pid"]
        root.must("PUT", f"{CT}/102/config", mp1="fast:0.03125,mp=/srv/added")
        root.must("PUT", f"{CT}/102/config", mp2="local:0.3125,mp=/srv/fixed,ro=1")
        assert os.statvfs(inside / "srv/fixed").f_flag & os.ST_RDONLY
        assert (inside / "srv/added").stat().st_uid == 100000
        assert lab.wait(root.must("POST", f"{CT}/102/status/shutdown", timeout=20)) == "OK"
        assert root.must("GET", f"{CT}/102/interfaces") is None
        assert lab.wait(root.must("PUT", f"{CT}/102/resize", disk="mp0", size="+32M")) == "OK"
        assert lab.wait(root.must("POST", f"{CT}/102/status/start")) == "OK"
        pid = root.must("GET", f"{CT}/102/status/current")["pid"]
        assert _size(Path(f"/proc/{pid}/root/srv/share one")) > 280 << 20
        _grow_while_it_runs(lab, root, Path(f"/proc/{pid}/root/srv/share one"))
    finally:
        gone = lab.wait(root.must("DELETE", f"{CT}/102", force=1, purge=1))
        close_lab(lab)
        close_machine(directory, _storages(directory))
    assert gone == "OK"
    assert list(directory.glob("*/images/*")) == []
    assert not any(str(directory) in line for line in Path("/proc/mounts").read_text().splitlines())


def _grow_while_it_runs(lab: Lab, root: Client, inside: Path) -> None:
    assert lab.wait(root.must("PUT", f"{CT}/102/resize", disk="mp0", size="+128M")) == "OK"
    assert root.must("GET", f"{CT}/102/config")["mp0"].endswith("size=480M")
    assert _size(inside) > 400 << 20
    wanted = shutil.disk_usage(lab.directory).free >> 30
    assert "No space left" in lab.wait(root.must("PUT", f"{CT}/102/resize", disk="mp0", size=f"{wanted + 2}G"))
    assert root.must("GET", f"{CT}/102/config")["mp0"].endswith("size=480M")


def _size(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_blocks * found.f_frsize


def _address(client: Client) -> str:
    """The address of eth0, once it has one."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for interface in client.must("GET", f"{CT}/102/interfaces"):
            if interface["name"] == "eth0" and interface.get("inet"):
                return str(interface["inet"])
    raise AssertionError("no address")


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
