"""Tasks: what Proxmox VE does behind an answer of 200.

A UPID proves nothing: only the task's `exitstatus` does. The wait is our own (proxmoxer's ignores the exit status, and
answers a timeout by None): it polls with growing pauses, lasts over a node that hangs or cuts connections, and ends early
when the operation is cancelled.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.core.errors import HostTimeout, OperationCancelled, PvesmbError
from services.proxmox.failures import TASK, Kind, Refusal, error_of, kind_of
from services.proxmox.session import Api, Value

#: Success, by the source of Proxmox VE 8.1 to 9.2: a task that only warned has done its work.
_DONE = re.compile(r"OK|WARNINGS: \d+")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_POLL_TIMEOUT = 15.0
_PAGE, _PAGES, _LAST_LINES = 500, 20, 5
_PASSING = {Kind.UNREACHABLE, Kind.TIMEOUT, Kind.DROPPED, Kind.NOT_PROXMOX, Kind.FAILED, Kind.NO_QUORUM}


@dataclass(frozen=True)
class Upid:
    """`UPID:node:pid:pstart:starttime:type:id:user:`. `text` is what the API takes; the service notes it with its claim, so
    that a restarted one goes on waiting for the same task."""

    text: str
    node: str
    type: str
    id: str
    user: str

    @classmethod
    def parse(cls, text: str) -> Upid:
        parts = text.split(":")
        if len(parts) != 9 or parts[0] != "UPID":
            raise error_of(Refusal(TASK, "the answer names no task", "a call of Proxmox VE"))
        return cls(text, parts[1], parts[5], parts[6], parts[7])

    @property
    def subject(self) -> str:
        """For messages: `vzcreate 300`."""
        return f"{self.type} {self.id}".rstrip()


@dataclass(frozen=True)
class Ended:
    """A task that succeeded; `warnings` are its log lines that begin with WARN, if it ended with warnings."""

    upid: Upid
    warnings: tuple[str, ...] = ()


def wait(api: Api, upid: Upid, *, timeout: float, cancelled: Callable[[], bool] = lambda: False) -> Ended:
    """Returns when the task has succeeded, and raises what the table says when it has failed, with the last lines of its
    log. `HostTimeout` after `timeout` seconds (the task goes on), `OperationCancelled` when nobody wants it any more, both
    with the UPID. `TASK_LOST` if the node does not know it."""
    deadline, pause = time.monotonic() + timeout, _FIRST_PAUSE
    while True:
        failure: PvesmbError | None = None
        try:
            exitstatus = _exitstatus(api, upid)
        except PvesmbError as error:
            if kind_of(error) not in _PASSING:
                raise
            failure = error
        else:
            if exitstatus is not None:
                return _judged(api, upid, exitstatus)
        left = deadline - time.monotonic()
        if left <= 0:
            raise failure or HostTimeout(
                f"{upid.subject}: the task has not ended after {timeout:.0f} s",
                help="Look at the task in the node's task list; it may still end.",
                metadata={"upid": upid.text, "proxmox": Kind.TIMEOUT.value},
            )
        time.sleep(min(pause, left))
        if cancelled():
            raise OperationCancelled(f"{upid.subject}: no longer waited for", metadata={"upid": upid.text})
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def active(api: Api, node: str, vmid: int) -> list[Upid]:
    """The tasks that run for a guest now, as far as the login may see them (its own): how one whose UPID was lost with the
    answer is found again."""
    params: dict[str, Value] = {"vmid": vmid, "source": "active"}
    got = api.call("GET", ("nodes", node, "tasks"), params, subject=f"tasks of {vmid}", timeout=_POLL_TIMEOUT)
    # Tasks that have just ended are among them until they are archived.
    return [Upid.parse(str(each["upid"])) for each in got if not each.get("endtime")]


def _exitstatus(api: Api, upid: Upid) -> str | None:
    path = ("nodes", upid.node, "tasks", upid.text, "status")
    try:
        status = api.call("GET", path, subject=upid.subject, timeout=_POLL_TIMEOUT)
    except PvesmbError as error:
        error.metadata["upid"] = upid.text
        raise
    if status["status"] != "stopped":
        return None
    return str(status.get("exitstatus", "ended without a status"))


def _judged(api: Api, upid: Upid, exitstatus: str) -> Ended:
    if exitstatus == "OK":
        return Ended(upid)
    lines = log(api, upid)
    if _DONE.fullmatch(exitstatus):
        return Ended(upid, tuple(line for line in lines if line.upper().startswith("WARN")))
    failure = error_of(Refusal(TASK, exitstatus, upid.subject))
    failure.metadata["upid"] = upid.text
    if last := [line for line in lines if line != f"TASK ERROR: {exitstatus}"][-_LAST_LINES:]:
        failure.metadata["log"] = "\n".join(last)
    raise failure


def log(api: Api, upid: Upid) -> list[str]:
    """The task's log; empty if it has none or cannot be read, which must not hide how the task ended."""
    lines: list[str] = []
    try:
        for page in range(_PAGES):
            where = {"start": page * _PAGE, "limit": _PAGE}
            path = ("nodes", upid.node, "tasks", upid.text, "log")
            got = api.call("GET", path, where, subject=upid.subject, timeout=_POLL_TIMEOUT) or []
            lines += [str(entry.get("t", "")) for entry in got]
            if len(got) < _PAGE:
                break
    except PvesmbError:
        pass
    return [line for line in lines if line and line != "no content"]
