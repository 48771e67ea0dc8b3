"""The steps of LXC mode between the container and Samba: it runs, has an address, lets us in, and has smbd."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from services.core.errors import HostNotPrepared, HostUnreachable, OperationCancelled, PvesmbError, SambaUnavailable
from services.core.ports import Completed, Host
from services.core.steps import Step, Work
from services.lxc.known import guest_of, note_addresses
from services.lxc.settings import LAYOUT, deployment
from services.proxmox import containers, tasks
from services.proxmox.containers import Guest, Interface
from services.proxmox.failures import Kind, kind_of
from services.proxmox.session import Api
from services.samba import config

START_TIMEOUT = 120.0
ADDRESS_SECONDS = 60.0
LOGIN_SECONDS = 60.0
INSTALL_SECONDS = 900.0
#: What a Debian template lacks that is not ours.
PACKAGES = ("samba", "samba-vfs-modules", "python3-samba", "libnss-extrausers", "attr")
#: What smbd was started with: kept in memory, written at each start.
RUNNING_CONF = f"{LAYOUT.pid_dir}/pvesmb-running.conf"
#: Keeps packages from starting what they bring while they are installed.
_POLICY = "/usr/sbin/policy-rc.d"
DROP_IN = "/etc/systemd/system/smbd.service.d/pvesmb.conf"
#: Our template has it; a container made from another gets it.
_DROP_IN = (Path(__file__).parent / "template" / "root" / DROP_IN.lstrip("/")).read_bytes()
NSSWITCH = "/etc/nsswitch.conf"


class StartStep:
    """The container runs."""

    name = "start"
    server_only = True

    def __init__(self, api: Api) -> None:
        self._api = api

    def ensure(self, work: Work) -> None:
        guest = guest_of(work.claims, work.server.uid)
        if containers.read_status(self._api, guest).running:
            return
        try:
            tasks.wait(self._api, containers.start(self._api, guest), timeout=START_TIMEOUT, cancelled=work.cancelled)
        except PvesmbError as error:
            # Somebody else was faster, or the answer was lost.
            if kind_of(error) is not Kind.RUNNING and not containers.read_status(self._api, guest).running:
                raise

    def remove(self, work: Work) -> None:
        """Nothing: it is removed as it runs."""


class AddressStep:
    """The container has the addresses that its network shall give it, and we know them."""

    name = "address"
    server_only = True

    def __init__(self, api: Api, seconds: float = ADDRESS_SECONDS) -> None:
        self._api = api
        self._seconds = seconds

    def ensure(self, work: Work) -> None:
        guest = guest_of(work.claims, work.server.uid)
        for _ in pauses(work, self._seconds):
            if seen := self.look(work, guest):
                note_addresses(work.claims, work.server.uid, seen)
                return
        raise HostUnreachable(
            f"{guest.subject} has not got its address within {self._seconds:.0f} s",
            help="See whether a DHCP server answers on its bridge and VLAN, or give it a fixed network.ipv4_address.",
        )

    def look(self, work: Work, guest: Guest) -> Sequence[str]:
        """Its addresses, the one that we use first; empty while one that must come has not."""
        network = deployment(work.server.spec).network
        found = [str(ip) for ip in _usable(containers.interfaces(self._api, guest))]
        v4, v6 = [a for a in found if ":" not in a], [a for a in found if ":" in a]
        needs = [(network.ipv4_address, v4), (network.ipv6_address, v6)]
        if network.ipv4_address != "none" and network.ipv6_address == "auto":
            needs.pop()
        if all(_has(wanted, have) for wanted, have in needs):
            return [*v4, *v6]
        return []

    def remove(self, work: Work) -> None:
        """Nothing: what we know goes with the container."""


class PrepareStep:
    """We can log in, and what Samba needs is installed: by the template, or now. `host` reaches the container."""

    name = "prepare"
    server_only = True

    def __init__(self, host: Callable[[Work], Host], seconds: float = LOGIN_SECONDS) -> None:
        self._host = host
        self._seconds = seconds

    def ensure(self, work: Work) -> None:
        host, told = self._wait(work)
        # An installation that was interrupted has left its guard behind.
        if told.returncode or _read(host, _POLICY) is not None:
            self._install(work, host)
        if b"extrausers" not in (text := host.read_file(NSSWITCH)):
            host.write_file(NSSWITCH, _with_extrausers(text), 0o644)

    def _wait(self, work: Work) -> tuple[Host, Completed]:
        """The host, when it can be asked, and what it says of the packages."""
        trouble: PvesmbError | None = None
        for _ in pauses(work, self._seconds):
            try:
                host = self._host(work)
                return host, _run(host, "dpkg", "--status", *PACKAGES)
            except HostUnreachable as error:
                trouble = error
        assert trouble is not None
        raise trouble

    def _install(self, work: Work, host: Host) -> None:
        """From Debian's mirrors, as the container is configured to reach them."""
        work.note("the template has no Samba: it was installed, which takes a minute; BuildTemplate makes one that has")
        apt = ("apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120")
        install = (*apt, "install", "--no-install-recommends", *PACKAGES)
        # The package would start smbd with a configuration that is not ours.
        host.write_file(_POLICY, b"#!/bin/sh\nexit 101\n", 0o755)
        try:
            for argv in (("dpkg", "--configure", "-a"), (*apt, "update"), install):
                done = _run(host, "env", "DEBIAN_FRONTEND=noninteractive", *argv, timeout=INSTALL_SECONDS)
                if done.returncode:
                    told = done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
                    raise HostNotPrepared(
                        "Samba could not be installed in the container",
                        help="Give the container a way to Debian's packages, or use a template made by BuildTemplate.",
                        metadata={"log": "\n".join(told)},
                    )
            for words in (("mask", "nmbd", "winbind", "samba-ad-dc"), ("disable", "smbd")):
                _run(host, "systemctl", *words)
        finally:
            host.remove(_POLICY)

    def remove(self, work: Work) -> None:
        """Nothing: what is installed goes with the container."""


