"""`pvesmb.v1.BackendService`: the backends of this gateway, freshly asked. An unreachable one is an answer, no error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from logging import getLogger

import grpc
from grpc_health.v1 import health_pb2
from pvesmb.v1 import backend_pb2, backend_service_pb2, backend_service_pb2_grpc, common_pb2

from gateway.backends import Backend, Backends, Metadata, Reply
from gateway.forward import own_metadata
from services.core.domain.names import parse_backend
from services.kit import pages

_GET = "/pvesmb.v1.BackendService/GetBackend"
_CHECK = "/grpc.health.v1.Health/Check"
_SCOPE = "backends"
_ASK_SECONDS = 2.0
_PROBE_SECONDS = 5.0
_log = getLogger(__name__)

_UNREACHABLE = common_pb2.Condition(
    type="Unreachable",
    severity=common_pb2.Condition.SEVERITY_ERROR,
    reason="BACKEND_UNAVAILABLE",
    message="the gateway cannot reach it",
    action="Start the backend, or read its log; the gateway's log has the reason.",
)
_MISMATCH = common_pb2.Condition(
    type="IdMismatch",
    severity=common_pb2.Condition.SEVERITY_ERROR,
    reason="BACKEND_UNKNOWN",
    message="what answers at its target is a backend of another id",
    action="Give the backend this id in its own configuration, or correct the gateway's backends file.",
)
_FILE_INVALID = common_pb2.Condition(
    type="BackendsFileInvalid",
    severity=common_pb2.Condition.SEVERITY_WARNING,
    reason="FIELD_INVALID",
    message="the gateway's backends file cannot be used; the former one is in force",
    action="Read the gateway's log and correct the file.",
)


@dataclass
class Asker:
    """Asks backends how they are, and remembers what they said last."""

    backends: Backends
    _last: dict[str, backend_pb2.Backend] = field(default_factory=dict)
    _since: dict[tuple[str, str], int] = field(default_factory=dict)

    async def ask(self, backend: Backend, metadata: Metadata, timeout: float = _ASK_SECONDS) -> backend_pb2.Backend:
        """The backend as it is now: what it says of itself, and the gateway's view of its health."""
        name = f"backends/{backend.id}"
        get = backend_service_pb2.GetBackendRequest(name=name).SerializeToString()
        check = health_pb2.HealthCheckRequest().SerializeToString()
        described, health = await asyncio.gather(
            backend.unary(_GET, get, timeout=timeout, metadata=metadata),
            backend.unary(_CHECK, check, timeout=timeout, metadata=()),
        )
        backend.up = health.code is grpc.StatusCode.OK or described.code is grpc.StatusCode.OK
        found = self._describe(backend, described)
        found.name = name
        if not backend.up:
            found.health = backend_pb2.Backend.HEALTH_UNREACHABLE
        elif described.code is grpc.StatusCode.OK and _serves(health):
            found.health = backend_pb2.Backend.HEALTH_SERVING
        else:
            found.health = backend_pb2.Backend.HEALTH_NOT_SERVING
        mismatch = described.code is grpc.StatusCode.NOT_FOUND
        self._condition(found, _UNREACHABLE, not backend.up)
        self._condition(found, _MISMATCH, mismatch)
        self._condition(found, _FILE_INVALID, bool(self.backends.problem))
        return found

    def _describe(self, backend: Backend, answer: Reply) -> backend_pb2.Backend:
        if answer.code is grpc.StatusCode.OK and answer.response is not None:
            found = backend_pb2.Backend.FromString(answer.response)
            self._last[backend.id] = backend_pb2.Backend.FromString(answer.response)
            return found
        found = backend_pb2.Backend()
        last = self._last.get(backend.id)
        if last is not None:
            found.mode, found.version, found.node = last.mode, last.version, last.node
        return found

    def _condition(self, found: backend_pb2.Backend, kind: common_pb2.Condition, holds: bool) -> None:
        key = found.name, kind.type
        if not holds:
            self._since.pop(key, None)
            return
        condition = found.conditions.add()
        condition.CopyFrom(kind)
        condition.last_transition_time.seconds = self._since.setdefault(key, int(time.time()))

    async def probe_for_ever(self) -> None:
        """Keeps `Backend.up`, which metrics show, true when nobody calls."""
        while True:
            await asyncio.gather(*(self._probe(b) for b in self.backends.all()))
            await asyncio.sleep(_PROBE_SECONDS)

    async def _probe(self, backend: Backend) -> None:
        request = health_pb2.HealthCheckRequest().SerializeToString()
        answer = await backend.unary(_CHECK, request, timeout=_ASK_SECONDS, metadata=())
        backend.up = answer.code not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class BackendServicer(backend_service_pb2_grpc.BackendServiceServicer):
    """The service."""

    def __init__(self, backends: Backends, asker: Asker) -> None:
        self._backends = backends
        self._asker = asker

    async def ListBackends(
        self,
        request: backend_service_pb2.ListBackendsRequest,
        context: grpc.aio.ServicerContext[object, object],
    ) -> backend_service_pb2.ListBackendsResponse:
        size = pages.page_size(request.page_size)
        after = pages.decode(request.page_token, _SCOPE)[0] if request.page_token else ""
        self._backends.refresh_if_old()
        rest = [b for b in self._backends.all() if f"{b.id}/" > after]
        metadata = own_metadata()
        found: Sequence[backend_pb2.Backend] = await asyncio.gather(*(self._asker.ask(b, metadata) for b in rest[:size]))
        token = pages.encode(_SCOPE, f"{rest[size - 1].id}/") if len(rest) > size else ""
        return backend_service_pb2.ListBackendsResponse(backends=found, next_page_token=token)

    async def GetBackend(
        self,
        request: backend_service_pb2.GetBackendRequest,
        context: grpc.aio.ServicerContext[object, object],
    ) -> backend_pb2.Backend:
        backend = self._backends.get(parse_backend(request.name, "name"))
        return await self._asker.ask(backend, own_metadata())


def _serves(health: Reply) -> bool:
    if health.code is not grpc.StatusCode.OK or health.response is None:
        return False
    answer = health_pb2.HealthCheckResponse.FromString(health.response)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
