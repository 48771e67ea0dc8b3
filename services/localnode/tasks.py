"""Tasks: work that a call starts and does not wait for, with its UPID, its status and its log.

Each has two files, so that what ended can still be read after a restart. A task that was running when the process
ended is `stopped` with `unexpected status`, which is what a node says of a worker whose log has no last line.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from services.localnode.api.permissions import Caller
from services.localnode.api.refusal import Refusal, bad_parameters
from services.localnode.guests.ports import GuestError

log = getLogger(__name__)

_UPID = re.compile(r"UPID:([A-Za-z0-9-]+):([0-9A-F]{8}):([0-9A-F]{8,9}):([0-9A-F]{8}):([^:\s]+):([^:\s]*):([^:\s]+):")


class TaskError(Exception):
    """The work failed; the text is the task's exit status."""


Say = Callable[[str], None]


@dataclass
class Task:
    """One task as its file keeps it."""

    upid: str
    node: str
    pid: int
    pstart: int
    starttime: int
    type: str
    id: str
    caller: str
    exitstatus: str = ""
    endtime: int = 0

    def owner(self) -> dict[str, str]:
        """`user`, and `tokenid` where a token started it."""
        user, _, token = self.caller.partition("!")
        return {"user": user, "tokenid": token} if token else {"user": user}

    def status(self) -> dict[str, Any]:
        """The answer of `GET tasks/{upid}/status`: `exitstatus` only at the end."""
        shown = {
            "upid": self.upid, "node": self.node, "pid": self.pid, "pstart": self.pstart,
            "starttime": self.starttime, "type": self.type, "id": self.id, **self.owner(),
        }  # fmt: skip
        if self.exitstatus:
            return {**shown, "status": "stopped", "exitstatus": self.exitstatus}
        return {**shown, "status": "running"}

    def entry(self) -> dict[str, Any]:
        """One entry of `GET tasks`, where `status` is the exit status."""
        shown = self.status()
        shown.pop("exitstatus", None)
        del shown["status"]
        return {**shown, "status": self.exitstatus, "endtime": self.endtime} if self.exitstatus else shown


class Tasks:
    """Runs tasks in threads and remembers them."""

    def __init__(self, directory: Path, node: str, *, workers: int = 32) -> None:
        self._directory = directory
        self._node = node
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._serial = itertools.count(os.getpid())
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="task")
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in sorted(directory.glob("*.json")):
            task = Task(**json.loads(file.read_text()))
            self._tasks[task.upid] = task
            if not task.exitstatus:
                self._end(task, "unexpected status")

    def start(self, caller: Caller, kind: str, id: str, work: Callable[[Say], None]) -> str:
        """Starts the work and gives its UPID. The work's GuestError, TaskError or refusal becomes the exit status."""
        with self._lock:
            task = self._new(caller, kind, id)
            self._tasks[task.upid] = task
            self._save(task)
        self._pool.submit(self._run, task, work)
        return task.upid

    def get(self, upid: str) -> Task:
        """The task, or the refusals of a node for what is no UPID and what is unknown."""
        if not _UPID.fullmatch(upid):
            raise bad_parameters({"upid": "unable to parse worker upid"})
        with self._lock:
            task = self._tasks.get(upid)
        if task is None:
            raise bad_parameters({"upid": "no such task"})
        return task

    def all(self) -> list[Task]:
        """Newest first."""
        with self._lock:
            return sorted(self._tasks.values(), key=lambda task: (task.starttime, task.pstart, task.pid), reverse=True)

    def log_lines(self, task: Task) -> list[str]:
        file = self._file(task, "log")
        return file.read_text().splitlines() if file.exists() else []

    def close(self) -> None:
        """Waits for the tasks under way."""
        self._pool.shutdown(wait=True)

    def _new(self, caller: Caller, kind: str, id: str) -> Task:
        now, pid = int(time.time()), next(self._serial)
        pstart = int(time.monotonic() * 100)
        upid = f"UPID:{self._node}:{pid:08X}:{pstart:08X}:{now:08X}:{kind}:{id}:{caller.id}:"
        return Task(upid, self._node, pid, pstart, now, kind, id, caller.id)

    def _run(self, task: Task, work: Callable[[Say], None]) -> None:
        try:
            work(lambda line: self._say(task, line))
        except (GuestError, TaskError, Refusal) as error:
            end = str(error).strip() or type(error).__name__
        except Exception as error:
            log.exception("task %s", task.upid)
            end = f"internal error: {type(error).__name__}"
        else:
            end = "OK"
        self._say(task, "TASK OK" if end == "OK" else f"TASK ERROR: {end}")
        self._end(task, end)

    def _end(self, task: Task, status: str) -> None:
        with self._lock:
            task.endtime, task.exitstatus = int(time.time()), status
            self._save(task)

    def _say(self, task: Task, line: str) -> None:
        with self._file(task, "log").open("a") as f:
            f.write(line + "\n")

    def _save(self, task: Task) -> None:
        file = self._file(task, "json")
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(task)))
        os.rename(temporary, file)

    def _file(self, task: Task, kind: str) -> Path:
        return self._directory / f"{task.starttime:08X}-{task.pstart:08X}-{task.pid:08X}.{kind}"


def log_answer(lines: list[str], start: int, limit: int) -> list[Mapping[str, Any]]:
    """The answer of `GET tasks/{upid}/log`: an empty log is one line, `no content`."""
    if not lines:
        return [{"n": 1, "t": "no content"}]
    end = start + limit if limit else len(lines)
    return [{"n": number, "t": line} for number, line in enumerate(lines[start:end], start + 1)]