class ProcessStep:
    """smbd runs with the configuration as it is now, and starts with the container."""

    name = "process"
    server_only = True

    def __init__(self, host: Callable[[Work], Host]) -> None:
        self._host = host

    def ensure(self, work: Work) -> None:
        host = self._host(work)
        if _read(host, DROP_IN) != _DROP_IN:
            _run(host, "mkdir", "-p", os.path.dirname(DROP_IN))
            host.write_file(DROP_IN, _DROP_IN, 0o644)
            _systemctl(host, "daemon-reload")
        verb = "start"
        if _run(host, "systemctl", "is-active", "smbd").returncode == 0 and self.would_restart(host):
            verb = "restart"
        if _run(host, "systemctl", "is-enabled", "smbd").returncode:
            _systemctl(host, "enable", "smbd")
        _systemctl(host, verb, "smbd")

    def would_restart(self, host: Host, new: bytes | None = None) -> bool:
        """Whether a running smbd has to be restarted for the configuration in place, or for a `new` one."""
        return config.needs_restart(_read(host, RUNNING_CONF), new if new is not None else host.read_file(LAYOUT.conf))

    def remove(self, work: Work) -> None:
        """Nothing: smbd ends with the container."""


class Inside:
    """A step within the container. When the whole file server is removed there is nothing to undo in there: the container
    goes, and need not run for that."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.name = step.name
        self.server_only = step.server_only

    def ensure(self, work: Work) -> None:
        self._step.ensure(work)

    def remove(self, work: Work) -> None:
        if not work.whole:
            self._step.remove(work)


def pauses(work: Work, seconds: float) -> Iterator[None]:
    """Tries at once, then after pauses that grow, until the time is over; ends early when nobody wants it any more."""
    end, pause = time.monotonic() + seconds, 0.05
    while True:
        yield
        if time.monotonic() >= end:
            return
        if work.cancelled():
            raise OperationCancelled("the operation was cancelled and undone")
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)


def _usable(interfaces: Sequence[Interface]) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    for interface in interfaces:
        if interface.name != "lo":
            yield from (each.ip for each in interface.addresses if not each.ip.is_link_local)


def _has(wanted: str, have: Sequence[str]) -> bool:
    if wanted == "none":
        return True
    if wanted in ("dhcp", "auto"):
        return bool(have)
    return str(ipaddress.ip_interface(wanted).ip) in have


def _with_extrausers(text: bytes) -> bytes:
    lines = []
    for line in text.decode("utf-8", "replace").splitlines():
        database = line.partition(":")[0].strip()
        lines.append(f"{line.rstrip()} extrausers" if database in ("passwd", "group") else line)
    return ("\n".join(lines) + "\n").encode()


def _read(host: Host, path: str) -> bytes | None:
    try:
        return host.read_file(path)
    except FileNotFoundError:
        return None


def _run(host: Host, *argv: str, timeout: float = 30.0) -> Completed:
    return host.run(argv, timeout=timeout)


def _systemctl(host: Host, *argv: str) -> None:
    done = _run(host, "systemctl", *argv, timeout=60.0)
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise SambaUnavailable(
            f"systemctl {' '.join(argv)} failed in the container",
            help="See `journalctl -u smbd` in the container.",
            metadata={"log": "\n".join(told)},
        )
