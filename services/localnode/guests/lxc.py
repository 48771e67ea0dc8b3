"""Containers by Debian's LXC 5.0: unprivileged, below a directory of our own, in a network namespace that is given.

Ids 0 to 65535 inside are 100000 to 165535 on the disk, as on a Proxmox VE node, so a volume needs no id-mapped mount.
Every `lxc-*` command runs in the namespace of the bridges: its command socket is abstract and therefore belongs to a
network namespace; it looks the bridge up in that namespace's /sys, and needs the machine's cgroups in it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.localnode.guests import network
from services.localnode.guests.ports import Address, ContainerPlan, GuestError, Interface, Mount, Network, Usage

ID_FIRST, ID_COUNT = 100_000, 65_536
_ENTER = (
    'cg=$1; shift; mount --rbind /sys/fs/cgroup "$cg" && mount -t sysfs none /sys '
    '&& mount --rbind "$cg" /sys/fs/cgroup && exec "$@"'
)
_UNPACK = {".gz": "--gzip", ".xz": "--xz", ".zst": "--zstd", ".bz2": "--bzip2", ".tar": "--no-auto-compress"}
_PARTS = r"""
part() { while IFS= read -r line && [ "$line" != . ]; do printf '%s\n' "$line"; done; }
set -e
"""
#: These run inside the root volume, as its root. Data comes on stdin: parts that each end with a line of one dot. The first
#: runs at every start, as a node writes these files anew each time.
_ADAPT = rf"""{_PARTS}
part > /etc/hostname
part > /etc/hosts
mkdir -p /etc/network && part > /etc/network/interfaces
part > /etc/resolv.conf.new
if [ -s /etc/resolv.conf.new ]; then mv -f /etc/resolv.conf.new /etc/resolv.conf; else rm -f /etc/resolv.conf.new; fi
"""
_SET_UP = rf"""{_PARTS}
mkdir -p -m 700 /root/.ssh && part > /root/.ssh/authorized_keys && chmod 600 /root/.ssh/authorized_keys
IFS= read -r password || password=
[ -z "$password" ] || printf 'root:%s\n' "$password" | chpasswd
"""


class LxcContainers:
    """See `Containers`. The directory and those above it must let others pass (mode 0711): root inside is nobody here."""

    def __init__(self, directory: Path, namespace: Path) -> None:
        self._directory = directory
        self._namespace = namespace
        self._cgroups = directory / ".cgroups"
        self._unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        self._cgroups.mkdir(parents=True, exist_ok=True)
        self._asking: defaultdict[int, threading.RLock] = defaultdict(threading.RLock)

    def unpack(self, template: Path, rootfs: Path) -> None:
        option = _UNPACK.get(template.suffix)
        if option is None:
            raise GuestError(f"unable to detect the compression of '{template.name}'")
        tar = ["tar", "-x", "-p", "--numeric-owner", "--exclude=./dev/*", "-f", "-"]
        if option != "--no-auto-compress":
            tar.insert(1, option)
        with template.open("rb") as archive:
            _run([*_as_inner_root(), *tar], stdin=archive.fileno(), cwd=rootfs)

    def set_up(self, plan: ContainerPlan, *, ssh_keys: str, password: str) -> None:
        network.check(plan.networks)
        if ssh_keys or password:
            _inside(plan.rootfs, _SET_UP, [ssh_keys.strip()], password)

    def adapt(self, plan: ContainerPlan) -> None:
        network.check(plan.networks)
        parts = [plan.hostname, network.hosts(plan.hostname, plan.networks), network.interfaces_file(plan.networks)]
        resolver = [f"search {plan.searchdomain}"] if plan.searchdomain else []
        parts.append("\n".join(resolver + [f"nameserver {address}" for address in plan.nameservers]))
        _inside(plan.rootfs, _ADAPT, parts)

    def start(self, plan: ContainerPlan) -> None:
        self.adapt(plan)
        for net in plan.networks:
            if net.vlan:
                self._open_vlan(network.bridge_of(net))
        with self._asking[plan.vmid]:
            self._start(plan)
            self._pid(plan.vmid)

    def _start(self, plan: ContainerPlan) -> None:
        own = self._directory / str(plan.vmid)
        own.mkdir(parents=True, exist_ok=True)
        (own / "config").write_text(self._config(plan))
        (own / "pid").unlink(missing_ok=True)
        log = own / "log"
        log.unlink(missing_ok=True)
        try:
            self._lxc("lxc-start", plan.vmid, "-d", "-l", "WARN", "-o", str(log))
        except GuestError as error:
            there = self.bridges()
            for net in plan.networks:
                if net.bridge and network.bridge_of(net) not in there:
                    raise GuestError(f"bridge '{net.bridge}' does not exist") from error
            last = log.read_text(errors="replace").splitlines()[-1:] if log.exists() else []
            raise GuestError(f"startup for container '{plan.vmid}' failed: {' '.join(last) or error}") from error

    def running(self, vmid: int) -> bool:
        return self._pid(vmid) > 0

    def shutdown(self, vmid: int, timeout: float) -> bool:
        try:
            self._lxc("lxc-stop", vmid, "--nokill", "--timeout", str(max(1, int(timeout))))
        except GuestError:
            return not self.running(vmid)
        return True

    def stop(self, vmid: int) -> None:
        if self.running(vmid):
            self._lxc("lxc-stop", vmid, "--kill")

    def forget(self, vmid: int) -> None:
        own = self._directory / str(vmid)
        if own.is_dir():
            for file in own.iterdir():
                file.unlink()
            own.rmdir()

    def mount(self, vmid: int, mount: Mount) -> None:
        pid = self._pid(vmid)
        if not pid:
            raise GuestError(f"CT {vmid} not running")
        program, how = Path(__file__).with_name("hotplug.py"), "ro" if mount.read_only else "rw"
        _run([sys.executable, str(program), str(pid), str(mount.source), mount.target, how])

    def limit(self, vmid: int, limits: Mapping[str, int]) -> None:
        for key, value in self._limits(limits.get("memory", 0), limits.get("cores", 0)):
            self._lxc("lxc-cgroup", vmid, key, value)

    def usage(self, vmid: int) -> Usage | None:
        pid = self._pid(vmid)
        if not pid:
            return None
        ticks = _began(pid)
        if not ticks:
            return None
        uptime = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return Usage(pid=pid, memory_bytes=self._memory(pid), uptime_seconds=max(0, int(uptime)))

    def readdress(self, plan: ContainerPlan, old: Network, new: Network) -> None:
        pid = self._pid(plan.vmid)
        if not pid:
            raise GuestError(f"CT {plan.vmid} not running")
        self.adapt(plan)
        for arguments in network.readdress(old, new):
            _run(["nsenter", f"--net=/proc/{pid}/ns/net", "--", "ip", *arguments])

    def bridges(self) -> Sequence[str]:
        links = json.loads(_run(self._ip("-json", "link", "show", "type", "bridge")) or "[]")
        return sorted(link["ifname"] for link in links if link)

    def interfaces(self, vmid: int) -> Sequence[Interface] | None:
        pid = self._pid(vmid)
        if not pid:
            return None
        found = json.loads(_run(["nsenter", f"--net=/proc/{pid}/ns/net", "--", "ip", "-j", "address"]))
        return [
            Interface(
                entry["ifname"],
                entry.get("address", ""),
                [Address(a["family"], a["local"], a["prefixlen"]) for a in entry["addr_info"]],
            )
            for entry in found
        ]

    def _config(self, plan: ContainerPlan) -> str:
        lines = [
            "lxc.include = /usr/share/lxc/config/common.conf",
            "lxc.arch = x86_64",
            f"lxc.rootfs.path = dir:{plan.rootfs}",
            f"lxc.idmap = u 0 {ID_FIRST} {ID_COUNT}",
            f"lxc.idmap = g 0 {ID_FIRST} {ID_COUNT}",
            f"lxc.uts.name = {plan.hostname}",
            "lxc.apparmor.profile = unconfined",
            f"lxc.mount.auto = {'proc:rw sys:rw' if plan.nesting else 'proc:mixed sys:mixed'} cgroup:rw",
        ]
        for number, net in enumerate(plan.networks):
            at = f"lxc.net.{number}"
            lines += [f"{at}.type = veth", f"{at}.flags = up", f"{at}.name = {net.name}", f"{at}.hwaddr = {net.hwaddr}"]
            lines += [f"{at}.veth.pair = veth{plan.vmid}i{number}"]
            lines += [f"{at}.link = {network.bridge_of(net)}"] if net.bridge else []
        for mount in plan.mounts:
            target, options = mount.target.strip("/").replace(" ", "\\040"), "bind,create=dir"
            read_only = ",ro" if mount.read_only else ""
            lines.append(f"lxc.mount.entry = {mount.source!s} {target} none {options}{read_only} 0 0")
        prefix = "lxc.cgroup2" if self._unified else "lxc.cgroup"
        lines += [f"{prefix}.{key} = {value}" for key, value in self._limits(plan.memory_mib, plan.cores)]
        if any(not line.isprintable() or "/../" in f"{line}/" for line in lines):
            raise GuestError("a value of the configuration holds control characters or leaves its directory")
        return "\n".join(lines) + "\n"

    def _limits(self, memory_mib: int, cores: int) -> list[tuple[str, str]]:
        """Keys of the cgroup version that this machine has."""
        found = []
        if memory_mib:
            key = "memory.max" if self._unified else "memory.limit_in_bytes"
            found.append((key, str(memory_mib << 20)))
        if cores:
            found.append(("cpuset.cpus", f"0-{min(cores, os.cpu_count() or 1) - 1}"))
        return found

    def _pid(self, vmid: int) -> int:
        """The container's first process; 0 if it does not run. LXC is asked once after each start and once after each end;
        between them a file tells, with the time at which the process began."""
        own = self._directory / str(vmid)
        if not (own / "config").exists():
            return 0
        with self._asking[vmid]:
            try:
                pid, began = map(int, (own / "pid").read_text().split())
            except (OSError, ValueError):
                pid, began = -1, -1
            if pid == 0 or (pid > 0 and _began(pid) == began):
                return pid
            out = self._lxc("lxc-info", vmid, "--pid", "--state", "--no-humanize").split()
            pid = next((int(word) for word in out if word.isdigit()), 0)
            if _began(pid) or "STOPPED" in out:  # and not between two lives, when it starts itself anew
                (own / "pid").write_text(f"{pid} {_began(pid)}")
        return pid

    def _open_vlan(self, bridge: str) -> None:
        """Bridges of tags are made at need, and stay."""
        if subprocess.run(self._ip("link", "show", bridge), capture_output=True, check=False).returncode != 0:
            try:
                _run(self._ip("link", "add", bridge, "type", "bridge", "forward_delay", "0"))
            except GuestError:
                _run(self._ip("link", "show", bridge))  # another start was first
        _run(self._ip("link", "set", bridge, "up"))

    def _ip(self, *arguments: str) -> list[str]:
        return ["nsenter", f"--net={self._namespace}", "--", "ip", *arguments]

    def _memory(self, pid: int) -> int:
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            base = Path("/sys/fs/cgroup") if self._unified else Path("/sys/fs/cgroup/memory")
            # The first process may have moved into a group of its own below that of its container.
            own = re.match(r"/(.*?lxc\.payload\.[^/]+)", path)
            file = (
                base
                / (own[1] if own else path.lstrip("/"))
                / ("memory.current" if self._unified else "memory.usage_in_bytes")
            )
            if (not controllers or "memory" in controllers.split(",")) and file.exists():
                return int(file.read_text())
        return 0

    def _lxc(self, program: str, vmid: int, *arguments: str) -> str:
        enter = ["nsenter", f"--net={self._namespace}", "--", "unshare", "-m", "--propagation", "slave"]
        own_sys = ["sh", "-c", _ENTER, "_", str(self._cgroups)]
        return _run([*enter, *own_sys, program, "-P", str(self._directory), "-n", str(vmid), *arguments])


def _began(pid: int) -> int:
    """When the process began, in ticks since boot; 0 if there is none, or one that has ended."""
    try:
        # Fields 3 and 22 of proc(5)'s stat; the name before them may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def _inside(rootfs: Path, script: str, parts: Sequence[str], last: str = "") -> None:
    if any(line == "." for part in parts for line in part.splitlines()):
        raise GuestError("a line with only a dot cannot be set up")
    text = "".join(f"{part}\n.\n" if part else ".\n" for part in parts) + last + "\n"
    _run([*_as_inner_root(), "chroot", ".", "/bin/sh", "-c", script], text=text, cwd=rootfs)


def _as_inner_root() -> list[str]:
    """A user namespace with the containers' ids; the working directory is kept, so no path above it need be open."""
    mapped = [f"{kind}:0:{ID_FIRST}:{ID_COUNT}" for kind in ("u", "g")]
    return ["lxc-usernsexec", "-m", mapped[0], "-m", mapped[1], "--"]


def _run(argv: Sequence[str], *, stdin: int = subprocess.DEVNULL, text: str | None = None, cwd: Path | None = None) -> str:
    """The output of a program that did well; else GuestError with the last line that it said."""
    source: dict[str, object] = {"stdin": stdin} if text is None else {}
    done = subprocess.run(
        argv,
        input=None if text is None else text.encode(),
        capture_output=True,
        cwd=cwd,
        check=False,
        **source,  # type: ignore[call-overload]
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise GuestError(f"command '{argv[0]}' failed: {said[-1] if said else f'exit code {done.returncode}'}")
    return str(done.stdout.decode(errors="replace"))
