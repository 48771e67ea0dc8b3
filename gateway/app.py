"""The gateway, put together in a running event loop: what `__main__` and the tests start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.longrunning import operations_pb2
from google.protobuf.descriptor import ServiceDescriptor
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pvesmb.v1 import (
    backend_service_pb2,
    backend_service_pb2_grpc,
    file_server_service_pb2,
    group_service_pb2,
    share_service_pb2,
    template_service_pb2,
    user_service_pb2,
)
from pydantic import Field

from gateway.backend_service import Asker, BackendServicer
from gateway.backends import Backends
from gateway.fanout import FanOut
from gateway.forward import Forwarder
from gateway.router import Method, methods_of, resource_name
from services.kit import aio_server
from services.kit.config import ServerConfig
from services.kit.identity import Role
from services.kit.middleware import Access, resource_of
from services.kit.policy import ROLES
from services.kit.tokens import Tokens

#: The services whose calls go to a backend.
FORWARDED: Sequence[ServiceDescriptor] = (
    file_server_service_pb2.DESCRIPTOR.services_by_name["FileServerService"],
    share_service_pb2.DESCRIPTOR.services_by_name["ShareService"],
    user_service_pb2.DESCRIPTOR.services_by_name["UserService"],
    group_service_pb2.DESCRIPTOR.services_by_name["GroupService"],
    template_service_pb2.DESCRIPTOR.services_by_name["TemplateService"],
    operations_pb2.DESCRIPTOR.services_by_name["Operations"],
)
#: The service that the gateway answers itself.
OWN: ServiceDescriptor = backend_service_pb2.DESCRIPTOR.services_by_name["BackendService"]


class GatewayConfig(ServerConfig):
    """The gateway's configuration: that of every process, and where the backends are listed."""

    backends_file: str = Field(description="TOML file with [backends.ID] target, tls; may change while we run")
    max_concurrent_rpcs: int = Field(default=1000, ge=2, description="calls at once; more get RESOURCE_EXHAUSTED")


class _BackendCollector(Collector):
    """Shows the backends as they are at the moment of the scrape, so that one that was removed is gone."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("pvesmb_gateway_backend_up", "1 if the backend answered last time", labels=["backend"])
        for backend in self._backends.all():
            up.add_metric([backend.id], float(backend.up))
        yield up
        text = "1 if the backends file as it lies on disk is in force"
        yield GaugeMetricFamily("pvesmb_gateway_backends_file_valid", text, value=float(not self._backends.problem))


@dataclass
class Gateway:
    """A gateway that runs."""

    running: aio_server.Running
    backends: Backends
    tasks: Sequence[asyncio.Task[None]]

    @property
    def targets(self) -> Sequence[str]:
        return self.running.targets

    async def stop(self, grace: float) -> None:
        """Drains, then lets go of the backends."""
        await self.running.stop(grace)
        for task in self.tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self.tasks)
        await self.backends.close()


async def start(
    config: GatewayConfig,
    registry: CollectorRegistry,
    *,
    services: Sequence[ServiceDescriptor] = FORWARDED,
    roles: Mapping[str, Role | None] = ROLES,
    fan_out_deadline: float = 10.0,
) -> Gateway:
    """Starts the gateway; ConfigError if it cannot."""
    backends = Backends(config.backends_file)
    asker, methods = Asker(backends), methods_of(services)
    registry.register(_BackendCollector(backends))
    forwarder = Forwarder(methods, backends, FanOut(backends, fan_out_deadline), registry)
    access = Access(roles, Tokens(config.tokens_file) if config.tokens_file else None, behind_gateway=False)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        backend_service_pb2_grpc.add_BackendServiceServicer_to_server(BackendServicer(backends, asker), server)
        server.add_generic_rpc_handlers([forwarder])
        return [OWN.full_name, *(service.full_name for service in services)]

    def resource(method: str, request: object) -> str:
        return _resource(methods, method, request)

    running = await aio_server.start(
        config, register=register, checks={}, registry=registry, access=access, resource=resource
    )
    loops: Sequence[Coroutine[Any, Any, None]] = (backends.watch(), asker.probe_for_ever())
    return Gateway(running, backends, [asyncio.create_task(loop) for loop in loops])


def _resource(methods: Mapping[str, Method], method: str, request: object) -> str:
    known = methods.get(method)
    if known is not None and isinstance(request, bytes):
        return resource_name(known, request)
    return resource_of(method, request)
