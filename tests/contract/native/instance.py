"""A small smb.conf for the layout of native mode, and waiting for what happens by itself."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from services.core.domain.resource import Condition
from services.core.ports import Host
from services.native.host import LocalHost
from services.native.settings import NativeSettings
from services.native.steps import InstanceStep
from services.samba.instance import Server
from tests.fakes import MemoryClaims
from tests.unit.native import builders

CONF = """[global]
  server role = standalone server
  disable netbios = yes
  disable spoolss = yes
  load printers = no
  printcap name = /dev/null
  smb ports = {port}
  interfaces = {addresses}
  bind interfaces only = yes
  private dir = {l.private_dir}
  state directory = {l.state_dir}
  lock directory = {l.lock_dir}
  cache directory = {l.cache_dir}
  pid directory = {l.pid_dir}
  ncalrpc dir = {l.ncalrpc_dir}
  log file = {l.log_dir}/log.%m
  passdb backend = tdbsam:{l.private_dir}/passdb.tdb
  usershare path =
  server string = {comment}
  map to guest = bad user
  guest account = nobody
[probe]
  path = {l.probe_dir}
  guest ok = yes
"""


def write_conf(settings: NativeSettings, server: Server, comment: str = "one") -> None:
    """The configuration that `ConfigStep` would write, as far as these tests need it."""
    layout = settings.layout(server.uid)
    endpoints = settings.endpoints(server.spec)
    addresses = " ".join(f"{address}/8" for address, _ in endpoints)
    text = CONF.format(l=layout, port=endpoints[0][1], addresses=addresses, comment=comment)
    LocalHost().write_file(layout.conf, text.encode(), 0o644)


def prepare(settings: NativeSettings, host: Host, server: Server, claims: MemoryClaims | None = None) -> None:
    """Directories and configuration, nothing running."""
    InstanceStep(settings, host).ensure(builders.work(server, claims, whole=True))
    write_conf(settings, server)


def pid(settings: NativeSettings, server: Server) -> int:
    with open(f"{settings.layout(server.uid).pid_dir}/smbd.pid", encoding="ascii") as file:
        return int(file.read())


def alive(pid: int) -> bool:
    """Neither gone nor a zombie, which an init that does not reap may leave."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def eventually(condition: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    pause, deadline = 0.01, time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


class Events:
    """What a supervisor reported; its threads write here."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.seen: list[tuple[str, str]] = []

    def __call__(self, uid: str, condition: Condition | None) -> None:
        with self._changed:
            self.seen.append((uid, condition.type if condition else "-"))
            self._changed.notify_all()

    def await_count(self, uid: str, type: str, count: int = 1) -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: self.seen.count((uid, type)) >= count, 60)
        assert done, f"{type} x{count} not reported; seen: {self.seen}"


def listing(settings: NativeSettings, server: Server) -> None:
    """Lists shares as a client, which makes smbd start its RPC helpers."""
    address, port = settings.endpoints(server.spec)[0]
    ended = LocalHost().run(["smbclient", "-N", "-p", str(port), "-L", f"//{address}", "-s", "/dev/null"])
    assert ended.returncode == 0, ended.stderr


def processes_of(settings: NativeSettings, server: Server) -> list[int]:
    """Every process that names the instance's directory on its command line."""
    base = settings.instance_dir(server.uid)
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if base.encode() in file.read():
                        found.append(int(entry))
            except OSError:
                continue
    return found
