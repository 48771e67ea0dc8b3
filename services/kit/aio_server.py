"""The server of the gateway: one event loop, because it only moves bytes. Its threaded twin is `server`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Protocol

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from services.kit import metrics
from services.kit.config import ServerConfig
from services.kit.health import Check, Monitor
from services.kit.interceptors import AioInterceptor
from services.kit.listen import SERVER_OPTIONS, bind
from services.kit.middleware import Access, ResourceOf, resource_of, standard
from services.kit.notify import notify
from services.kit.server import health_service_names

#: Adds servicers and handlers and returns the full names of the services that reflection shall show.
Register = Callable[[grpc.aio.Server], Sequence[str]]
_log = getLogger(__name__)


@dataclass
class Running:
    """A server that has been started; `stop` ends it in order."""

    server: grpc.aio.Server
    targets: list[str]
    health: health.aio.HealthServicer
    monitor: Monitor
    stop_metrics: Callable[[], None]

    async def stop(self, grace: float) -> None:
        """Health says NOT_SERVING, new calls are refused, running ones get `grace` seconds."""
        self.monitor.stop()
        await self.health.enter_graceful_shutdown()
        await self.server.stop(grace)
        await asyncio.to_thread(self.stop_metrics)


class Stoppable(Protocol):
    """What `serve` runs: a server, or something that holds one."""

    @property
    def targets(self) -> Sequence[str]: ...

    async def stop(self, grace: float) -> None: ...


async def start(
    config: ServerConfig,
    *,
    register: Register,
    checks: Mapping[str, Check],
    registry: CollectorRegistry,
    access: Access,
    resource: ResourceOf = resource_of,
    check_ttl: float = 5.0,
) -> Running:
    """Starts a server in the running loop without touching signals: for tests, and for `serve`."""
    server = grpc.aio.server(
        interceptors=[AioInterceptor(standard(access, registry, resource))],
        options=SERVER_OPTIONS,
        maximum_concurrent_rpcs=config.max_concurrent_rpcs,
    )
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    names = list(register(server))
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    targets = bind(server, config)
    stop_metrics = metrics.start(config.metrics_listen, registry)
    loop = asyncio.get_running_loop()

    async def set_all(serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        for name in health_service_names(names):
            await servicer.set(name, states.SERVING if serving else states.NOT_SERVING)

    def report(serving: bool) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            asyncio.run_coroutine_threadsafe(set_all(serving), loop)

    monitor = Monitor(checks, report, ttl=check_ttl)
    await asyncio.to_thread(monitor.start)
    await server.start()
    return Running(server, targets, servicer, monitor, stop_metrics)


@contextlib.asynccontextmanager
async def _stop_signal() -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Within, the returned function waits for SIGTERM or SIGINT; a second signal ends the process at once.

    Signals must come through the loop: `asyncio.run` would otherwise cancel everything and lose the calls that run.
    """
    asked, loop = asyncio.Event(), asyncio.get_running_loop()

    def handle() -> None:
        if asked.is_set():
            os._exit(1)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, handle)
    try:
        yield asked.wait
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def serve(service: str, drain_seconds: float, begin: Callable[[], Awaitable[Stoppable]]) -> int:
    """Serves what `begin` starts until SIGTERM or SIGINT, then drains as the threaded twin does, and returns 0."""
    async with _stop_signal() as asked:
        running = await begin()
        _log.info("ready", extra={"of": service, "listen": running.targets})
        notify("READY=1")
        await asked()
        _log.info("stopping", extra={"drain_seconds": drain_seconds})
        notify("STOPPING=1")
        await running.stop(drain_seconds)
    return 0
