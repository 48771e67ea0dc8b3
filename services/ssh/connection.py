"""One ssh connection to a host, shared by all threads, made when it is needed and made again when it is gone."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import paramiko

from services.core.errors import HostNotPrepared, HostNotTrusted, HostTimeout, HostUnreachable
from services.ssh.keys import Key

USER = "root"
#: To be connected, or to open a channel, takes a good host less than a second.
CONNECT_SECONDS = 10.0
CHANNEL_SECONDS = 5.0
#: sshd_config(5): MaxSessions is 10. sshd counts a session until it has reaped its shell, which is after we saw its end.
SESSIONS = 8
#: Of a host that has vanished, the kernel tells us after this long.
GONE_SECONDS = 20
FAILURES = (paramiko.SSHException, EOFError, OSError)

# What there is to say about an error is in the error; below this level paramiko tells of each packet.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Trust:
    """The host key of one host, as the line "TYPE BASE64": `known` gives the one that is pinned, `pin` keeps the first."""

    known: Callable[[], str | None]
    pin: Callable[[str], None]


class Connection:
    """To root at one address. Nothing waits beyond `deadline`, which is of time.monotonic()."""

    def __init__(self, address: str, port: int, key: Key, trust: Trust) -> None:
        self._address = (address, port)
        self._key = key
        self._trust = trust
        self._sessions = threading.BoundedSemaphore(SESSIONS)
        self._connecting = threading.Lock()
        self._transport: paramiko.Transport | None = None
        self._closed = False
        self._counting = threading.Lock()
        self._users = 0
        self._last_used = time.monotonic()

    def leads_to(self, address: str, port: int, key: Key) -> bool:
        return (address, port, key.public_line) == (*self._address, self._key.public_line)

    @contextlib.contextmanager
    def channel(self, deadline: float) -> Iterator[paramiko.Channel]:
        """A new channel, closed with the block."""
        if not self._sessions.acquire(timeout=left(deadline)):
            raise too_late()
        try:
            with self.used(deadline), contextlib.closing(self.open(deadline)) as channel:
                yield channel
        finally:
            self._sessions.release()

    @contextlib.contextmanager
    def used(self, deadline: float) -> Iterator[None]:
        """It is not idle meanwhile. Should the block still be in paramiko a while after the deadline, which a peer that
        reads nothing can bring about, the connection is closed under it."""
        self._count(1)
        watchdog = threading.Timer(left(deadline) + CHANNEL_SECONDS, self._cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()
            self._count(-1)

    def close(self) -> None:
        """For good: what runs over it fails, and whoever still holds it does not make it anew, which nobody would close."""
        self._closed = True
        self._cut()

    def close_if_idle(self, seconds: float) -> None:
        if not self._connecting.acquire(blocking=False):
            return
        try:
            # Whoever will have counted himself after this gets a new one.
            if not self._users and time.monotonic() - self._last_used >= seconds:
                self._cut()
        finally:
            self._connecting.release()

    @property
    def is_open(self) -> bool:
        transport = self._transport
        return transport is not None and transport.is_active()

    def _count(self, by: int) -> None:
        with self._counting:
            self._users += by
            self._last_used = time.monotonic()

    def _cut(self) -> None:
        """What runs over it fails; the next one makes it anew."""
        _end(self._transport)

    def open(self, deadline: float) -> paramiko.Channel:
        """A channel, which the caller closes. A connection that was there already may have been dead since long: then once
        again over a new one."""
        reused = self.is_open
        pause = 0.005
        while True:
            transport = self._connected(deadline)
            until = time.monotonic() + min(CHANNEL_SECONDS, left(deadline))
            try:
                return transport.open_session(timeout=left(until))
            except FAILURES as failure:
                # A refusal: a session whose end we know may still count on the other side. Its own kind of exception
                # (ChannelException) is no sign, of two threads that are refused at once paramiko gives it to one.
                refused = transport.is_active() and left(until) > 0
                if not refused:
                    _end(transport)
                if left(deadline) <= pause:
                    raise too_late() from None
                if not refused and not reused:
                    raise HostUnreachable(f"the host's ssh server does not answer: {_words(failure)}") from None
            if refused:
                time.sleep(pause)
                pause = min(2 * pause, 0.5)
            else:
                reused = False

    def _connected(self, deadline: float) -> paramiko.Transport:
        if not self._connecting.acquire(timeout=left(deadline)):
            raise too_late()
        try:
            if not self._closed and (self._transport is None or not self._transport.is_active()):
                self._transport = self._connect(deadline)
            if self._closed or self._transport is None:
                self._cut()
                raise HostUnreachable("the connection to the host was given up: its address changed, or it is gone")
            return self._transport
        finally:
            self._connecting.release()

    def _connect(self, deadline: float) -> paramiko.Transport:
        until = min(deadline, time.monotonic() + CONNECT_SECONDS)
        transport = None
        try:
            transport = paramiko.Transport(_socket(self._address, until))
            self._negotiate(transport, until)
            self._check(transport.get_remote_server_key())
            self._log_in(transport, until)
        except FAILURES as failure:
            _end(transport)
            if not left(deadline):
                raise too_late() from None
            raise HostUnreachable(f"the host cannot be reached by ssh: {_words(failure)}") from None
        except BaseException:
            _end(transport)
            raise
        return transport

    def _negotiate(self, transport: paramiko.Transport, until: float) -> None:
        """With the pinned kind of host key, should the host have several; else with an Ed25519 key, if it has one."""
        pinned = self._trust.known()
        options = transport.get_security_options()
        kinds = sorted(options.key_types, key=lambda kind: kind != (pinned or "ssh-ed25519").split()[0])
        options.key_types = tuple(kinds)
        done = threading.Event()
        transport.start_client(event=done)
        if not done.wait(left(until)):
            raise TimeoutError("no answer in time")
        if not transport.is_active():
            raise transport.get_exception() or EOFError()

    def _check(self, key: paramiko.PKey) -> None:
        """Before anything of ours goes over."""
        shown = f"{key.get_name()} {key.get_base64()}"
        if self._trust.known() is None:
            self._trust.pin(shown)
        # Another process may have been first.
        pinned = self._trust.known() or shown
        if pinned.split()[:2] != shown.split():
            metadata = {"pinned": fingerprint(pinned), "shown": fingerprint(shown)}
            raise HostNotTrusted(
                f"the host shows the ssh host key {metadata['shown']}, at first it was {metadata['pinned']}",
                help="Something else may answer at this address: see in the console of the guest whether `ssh-keygen -lf"
                " /etc/ssh/ssh_host_ed25519_key.pub` shows one of the two. Take off what should not be there, or put the"
                " guest's first host key back.",
                metadata=metadata,
            )

    def _log_in(self, transport: paramiko.Transport, until: float) -> None:
        transport.auth_timeout = left(until)
        try:
            transport.auth_publickey(USER, self._key.private)
        except paramiko.AuthenticationException:
            if not transport.is_active() or not left(until):
                raise
            raise HostNotPrepared(
                f"the host does not let {USER} in with the key of this service",
                help=f"This line belongs into /root/.ssh/authorized_keys of the guest: {self._key.public_line}",
                metadata={"name": "authorized_keys"},
            ) from None


def left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def too_late() -> HostTimeout:
    return HostTimeout("the host did not answer in the time that there was; nothing was begun on it")


def lost(name: str) -> HostUnreachable:
    return HostUnreachable(
        f"the connection to the host ended while {name} ran; what it does may have happened, in whole or in part",
        metadata={"command": name},
    )


def fingerprint(line: str) -> str:
    """As ssh-keygen(1) shows it."""
    digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _socket(address: tuple[str, int], until: float) -> socket.socket:
    connected = socket.create_connection(address, timeout=max(0.001, left(until)))
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, GONE_SECONDS // 2)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, GONE_SECONDS // 4)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_SECONDS * 1000)
    return connected


def _end(transport: paramiko.Transport | None) -> None:
    if transport is not None:
        transport.close()
        transport.sock.close()


def _words(failure: BaseException) -> str:
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    if isinstance(failure, EOFError):
        return "the connection was closed"
    text = failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
    return text.strip().rstrip(".") or type(failure).__name__
