"""Keeps every running file server running: sees its smbd die the moment it does, and starts it again.

A thread waits on the pidfds of all of them (pidfd_open(2)), so that there is no polling and no confusion of pids. Every
start and stop goes through here; while one is under way for a file server, nothing else touches that one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from services.core.domain.resource import Condition, Severity, State
from services.core.errors import PvesmbError, SambaUnavailable
from services.core.ports import Host
from services.native import smbd
from services.native.processes import Process
from services.native.settings import NativeSettings
from services.samba.instance import Server

log = logging.getLogger(__name__)

OnEvent = Callable[[str, Condition | None], None]


@dataclass(frozen=True)
class Pace:
    """Seconds: the first and the longest pause before a restart, and how long smbd must live for the pauses to be short
    again and the condition to be taken back."""

    first: float = 0.2
    longest: float = 30.0
    steady: float = 60.0


@dataclass
class _Watched:
    """One file server. Whoever set `busy` owns the rest."""

    server: Server
    process: Process | None = None
    busy: bool = False
    failures: int = 0
    due: float | None = None
    troubled: bool = False
    started: float = field(default_factory=time.monotonic)


class Supervisor:
    """Thread-safe. `on_event(uid, condition)` replaces whatever condition was reported before for that file server
    (`SmbdDown`, `SmbdRestarted`); None takes it back. It is called from threads of the supervisor, without locks held."""

    def __init__(self, settings: NativeSettings, host: Host, on_event: OnEvent, pace: Pace | None = None) -> None:
        self._settings = settings
        self._host = host
        self._on_event = on_event
        self._pace = pace or Pace()
        self._watched: dict[str, _Watched] = {}
        self._changed = threading.Condition()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="supervisor", daemon=True)

    def open(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def close(self) -> None:
        """Ends watching and leaves every smbd running, to be adopted later."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not any(entry.busy for entry in self._watched.values()))
        self._poke()
        if self._thread.is_alive():
            self._thread.join()
        for uid in list(self._watched):
            self.unwatch(uid)
        wake, self._wake = self._wake, -1
        os.close(wake)

    def stop_all(self) -> None:
        """Stops every smbd that is watched, for good."""
        for server in [entry.server for entry in list(self._watched.values())]:
            self.stop(server)

    def watch(self, server: Server) -> None:
        """Keeps it running from now on: adopts its smbd if it runs, else starts it soon, in the background. One that is
        being made or removed, or was never configured, is left alone."""
        conf = self._settings.layout(server.uid).conf
        if server.state in (State.CREATING, State.DELETING) or not os.path.exists(conf):
            return
        with self._owning(server) as entry:
            if not self._adopt(entry):
                entry.due = time.monotonic()

    def unwatch(self, uid: str) -> None:
        """Forgets it, and leaves its smbd as it is."""
        with self._changed:
            entry = self._watched.get(uid)
            if entry is None:
                return
            self._changed.wait_for(lambda: not entry.busy)
            if self._watched.get(uid) is entry:
                del self._watched[uid]
            _release(entry)
        self._poke()

    def start(self, server: Server, *, fresh: bool = False) -> None:
        """Keeps it running from now on, and returns when smbd listens: the one that runs, unless a `fresh` one is asked
        for. Errors as of `smbd.start`; it is tried again in the background nevertheless, until `stop`."""
        with self._owning(server) as entry:
            if fresh:
                _release(entry)
                smbd.stop(self._settings.layout(server.uid))
            try:
                self._bring_up(entry)
            except PvesmbError:
                self._postpone(entry)
                raise

    def stop(self, server: Server) -> None:
        """Stops its smbd, which will not be started again."""
        with self._owning(server) as entry:
            entry.due = None
            _release(entry)
            smbd.stop(self._settings.layout(server.uid))
            with self._changed:
                self._watched.pop(server.uid, None)
        if entry.troubled:
            self._tell(server.uid, None)

    def running(self, server: Server) -> bool:
        """Whether its smbd runs and listens where it should."""
        process = smbd.find(self._settings.layout(server.uid))
        if process is None:
            return False
        try:
            return smbd.listening(process, self._settings.endpoints(server.spec))
        finally:
            process.close()

    # One file server, owned

    @contextlib.contextmanager
    def _owning(self, server: Server) -> Iterator[_Watched]:
        with self._changed:
            while (entry := self._watched.setdefault(server.uid, _Watched(server))).busy:
                self._changed.wait()
            entry.busy = True
            entry.server = server
        try:
            yield entry
        finally:
            self._yield(entry)

    def _yield(self, entry: _Watched) -> None:
        with self._changed:
            entry.busy = False
            self._changed.notify_all()
        self._poke()

    def _adopt(self, entry: _Watched) -> bool:
        """Takes over an smbd that runs already."""
        if entry.process is not None and entry.process.alive():
            return True
        _release(entry)
        entry.process = smbd.find(self._settings.layout(entry.server.uid))
        if entry.process is None:
            return False
        entry.due, entry.started = None, time.monotonic()
        return True

    def _bring_up(self, entry: _Watched) -> None:
        """Returns when smbd runs and listens."""
        layout = self._settings.layout(entry.server.uid)
        endpoints = self._settings.endpoints(entry.server.spec)
        if self._adopt(entry):
            assert entry.process is not None
            try:
                smbd.await_listening(entry.process, endpoints)
                return
            except SambaUnavailable:
                if entry.process.alive():
                    raise
                _release(entry)
        entry.process = smbd.start(self._host, layout, endpoints)
        entry.due, entry.started = None, time.monotonic()

    def _postpone(self, entry: _Watched) -> None:
        """Sets the time of the next try; the pauses double."""
        entry.due = time.monotonic() + self._pause(entry.failures)
        entry.failures += 1
        entry.troubled = True

    def _pause(self, failures: int) -> float:
        return min(self._pace.first * 2.0 ** min(failures, 30), self._pace.longest)

    # The thread

    def _loop(self) -> None:
        stumbles = 0
        while not self._closing:
            try:
                dead = self._wait()
                for entry in dead:
                    self._lost(entry)
                self._act_on_time()
                stumbles = 0
            except Exception:
                log.exception("the supervisor stumbled and goes on")
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, self._pause(stumbles))
                stumbles += 1

    def _wait(self) -> list[_Watched]:
        """Waits for a death, a time that has come, or a change; the entries that died, owned."""
        with self._changed:
            idle = [entry for entry in self._watched.values() if not entry.busy]
            by_fd = {entry.process.pidfd: entry for entry in idle if entry.process is not None}
            times = [when for entry in idle if (when := self._next(entry)) is not None]
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            for fd in by_fd:
                with contextlib.suppress(OSError):  # closed meanwhile: whoever did so has poked
                    selector.register(fd, selectors.EVENT_READ)
            ready = [key.fd for key, _ in selector.select(timeout)]
        if self._wake in ready:
            os.eventfd_read(self._wake)
        return [entry for fd in ready if (entry := by_fd.get(fd)) and self._take(entry, _is_dead)]

    def _next(self, entry: _Watched) -> float | None:
        """When something is to be done about it next."""
        if entry.due is not None:
            return entry.due
        settles = entry.process is not None and (entry.troubled or entry.failures > 0)
        return entry.started + self._pace.steady if settles else None

    def _take(self, entry: _Watched, condition: Callable[[_Watched], bool]) -> bool:
        """Owns the entry if it is still watched, nobody owns it and the condition still holds."""
        with self._changed:
            watched = self._watched.get(entry.server.uid) is entry
            if not watched or entry.busy or self._closing or not condition(entry):
                return False
            entry.busy = True
            return True

    def _lost(self, entry: _Watched) -> None:
        if time.monotonic() - entry.started >= self._pace.steady:
            entry.failures = 0
        _release(entry)
        self._postpone(entry)
        self._yield(entry)
        log.warning("smbd died", extra={"file_server": str(entry.server.name)})
        self._tell(entry.server.uid, _down("SMBD_DIED", "smbd ended unexpectedly and is being restarted"))

    def _act_on_time(self) -> None:
        now = time.monotonic()
        for entry in list(self._watched.values()):
            if self._take(entry, lambda e: (when := self._next(e)) is not None and when <= now):
                if entry.due is None:
                    entry.failures, entry.troubled = 0, False
                    self._yield(entry)
                    self._tell(entry.server.uid, None)
                else:
                    threading.Thread(target=self._restart, args=(entry,), name="smbd-restart", daemon=True).start()

    def _restart(self, entry: _Watched) -> None:
        """Runs in a thread of its own, so that a slow start keeps no other file server waiting."""
        try:
            self._bring_up(entry)
            event = _restarted() if entry.troubled else None
        except Exception as error:
            self._postpone(entry)
            if not isinstance(error, PvesmbError):
                log.exception("smbd could not be started")
                error = SambaUnavailable("smbd could not be started; the log of the service tells more")
            event = _down(error.reason, error.message, error.help)
        finally:
            self._yield(entry)
        if event is not None:
            self._tell(entry.server.uid, event)

    def _tell(self, uid: str, condition: Condition | None) -> None:
        try:
            self._on_event(uid, condition)
        except Exception:
            log.exception("an event of smbd could not be reported", extra={"file_server_uid": uid})

    def _poke(self) -> None:
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake, 1)


def _is_dead(entry: _Watched) -> bool:
    return entry.process is not None and not entry.process.alive()


def _release(entry: _Watched) -> None:
    if entry.process is not None:
        entry.process.close()
        entry.process = None


def _down(reason: str, message: str, action: str = "") -> Condition:
    action = action or "Nothing, if it comes back by itself; else look at its log on the host."
    return Condition("SmbdDown", Severity.ERROR, reason, message, action, time.time())


def _restarted() -> Condition:
    message = "smbd ended unexpectedly and was restarted; clients had to connect again"
    return Condition(
        "SmbdRestarted", Severity.WARNING, "SMBD_RESTARTED", message, "Look at its log if it happens again.", time.time()
    )
