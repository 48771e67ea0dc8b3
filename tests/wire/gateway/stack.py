"""A real gateway between real clients and real threaded backends, on Unix sockets in one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry

from gateway import app
from services.core.errors import PvesmbError
from services.kit import server
from services.kit.config import ServerConfig
from services.kit.health import Check
from services.kit.policy import ROLES
from services.kit.status import from_status
from tests.unit.kit import echo

ALL_ROLES = {**ROLES, **echo.ROLES}
SERVICES: list[ServiceDescriptor] = [*app.FORWARDED, echo.DESCRIPTOR]


@dataclass
class Stack:
    """Starts things in one directory and ends them all."""

    place: Path
    backends: dict[str, server.Running] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    gateway: app.Gateway | None = None
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    def backend(self, id: str, register: server.Register, checks: Mapping[str, Check] | None = None, **config: Any) -> None:
        """Starts a backend, and lists it in the backends file."""
        settings = ServerConfig.model_validate({"listen": [f"unix:{self.place}/{id}.sock"], **config})
        registry = CollectorRegistry()
        self.backends[id] = server.start(
            settings, register=register, checks=checks or {}, registry=registry, roles=ALL_ROLES, check_ttl=0.05
        )
        self.targets[id] = settings.listen[0]
        self.write_file()

    def stop_backend(self, id: str) -> None:
        self.backends.pop(id).stop(0)

    def write_file(self, text: str | None = None) -> None:
        """Replaces the backends file; by default with all that were started or given a target."""
        if text is None:
            text = "".join(f'[backends.{id}]\ntarget = "{target}"\n' for id, target in self.targets.items())
        new = self.place / "backends.new"
        new.write_text(text)
        os.rename(new, self.file)
        if self.gateway is not None:
            self.gateway.backends.refresh()

    @property
    def file(self) -> Path:
        return self.place / "backends.toml"

    async def start(self, fan_out_deadline: float = 10.0, **config: Any) -> grpc.aio.Channel:
        """Starts the gateway and returns a channel to it."""
        self.write_file()
        values = {"listen": [f"unix:{self.place}/gateway.sock"], "backends_file": str(self.file), **config}
        settings = app.GatewayConfig.model_validate(values)
        self.gateway = await app.start(
            settings, self.registry, services=SERVICES, roles=ALL_ROLES, fan_out_deadline=fan_out_deadline
        )
        return self.channel(self.gateway.targets[0])

    def channel(self, target: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        if credentials is None:
            made = grpc.aio.insecure_channel(target, options=options)
        else:
            made = grpc.aio.secure_channel(target, credentials, options=options)
        self.channels.append(made)
        return made

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    async def stop(self) -> None:
        for channel in self.channels:
            await channel.close()
        if self.gateway is not None:
            await self.gateway.stop(0)
        for backend in self.backends.values():
            await asyncio.to_thread(backend.stop, 0)


def error_of(e: grpc.RpcError) -> PvesmbError | None:
    """The typed error in what a client caught."""
    status = rpc_status.from_call(e)
    return from_status(status) if status is not None else None


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)
