"""The steps of native mode that make, keep and unmake the instance itself; those of its volumes are in `volume_step`."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import shutil
import socket
import stat
from collections.abc import Callable
from typing import Any

from services.core.errors import AddressInUse, PathUnsuitable, PreconditionFailed, SambaUnavailable
from services.core.ports import Host
from services.core.steps import Claim, Claims, Work
from services.native import processes, smbd
from services.native.settings import NativeSettings
from services.native.supervisor import Supervisor
from services.samba.instance import Server

MARKER = "instance.json"

NeedsRestart = Callable[[bytes | None, bytes], bool]


def endpoint_text(address: str, port: int) -> str:
    """The value of the claim on an endpoint; one spelling for each."""
    ip = ipaddress.ip_address(address)
    return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"


class AddressStep:
    """The endpoints belong to this file server: claimed, addresses of this node, and listened on by nobody else."""

    name = "address"
    server_only = True

    def __init__(self, settings: NativeSettings) -> None:
        self._settings = settings

    def ensure(self, work: Work) -> None:
        endpoints = self._settings.endpoints(work.server.spec)
        self.check(work.server, work.claims)
        for address, port in endpoints:
            claim = Claim("address", endpoint_text(address, port), work.server.uid)
            try:
                work.claims.put(claim)
            except PreconditionFailed:
                raise _taken(claim.value, "another file server") from None
        # Two servers that claimed at the same moment, one of them a wildcard, see each other now.
        self._check_claims(work.server, work.claims)

    def check(self, server: Server, claims: Claims) -> None:
        """Refuses what `ensure` would refuse, and claims nothing."""
        endpoints = self._settings.endpoints(server.spec)
        for address, _ in endpoints:
            _check_local(address)
        self._check_claims(server, claims)
        process = smbd.find(self._settings.layout(server.uid))
        own = processes.sockets(process.pid) if process is not None else set()
        if process is not None:
            process.close()
        smbd.refuse_foreign(endpoints, own)

    def _check_claims(self, server: Server, claims: Claims) -> None:
        for address, port in self._settings.endpoints(server.spec):
            for other in dict.fromkeys((address, "0.0.0.0", "::")):
                text = endpoint_text(other, port)
                claim = claims.get("address", text)
                if claim is not None and claim.owner != server.uid:
                    raise _taken(endpoint_text(address, port), f"another file server, which listens on {text}")
            for name, theirs in _endpoints_of_others(self._settings, server.uid):
                if any(number == port and processes.overlap(address, other) for other, number in theirs):
                    raise _taken(endpoint_text(address, port), name)

    def remove(self, work: Work) -> None:
        for claim in work.claims.of(work.server.uid):
            if claim.kind == "address":
                work.claims.release("address", claim.value, work.server.uid)


class InstanceStep:
    """The instance has its directories, with the right modes, marked with its uid."""

    name = "instance"
    server_only = True

    def __init__(self, settings: NativeSettings, host: Host) -> None:
        self._settings = settings
        self._host = host

    def ensure(self, work: Work) -> None:
        server = work.server
        base = self._settings.instance_dir(server.uid)
        _make_parent(self._settings.servers_dir)
        work.claims.put(Claim("instance", base, server.uid))
        _make_directory(base)
        if _marked_uid(base) != server.uid and not _is_blank(base):
            raise PathUnsuitable(f"{base} does not belong to this file server", help="Move it away on the host.")
        marker = {"uid": server.uid, "name": str(server.name), "endpoints": self._settings.endpoints(server.spec)}
        self._host.write_file(f"{base}/{MARKER}", json.dumps(marker).encode() + b"\n", 0o644)
        layout = self._settings.layout(server.uid)
        make_directories(self._settings, server.uid)
        # nss_wrapper(1) needs its files from the first program on; the users come later.
        for path, lines in ((layout.passwd, layout.system_passwd), (layout.group, layout.system_group)):
            if not os.path.exists(path):
                self._host.write_file(path, lines.encode(), 0o644)

    def remove(self, work: Work) -> None:
        uid = work.server.uid
        base = self._settings.instance_dir(uid)
        claim = work.claims.get("instance", base)
        if claim is not None and claim.owner == uid:
            if self._settings.run_dir:
                with contextlib.suppress(FileNotFoundError):
                    shutil.rmtree(self._settings.runtime_dir(uid))
            _remove_instance(base, uid)
            work.claims.release("instance", base, uid)


class ProcessStep:
    """smbd runs with the configuration as it is now, and listens. `needs_restart(old, new)` tells whether a running smbd
    can take a changed smb.conf over without a restart."""

    name = "process"
    server_only = True

    def __init__(self, settings: NativeSettings, host: Host, supervisor: Supervisor, needs_restart: NeedsRestart) -> None:
        self._settings = settings
        self._host = host
        self._supervisor = supervisor
        self._needs_restart = needs_restart

    def ensure(self, work: Work) -> None:
        self._supervisor.start(work.server, fresh=self.would_restart(work.server))
        if not self._supervisor.running(work.server):
            # What was adopted may have been dying just then.
            self._supervisor.start(work.server)
            if not self._supervisor.running(work.server):
                raise SambaUnavailable("smbd was started, but does not run any more")
        # Only now has the old smbd let go of addresses that the file server no longer uses.
        wanted = {endpoint_text(*endpoint) for endpoint in self._settings.endpoints(work.server.spec)}
        for claim in work.claims.of(work.server.uid):
            if claim.kind == "address" and claim.value not in wanted:
                work.claims.release("address", claim.value, work.server.uid)

    def would_restart(self, server: Server, new: bytes | None = None) -> bool:
        """Whether a running smbd has to be restarted for the configuration in place, or for a `new` one."""
        layout = self._settings.layout(server.uid)
        process = smbd.find(layout)
        if process is None:
            return False
        process.close()
        old: bytes | None = None
        with contextlib.suppress(FileNotFoundError):
            old = self._host.read_file(smbd.running_conf(layout))
        return self._needs_restart(old, new if new is not None else self._host.read_file(layout.conf))

    def remove(self, work: Work) -> None:
        self._supervisor.stop(work.server)


def make_directories(settings: NativeSettings, uid: str) -> None:
    """Those of an instance, which has its own one already."""
    _make_parent(settings.runtime_dir(uid))
    for directory, mode in settings.layout(uid).directories:
        _make_directory(directory, mode)


def _taken(endpoint: str, by: str) -> AddressInUse:
    return AddressInUse(
        f"{endpoint} is used by {by}",
        help="Choose another address or port (`ss -ltnp` on the host shows who listens where).",
        metadata={"endpoint": endpoint},
    )


def _check_local(address: str) -> None:
    ip = ipaddress.ip_address(address)
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL):
            raise
        raise PreconditionFailed(
            f"this node does not have the address {address}",
            help="Choose an address that `ip address` shows on the node, or give the node this one first.",
            metadata={"address": address},
        ) from None


def _endpoints_of_others(settings: NativeSettings, uid: str) -> list[tuple[str, list[tuple[str, int]]]]:
    """Names and endpoints of the other instances on this node, also of those whose smbd is down just now."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for entry in os.listdir(settings.servers_dir):
            marker = _marker(f"{settings.servers_dir}/{entry}") if entry != uid else {}
            if marker:
                theirs = [(str(address), int(port)) for address, port in marker.get("endpoints", [])]
                found.append((str(marker.get("name", entry)), theirs))
    return found


