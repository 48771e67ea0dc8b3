"""Moves calls of every kind between client and backend as raw bytes, with deadline, cancellation, metadata, rich errors and
trailers intact.

The handler is chosen by the method's kind: a unary handler would hang on a stream, and a stream handler for everything
costs a third more processor time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry, Counter

from gateway.backends import Backend, Backends, Metadata, Reply
from gateway.ends import Ends
from gateway.failures import DETAILS_KEY, typed
from gateway.router import EVERY, Method, backend_of
from services.core.errors import PreconditionFailed
from services.kit import identity
from services.kit.calls import go_name
from services.kit.logging import bound_fields
from services.kit.middleware import REQUEST_ID_KEY

FORWARDED_KEY = "x-pvesmb-forwarded"
#: Metadata that belong to one hop: what says who we are to whom, and what gRPC writes itself.
_HOP = {
    FORWARDED_KEY,
    REQUEST_ID_KEY,
    identity.PRINCIPAL_KEY,
    identity.ROLE_KEY,
    "authorization",
    "cookie",
    "connection",
    "content-type",
    "host",
    "proxy-authorization",
    "te",
    "user-agent",
}

Context = grpc.aio.ServicerContext[bytes, bytes]
#: Answers a list over all backends.
FanOut = Callable[[Method, bytes, float | None, Metadata], Awaitable[bytes]]


class Forwarder(grpc.GenericRpcHandler):
    """Handles the methods of the contract by forwarding them."""

    def __init__(
        self, methods: Mapping[str, Method], backends: Backends, fan_out: FanOut, registry: CollectorRegistry
    ) -> None:
        self._backends = backends
        self._fan_out = fan_out
        self._handlers = {path: self._handler(method) for path, method in methods.items()}
        self._forwarded = Counter(
            "pvesmb_gateway_forwarded_total",
            "Calls forwarded to a backend, by status code",
            ["backend", "grpc_code"],
            registry=registry,
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(str(handler_call_details.method))

    def _handler(self, method: Method) -> Any:
        if method.request_streaming and method.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._stream(method))
        if method.request_streaming:
            return grpc.stream_unary_rpc_method_handler(self._stream(method))
        if method.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(method))
        return grpc.unary_unary_rpc_method_handler(self._unary(method))

    def _unary(self, method: Method) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def handle(request: bytes, context: Context) -> bytes:
            metadata = _strings(context)
            target = backend_of(method, request, metadata)
            if target == EVERY:
                return await self._fan_out(method, request, _timeout(context), outgoing(_received(context)))
            backend = self._backends.get(target)
            headers = outgoing(_received(context))
            answer = await backend.unary(method.path, request, timeout=_timeout(context), metadata=headers)
            if initial := _clean(answer.initial):
                await context.send_initial_metadata(initial)
            await self._finish(backend, answer, context)
            return answer.response or b""

        return handle

    def _stream(self, method: Method) -> Callable[[Any, Context], Awaitable[Any]]:
        async def handle(request: Any, context: Context) -> Any:
            single = None if method.request_streaming else request
            backend = self._backends.get(backend_of(method, single, _strings(context)))
            headers, timeout = outgoing(_received(context)), _timeout(context)
            begin = backend.callable(method.path, method.request_streaming, method.response_streaming)
            pump: asyncio.Task[None] | None = None
            with backend.lease():
                if method.request_streaming:
                    call = begin(timeout=timeout, metadata=headers, wait_for_ready=False)
                    pump = asyncio.get_running_loop().create_task(_pump(request, call))
                else:
                    call = begin(request, timeout=timeout, metadata=headers, wait_for_ready=False)
                ends = Ends(call)
                try:
                    answer = await ends.reply(await _responses(method, call, context))
                    await self._finish(backend, answer, context)
                    return answer.response
                finally:
                    if pump is not None:
                        pump.cancel()
                    if not call.done():
                        call.cancel()

        return handle

    async def _finish(self, backend: Backend, answer: Reply, context: Context) -> None:
        """Ends our call as the backend's ended."""
        self._forwarded.labels(backend.id, go_name(answer.code)).inc()
        trailing = _clean(answer.trailing)
        if answer.code is grpc.StatusCode.OK:
            backend.up = True
            context.set_trailing_metadata(trailing)
        elif any(key == DETAILS_KEY for key, _ in trailing):
            backend.up = True
            # abort wants a tuple: with a grpc.aio.Metadata the client would see UNKNOWN.
            await context.abort(answer.code, answer.details, tuple(trailing))
        else:
            error = typed(backend, answer)
            if error is not None:
                raise error
            await context.abort(answer.code, answer.details, tuple(trailing))


async def _responses(method: Method, call: Any, context: Context) -> bytes | None:
    """Passes on initial metadata and responses until the call has ended. A single response is returned instead."""
    single = None
    try:
        if initial := _clean(tuple(await call.initial_metadata() or ())):
            await context.send_initial_metadata(initial)
        # Not call.read(), which gives up what has not been read as soon as a status is there.
        async for message in call:
            if method.response_streaming:
                await context.write(message)
            else:
                single = message
    except grpc.aio.AioRpcError:
        return None  # `Ends` knows more
    return single


async def _pump(requests: AsyncIterator[bytes], call: Any) -> None:
    """Passes on requests until the client has no more, or the call ends, which whoever reads the responses will see."""
    try:
        async for request in requests:
            await call.write(request)
        await call.done_writing()
    except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
        return


def outgoing(received: Iterable[tuple[str, str | bytes]]) -> Metadata:
    """The metadata for the backend: the client's, without those of its hop, and with who it is."""
    kept: list[tuple[str, str | bytes]] = []
    for key, value in received:
        if key == FORWARDED_KEY:
            raise PreconditionFailed(
                "the call has been forwarded already",
                help="Let the gateway's backends file name backends, not a gateway.",
            )
        if key not in _HOP and not key.startswith((":", "grpc-")):
            kept.append((key, value))
    return [*kept, *own_metadata()]


def own_metadata() -> Metadata:
    """What says to a backend that the gateway calls, and on whose behalf."""
    caller = identity.current()
    request_id = bound_fields().get("request_id", "")
    who = [(identity.PRINCIPAL_KEY, caller.principal), (identity.ROLE_KEY, caller.role.name.lower())]
    return [*who, (FORWARDED_KEY, "1"), (REQUEST_ID_KEY, request_id)]


def _received(context: Context) -> Iterable[tuple[str, str | bytes]]:
    return [(str(key), value) for key, value in context.invocation_metadata() or ()]


def _strings(context: Context) -> Mapping[str, str]:
    return {key: value for key, value in _received(context) if isinstance(value, str)}


def _clean(metadata: Metadata) -> Metadata:
    return tuple((k, v) for k, v in metadata if k == DETAILS_KEY or not k.startswith((":", "grpc-")))


def _timeout(context: Context) -> float | None:
    left: float | None = context.time_remaining()
    return None if left is None else max(left, 0.0)
