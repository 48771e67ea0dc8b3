"""The server of a backend process: threads, because what it drives blocks. Its asynchronous twin is `aio_server`."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from logging import getLogger

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from services.kit import metrics
from services.kit.config import ServerConfig
from services.kit.health import BoundedHealth, Check, Monitor
from services.kit.identity import Role
from services.kit.interceptors import SyncInterceptor
from services.kit.listen import SERVER_OPTIONS, bind
from services.kit.middleware import Access, standard
from services.kit.notify import notify
from services.kit.policy import ROLES
from services.kit.tokens import Tokens

#: Adds servicers and returns the full names of their services.
Register = Callable[[grpc.Server], Sequence[str]]
_log = getLogger(__name__)


def _nothing() -> None:
    pass


def health_service_names(names: Sequence[str]) -> list[str]:
    """The services whose health is told, the process as a whole (the empty name) among them."""
    return ["", *names, health.SERVICE_NAME]


@dataclass
class Running:
    """A server that has been started; `stop` ends it in order."""

    server: grpc.Server
    targets: list[str]
    workers: futures.ThreadPoolExecutor
    health: health.HealthServicer
    monitor: Monitor
    stop_metrics: Callable[[], None]

    def stop(self, grace: float) -> None:
        """Health says NOT_SERVING, new calls are refused, running ones get `grace` seconds."""
        self.monitor.stop()
        self.health.enter_graceful_shutdown()
        self.server.stop(grace).wait()
        self.stop_metrics()
        self.workers.shutdown(wait=False, cancel_futures=True)


def start(
    config: ServerConfig,
    *,
    register: Register,
    checks: Mapping[str, Check],
    registry: CollectorRegistry,
    roles: Mapping[str, Role | None] = ROLES,
    check_ttl: float = 5.0,
) -> Running:
    """Starts a server without touching signals: for tests, and for `serve`."""
    access = Access(roles, Tokens(config.tokens_file) if config.tokens_file else None, behind_gateway=True)
    workers = futures.ThreadPoolExecutor(config.max_workers, thread_name_prefix="rpc")
    server = grpc.server(
        workers,
        interceptors=[SyncInterceptor(standard(access, registry))],
        options=SERVER_OPTIONS,
        maximum_concurrent_rpcs=config.max_concurrent_rpcs,
    )
    names = list(register(server))
    servicer = BoundedHealth(watchers=max(1, config.max_workers // 4))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    targets = bind(server, config)
    stop_metrics = metrics.start(config.metrics_listen, registry)

    def report(serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        for name in health_service_names(names):
            servicer.set(name, states.SERVING if serving else states.NOT_SERVING)

    monitor = Monitor(checks, report, ttl=check_ttl)
    monitor.start()
    server.start()
    return Running(server, targets, workers, servicer, monitor, stop_metrics)


def serve(
    service: str,
    config: ServerConfig,
    *,
    register: Register,
    checks: Mapping[str, Check],
    registry: CollectorRegistry,
    roles: Mapping[str, Role | None] = ROLES,
    on_ready: Callable[[], None] = _nothing,
    on_drain: Callable[[], None] = _nothing,
    on_stop: Callable[[], None] = _nothing,
) -> int:
    """Serves until SIGTERM or SIGINT, then drains and returns 0. Call it in the main thread.

    On the signal: `on_drain` (wake what waits), health NOT_SERVING, no new calls, `drain_seconds` for running ones,
    `on_stop`. A second signal ends the process at once. ConfigError if it cannot start, after `on_stop`.
    """
    asked = threading.Event()
    with _signals(asked), ExitStack() as stack:
        stack.callback(on_stop)  # also when the start fails, since what it ends may run already
        running = start(config, register=register, checks=checks, registry=registry, roles=roles)
        _log.info("ready", extra={"of": service, "listen": running.targets})
        on_ready()
        notify("READY=1")
        asked.wait()
        _log.info("stopping", extra={"drain_seconds": config.drain_seconds})
        notify("STOPPING=1")
        on_drain()
        running.stop(config.drain_seconds)
    _leave_stuck_threads()
    return 0


@contextmanager
def _signals(asked: threading.Event) -> Iterator[None]:
    def handle(_number: int, _frame: object) -> None:
        if asked.is_set():
            os._exit(1)
        asked.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_stuck_threads() -> None:
    """Ends the process where a handler still blocks after its grace: the interpreter would wait for its thread for ever."""
    stuck = [t for t in threading.enumerate() if t.name.startswith("rpc_")]
    for thread in stuck:
        thread.join(0.5)
    if any(t.is_alive() for t in stuck):
        _log.warning("calls did not end in their grace time", extra={"threads": [t.name for t in stuck if t.is_alive()]})
        os._exit(0)