def _marker(base: str) -> dict[str, Any]:
    try:
        with open(f"{base}/{MARKER}", encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _marked_uid(base: str) -> str:
    return str(_marker(base).get("uid", ""))


def _make_parent(path: str) -> None:
    """A directory, with its parents, open to all users. One that exists already keeps the mode that somebody chose."""
    if not os.path.isdir(path):
        _make_parent(os.path.dirname(path))
        _make_directory(path)


def _make_directory(path: str, mode: int = 0o755) -> None:
    """A directory of our own with exactly this mode, whatever the umask."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    _require_directory(path)
    if stat.S_IMODE(os.stat(path).st_mode) != mode:
        os.chmod(path, mode)


def _require_directory(path: str) -> None:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise PathUnsuitable(f"{path} is no directory", help="Move it away on the host.")


def _is_blank(base: str) -> bool:
    """Whether the directory holds nothing but what an interrupted writing of the mark has left."""
    return all(entry.startswith(f".{MARKER}.") for entry in os.listdir(base))


def _remove_instance(base: str, uid: str) -> None:
    """Removes the directory if it carries this uid, the mark last, so that an interrupted removal can go on."""
    if not os.path.isdir(base) or os.path.islink(base):
        return
    if _marked_uid(base) != uid and not _is_blank(base):
        return
    for entry in list(os.scandir(base)):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name != MARKER:
            os.unlink(entry.path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{base}/{MARKER}")
    os.rmdir(base)
