"""A process of the product, started from its own configuration file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.waiting import until

CLONE = Path(__file__).resolve().parents[2]


class ServiceProcess:
    """Its output is appended to a file. `ready` returns when its health says SERVING."""

    def __init__(self, module: str, config: Path, socket: Path, log: Path, arguments: Sequence[str] = ()) -> None:
        self._argv = [sys.executable, "-m", module, "--config", str(config), *arguments]
        self.socket = socket
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, environment: Mapping[str, str] | None = None) -> None:
        assert self.process is None, "it runs already"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._argv,
                cwd=CLONE,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self, seconds: float = 60.0) -> None:
        # A pool of subchannels of its own: one of an earlier process would sit out its reconnect backoff.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
        with grpc.insecure_channel(f"unix:{self.socket}", options=options) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            until(lambda: self._serving(stub), f"SERVING of {self._argv[2]}; see {self.log}", seconds)

    def _serving(self, stub: health_pb2_grpc.HealthStub) -> bool:
        assert self.process is not None and self.process.poll() is None, f"it ended:\n{self.tail()}"
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def stop(self) -> int:
        """SIGTERM: its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def wait(self, seconds: float = 60.0) -> int:
        """Waits for its end by itself: its exit status."""
        assert self.process is not None
        status = self.process.wait(seconds)
        self.process = None
        return status

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        return self.wait()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
