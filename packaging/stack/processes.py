"""The processes of the stack: started, watched, restarted, stopped."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 40.0


@dataclass
class Service:
    """One process, restarted with growing pauses when it dies. Its output is appended to a log file."""

    name: str
    argv: Sequence[str]
    socket: Path
    log: Path
    pid_file: Path
    process: subprocess.Popen[bytes] | None = None
    failures: int = 0
    started: float = 0.0
    due: float = field(default=0.0)

    def start(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)

        def die_with_parent() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self.started = time.monotonic()
        self.pid_file.write_text(f"{self.process.pid}\n")

    def look(self) -> None:
        """Restarts it if it has died and its pause is over."""
        if self.process is None:
            if time.monotonic() >= self.due:
                self.start()
            return
        if self.process.poll() is None:
            if time.monotonic() - self.started > 60:
                self.failures = 0
            return
        status = self.process.returncode
        print(f"{self.name} ended with status {status} and is started again; log: {self.log}", file=sys.stderr, flush=True)
        self.process = None
        self.due = time.monotonic() + min(0.2 * 2**self.failures, 30)
        self.failures += 1

    def wait_ready(self, seconds: float) -> None:
        """Returns when its health says SERVING; RuntimeError with the end of its log if it dies or time runs out."""
        until = time.monotonic() + seconds
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            pause = 0.02
            while time.monotonic() < until and self.process is not None and self.process.poll() is None:
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=2, wait_for_ready=True)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                except grpc.RpcError:
                    pass
                time.sleep(pause)
                pause = min(pause * 2, 0.5)
        tail = self.log.read_text(errors="replace").splitlines()[-15:]
        raise RuntimeError("\n".join([f"{self.name} did not become ready; the end of {self.log}:", *tail]))

    def stop(self) -> None:
        """SIGTERM, then patience, then SIGKILL."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.pid_file.unlink(missing_ok=True)


def running_pid(pid_file: Path, marker: str) -> int | None:
    """The pid in the file, if that process lives and its command line holds `marker` (pids are used again)."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, ValueError):
        return None
    return pid if marker in command else None


def wait_gone(pid: int, seconds: float) -> bool:
    """Waits until a process that is no child of ours has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([fd], [], [], seconds)
        return bool(ready)
    finally:
        os.close(fd)
