"""A private smbd on loopback, and everything that the Samba steps need of a mode, for tests."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.core.domain.names import Kind
from services.core.domain.operation import Verb
from services.core.domain.resource import Resource
from services.core.errors import HostTimeout
from services.core.ports import Completed
from services.core.steps import Change, Contents, Drift, Work
from services.samba.instance import Server
from services.samba.layout import Layout
from services.samba.observe import observe
from services.samba.steps import ApplyStep, ConfigStep, ConfirmStep
from tests.fakes import MemoryClaims
from tests.unit.samba import builders

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass
class RecordingHost:
    """This machine as a `Host`; remembers each command, and calls `before` ahead of it (to make faults)."""

    commands: list[list[str]] = field(default_factory=list)
    before: Callable[[Sequence[str]], None] = lambda argv: None

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        self.commands.append(list(argv))
        self.before(argv)
        try:
            done = subprocess.run(
                self.entering(argv), input=stdin, capture_output=True, timeout=timeout, env=ENVIRONMENT, cwd="/"
            )
        except subprocess.TimeoutExpired:
            raise HostTimeout(f"{argv[0]} did not end in its time") from None
        return Completed(done.returncode, done.stdout, done.stderr)

    def entering(self, argv: Sequence[str]) -> list[str]:
        """The command that runs this one there."""
        return list(argv)

    def read_file(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, mode)

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Lab:
    """One instance below a directory of its own, with its `Instances`, desired contents and claims."""

    address = "127.77.0.2"

    def __init__(self, base: str, site: Mapping[str, str] | None = None, **smb: Any) -> None:
        self.base, self.site = base, dict(site or {})
        self.server = builders.server(**smb)
        self.recorder = RecordingHost()
        self.claims = MemoryClaims()
        self.contents: dict[tuple[Kind, str], Resource[Any]] = {}
        self.passwords: dict[str, str] = {}
        self.port = free_port(self.address)
        self.data = f"{base}/data"
        os.mkdir(self.data, 0o755)
        run = f"{base}/run"
        names = ("private", "state", "lock", "cache", "pid", "ncalrpc", "log", "probe")
        places: dict[str, Any] = {f"{name}_dir": f"{run}/{name}" for name in names}
        self.files = Layout(
            conf=f"{run}/smb.conf",
            passwd=f"{run}/passwd",
            group=f"{run}/group",
            system_passwd="root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
            system_group="root:x:0:\nnogroup:x:65534:\n",
            environment=(
                ("LD_PRELOAD", "libnss_wrapper.so"),
                ("NSS_WRAPPER_PASSWD", f"{run}/passwd"),
                ("NSS_WRAPPER_GROUP", f"{run}/group"),
            ),
            **places,
        )
        os.mkdir(run, 0o755)
        self.process: subprocess.Popen[bytes] | None = None

    # Instances

    def host(self, server: Server) -> RecordingHost:
        return self.recorder

    def layout(self, server: Server) -> Layout:
        return self.files

    def endpoints(self, server: Server) -> list[tuple[str, int]]:
        return [(self.address, self.port)]

    def probe_password(self, server: Server) -> str:
        return "canary-probe-secret"

    def roots(self, server: Server) -> list[str]:
        return [self.data]

    # The daemon

    def start(self) -> None:
        """smbd in the foreground, leading a session, so that everything it leaves behind can be found and ended."""
        argv = self.files.command("smbd", "-F", "--no-process-group", "-s", self.files.conf, "-l", self.files.log_dir)
        self.process = subprocess.Popen(
            self.recorder.entering(argv), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=ENVIRONMENT, cwd="/", start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + 20
        while time.monotonic() < end:
            assert self.process.poll() is None, "smbd ended at once"
            with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), timeout=1):
                return
            time.sleep(0.02)
        raise AssertionError("smbd does not listen")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None
        # samba-dcerpcd leads a session of its own; it and its helpers name our smb.conf.
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
                if f"--configfile={self.files.conf}".encode() in words:
                    os.kill(int(pid), signal.SIGKILL)

    # Work

    def path(self, id: str) -> str:
        return f"{self.data}/{id}"

    def share(self, id: str, *access: str, path: str = "", **fields: Any) -> Resource[Any]:
        standing = self.contents.get((Kind.SHARE, id))
        generation = standing.generation + 1 if standing else 1
        return builders.share(id, path or self.path(id), generation=generation, access=builders.rules(*access), **fields)

    def work(self, changes: Sequence[Change] = (), whole: bool = False) -> Work:
        rows = sorted(self.contents.items(), key=lambda row: row[0][1])

        def of(kind: Kind) -> tuple[Resource[Any], ...]:
            return tuple(row for (k, _), row in rows if k is kind)

        contents = Contents(of(Kind.SHARE), of(Kind.USER), of(Kind.GROUP))
        return Work(self.server, whole, list(changes), contents, self.claims)

    def change(self, row: Resource[Any], verb: Verb = Verb.CREATE, **options: Any) -> Change:
        password = self.passwords.get(row.name.last) if row.name.kind is Kind.USER else None
        return Change(row, verb, options, lambda: password)

    def apply(self, *changes: Change, whole: bool = False, confirm: float | None = 3.0) -> list[Change]:
        """Runs the steps for these changes; what succeeded becomes part of the contents."""
        work = self.work(changes, whole)
        if whole:
            ConfigStep(self).ensure(work)
            if self.process is None:
                self.start()
        ApplyStep(self, self.site).ensure(work)
        if confirm is not None:
            ConfirmStep(self, confirm).ensure(work)
        for change in work.live():
            self.contents[change.kind, change.id] = change.resource
        return list(changes)

    def ensure(self, *rows: Resource[Any], verb: Verb = Verb.CREATE, **options: Any) -> list[Change]:
        """`apply`, expecting that all goes well."""
        changes = self.apply(*(self.change(row, verb, **options) for row in rows))
        assert [change.error for change in changes] == [None] * len(changes)
        return changes

    def remove(self, *rows: Resource[Any], **options: Any) -> list[Change]:
        changes = [self.change(row, Verb.DELETE, **options) for row in rows]
        for row in rows:
            self.contents.pop((row.name.kind, row.name.last), None)
        work = self.work(changes)
        ConfirmStep(self, 3.0).remove(work)
        ApplyStep(self, self.site, 3.0).remove(work)
        return changes

    def user(self, id: str, number: int, password: str = "", **fields: Any) -> Resource[Any]:
        self.passwords[id] = password or f"canary-{id}-secret"
        return builders.user(id, 900100 + number, **fields)

    def drift(self) -> list[Drift]:
        return observe(self, self.work(), self.site)

    # Clients and tools

    def smbclient(
        self, share: str, user: str, *commands: str, password: str = "", options: Sequence[str] = (), port: int = 0
    ) -> str:
        """Standard client; all it says. The password goes in by its environment."""
        secret = password or self.passwords.get(user, "")
        login = ["-U", user] if user else ["-N"]
        argv = [
            "smbclient",
            "-p",
            str(port or self.port),
            f"//{self.address}/{share}",
            *login,
            *options,
            "-c",
            "; ".join(commands),
        ]
        environment = {**ENVIRONMENT, "PASSWD": secret} if user else ENVIRONMENT
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, cwd=self.base, timeout=60)
        return done.stdout + done.stderr

    def session(self, user: str) -> Session:
        return Session(self, user)

    @contextlib.contextmanager
    def relay(self, source: str, at: tuple[str, int] | None = None) -> Iterator[int]:
        """A port, of the same address if no other is asked for, through which connections come to smbd from another
        address."""

        class Relay(socketserver.BaseRequestHandler):
            lab = self

            def handle(self) -> None:
                with socket.create_connection((self.lab.address, self.lab.port), source_address=(source, 0)) as server:
                    while True:
                        for sender in select.select([self.request, server], [], [])[0]:
                            data = sender.recv(65536)
                            if not data:
                                return
                            (server if sender is self.request else self.request).sendall(data)

        with socketserver.ThreadingTCPServer(at or (self.address, 0), Relay) as listener:
            thread = threading.Thread(target=listener.serve_forever)
            thread.start()
            yield int(listener.server_address[1])
            listener.shutdown()
            thread.join()

    def tool(self, *argv: str) -> str:
        done = self.recorder.run(self.files.command(*argv))
        assert done.returncode == 0, done
        return done.stdout.decode()

    def until(self, true: Callable[[], bool]) -> None:
        """Waits for what comes by itself, but not for ever."""
        end, pause = time.monotonic() + 10, 0.01
        while not true():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(pause)
            pause = min(pause * 2, 0.3)

    def registry(self, *argv: str) -> str:
        return self.tool("net", "-s", self.files.conf, "conf", *argv)


@contextlib.contextmanager
def mounted(path: str, options: str = "size=4m") -> Iterator[None]:
    os.makedirs(path, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"{options},mode=755", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def make_base() -> str:
    """A directory that everybody may pass through: smbd enters shares as their users."""
    base = tempfile.mkdtemp(prefix="pvesmb-samba-")
    os.chmod(base, 0o755)
    return base


def remove_base(base: str) -> None:
    shutil.rmtree(base)


class Session:
    """A user's session by smbprotocol, to see what happens to connections that stay open."""

    def __init__(self, lab: Lab, user: str) -> None:
        from smbprotocol.connection import Connection
        from smbprotocol.session import Session as SmbSession

        self._address = lab.address
        self._connection = Connection(uuid.uuid4(), lab.address, lab.port)
        self._connection.connect(timeout=5)
        self._session = SmbSession(
            self._connection, user, lab.passwords[user], require_encryption=False, auth_protocol="ntlm"
        )
        self._session.connect()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect(close=False)

    def connect(self, share: str) -> Any:
        from smbprotocol.tree import TreeConnect

        tree = TreeConnect(self._session, rf"\\{self._address}\{share}")
        tree.connect()
        return tree

    def tree(self, share: str) -> str:
        """Connects; the name of the status if that fails, else nothing."""
        return self._status(lambda: self.connect(share))

    def write(self, tree: Any, name: str) -> str:
        """Makes a file; the name of the status if that fails, else nothing."""
        return self._status(lambda: self._make(tree, name))

    def alive(self) -> bool:
        from smbprotocol.exceptions import SMBConnectionClosed

        try:
            self._connection.echo(sid=self._session.session_id, timeout=5)
        except SMBConnectionClosed:
            return False
        return True

    def _status(self, action: Callable[[], Any]) -> str:
        from smbprotocol.exceptions import SMBResponseException

        try:
            action()
        except SMBResponseException as error:
            return _name(error)
        return ""

    def _make(self, tree: Any, name: str) -> None:
        from smbprotocol import open as smb

        file = smb.Open(tree, name)
        file.create(
            smb.ImpersonationLevel.Impersonation,
            smb.FilePipePrinterAccessMask.GENERIC_WRITE,
            smb.FileAttributes.FILE_ATTRIBUTE_NORMAL,
            0,
            smb.CreateDisposition.FILE_OVERWRITE_IF,
            smb.CreateOptions.FILE_NON_DIRECTORY_FILE,
        )
        file.close()


def _name(error: Any) -> str:
    names = {0xC0000022: "ACCESS_DENIED", 0xC00000C9: "NETWORK_NAME_DELETED", 0xC00000CC: "BAD_NETWORK_NAME"}
    return names.get(error.status, f"{error.status:#x}")
