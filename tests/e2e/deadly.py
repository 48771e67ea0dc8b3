"""`python -m tests.e2e.deadly --config FILE --mode MODE`: a backend that at one chosen moment kills itself, as `kill -9`
would, or kills the smbd of every file server, or has a fault of its own.

The moment lies in `moment.json` beside the configuration file, and is taken away before the end: who starts it again gets a
backend that lives.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from services.core.ports import Completed, Host
from services.core.runs import Tools
from services.core.steps import Drift, Mode, Plan, Step, Work
from services.kit import config
from services.lxc import __main__ as lxc
from services.lxc.guests import SshGuests
from services.native import __main__ as native
from services.native.host import LocalHost
from services.proxmox.session import Session
from services.wire import backend
from tests.e2e import guest_processes

#: So long does a store of several replicas wait for one that has died; the product waits longer.
LEASE_SECONDS = 8.0


@dataclass(frozen=True)
class Moment:
    """`before` or `after` an action of a step, or `inside`: so many seconds after its command of that number (from 0) has
    been started. `victim` is who dies: `service`, `smbd`, or `step` (an exception that nobody foresaw)."""

    step: str
    action: str
    when: str
    command: int = 0
    seconds: float = 0.0
    victim: str = "service"

    def write(self, directory: Path) -> None:
        (directory / "moment.json").write_text(json.dumps(asdict(self)))


class Fate:
    """Looks whether the moment has come, and makes it so. `inside` holds what the thread is in; `commands` counts those of
    the step that the moment is about."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "moment.json"
        self.inside = threading.local()
        self.commands = 0

    def moment(self) -> Moment | None:
        try:
            return Moment(**json.loads(self._file.read_text()))
        except FileNotFoundError:
            return None

    def meet(self, step: str, action: str, when: str, work: Work) -> None:
        moment = self.moment()
        if moment is None or (moment.step, moment.action, moment.when) != (step, action, when):
            return
        self.strike(moment)
        if moment.victim == "step":
            passwords = [change.secret() for change in work.changes]
            raise KeyError(f"nobody foresaw {len(passwords)} changes")

    def command(self) -> None:
        """One begins."""
        running = getattr(self.inside, "step", None) or ("", "")
        moment = self.moment()
        if moment is not None and (moment.step, moment.action, moment.when) == (*running, "inside"):
            self.commands += 1
            if self.commands == moment.command + 1:
                threading.Timer(moment.seconds, self.strike, [moment]).start()

    def strike(self, moment: Moment) -> None:
        self._file.unlink(missing_ok=True)
        if moment.victim == "service":
            os.kill(os.getpid(), signal.SIGKILL)
        for pid in smbds(self._file.parent) if moment.victim == "smbd" else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.commands = 0
        self._file.with_name("struck").touch()


def smbds(state: Path) -> Sequence[int]:
    """The main smbd of every file server of the deployment with this directory."""
    return [
        *(int(file.read_text()) for file in state.glob("native/servers/*/pid/smbd.pid")),
        *(pid for guest in guest_processes.guests_of(state) if (pid := guest_processes.smbd(guest)) is not None),
    ]


class DeadlyStep:
    """A step with the moments around it."""

    def __init__(self, step: Step, fate: Fate) -> None:
        self._step = step
        self._fate = fate

    @property
    def name(self) -> str:
        return self._step.name

    @property
    def server_only(self) -> bool:
        return self._step.server_only

    def ensure(self, work: Work) -> None:
        self._around("ensure", work)

    def remove(self, work: Work) -> None:
        self._around("remove", work)

    def _around(self, action: str, work: Work) -> None:
        self._fate.meet(self.name, action, "before", work)
        self._fate.inside.step = (self.name, action)
        try:
            (self._step.ensure if action == "ensure" else self._step.remove)(work)
        finally:
            self._fate.inside.step = None
        self._fate.meet(self.name, action, "after", work)


class DeadlyMode:
    """A mode with deadly steps."""

    def __init__(self, mode: Mode, fate: Fate) -> None:
        self._mode = mode
        self._steps = [DeadlyStep(step, fate) for step in mode.steps]

    @property
    def steps(self) -> Sequence[Step]:
        return self._steps

    def observe(self, work: Work) -> Sequence[Drift]:
        return self._mode.observe(work)

    def plan(self, work: Work) -> Plan:
        return self._mode.plan(work)


def local(fate: Fate) -> type[LocalHost]:
    """A host whose commands go on, as they would, when the backend dies while they run."""

    class DeadlyHost(LocalHost):
        def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
            fate.command()
            return super().run(argv, stdin=stdin, timeout=timeout)

    return DeadlyHost


@dataclass(frozen=True)
class Remote:
    """The same for one that is reached by ssh."""

    host: Host
    fate: Fate

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        self.fate.command()
        return self.host.run(argv, stdin=stdin, timeout=timeout)

    def read_file(self, path: str) -> bytes:
        return self.host.read_file(path)

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        self.host.write_file(path, data, mode)

    def remove(self, path: str) -> None:
        self.host.remove(path)


def guests(fate: Fate) -> type[SshGuests]:
    class DeadlyGuests(SshGuests):
        def host(self, uid: str, address: str) -> Host:
            return Remote(super().host(uid, address), fate)

    return DeadlyGuests


def session(fate: Fate) -> type[Session]:
    """Calls of the Proxmox API are commands too."""

    class DeadlySession(Session):
        def call(self, *args: Any, **options: Any) -> Any:
            fate.command()
            return super().call(*args, **options)

    return DeadlySession


def main() -> int:
    parser = argparse.ArgumentParser(prog="deadly", description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--mode", choices=["native", "lxc"], required=True)
    arguments = parser.parse_args()
    fate = Fate(Path(arguments.config).parent)
    mortal: dict[str, list[tuple[Any, str, Any]]] = {
        "native": [(native, "LocalHost", local(fate))],
        "lxc": [(lxc, "SshGuests", guests(fate)), (lxc, "Session", session(fate))],
    }
    lease = (backend, "Tools", partial(Tools, lease_seconds=LEASE_SECONDS))
    for module, name, with_what in [lease, *mortal[arguments.mode]]:
        setattr(module, name, with_what)
    main_of = {"native": native.main, "lxc": lxc.main}[arguments.mode]
    return main_of(["--config", arguments.config], wrap=lambda mode: DeadlyMode(mode, fate))


if __name__ == "__main__":
    sys.exit(config.run(main))
