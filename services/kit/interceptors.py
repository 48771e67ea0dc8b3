"""Puts the middlewares around every handler: one adapter for `grpc.server`, one for `grpc.aio`, all four kinds of calls."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import grpc
import grpc.aio
from grpc_status import rpc_status

from services.core.errors import MethodUnknown
from services.kit.calls import Call, Failed, Middleware, around, to_code
from services.kit.identity import Peer

_KINDS = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}

#: Handlers have one shape in each runtime, whatever the messages: (request or iterator, context) -> response or iterator.
_Handle = Callable[[Any, Any], Any]


def _peer(context: Any) -> Peer:
    metadata = {str(key): value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    return Peer(context.peer(), context.auth_context(), metadata)


def _own_code(context: Any) -> grpc.StatusCode | None:
    code = context.code()
    if isinstance(code, int):  # aio gives the number, and 0 before anything was set
        return to_code(code) if code else None
    return code if isinstance(code, grpc.StatusCode) else None


def _unknown(method: str) -> MethodUnknown:
    return MethodUnknown(f"{method[:200]} is not a method of this server")


def _wrap(handler: Any, method: str, one: Callable[..., _Handle], many: Callable[..., _Handle]) -> Any:
    """The handler with its behaviour wrapped: `one` for a single response, `many` for a stream of them.

    An unknown method gets a stream handler, because that answers clients of every kind without reading their requests.
    """
    if handler is None:
        return grpc.stream_stream_rpc_method_handler(many(method, "bidi_stream", None))
    kind = _KINDS[bool(handler.request_streaming), bool(handler.response_streaming)]
    codecs = handler.request_deserializer, handler.response_serializer
    if kind == "unary":
        return grpc.unary_unary_rpc_method_handler(one(method, kind, handler.unary_unary), *codecs)
    if kind == "client_stream":
        return grpc.stream_unary_rpc_method_handler(one(method, kind, handler.stream_unary), *codecs)
    if kind == "server_stream":
        return grpc.unary_stream_rpc_method_handler(many(method, kind, handler.unary_stream), *codecs)
    return grpc.stream_stream_rpc_method_handler(many(method, kind, handler.stream_stream), *codecs)


class SyncInterceptor(grpc.ServerInterceptor):
    """The middlewares on `grpc.server`."""

    def __init__(self, middlewares: Sequence[Middleware]) -> None:
        self._middlewares = tuple(middlewares)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        handler = continuation(handler_call_details)
        return _wrap(handler, method, self._one, self._many)

    def _one(self, method: str, kind: str, inner: _Handle) -> _Handle:
        def handle(request: Any, context: Any) -> Any:
            call = _call(method, kind, True, request, context, _gone(context))
            with _answer(context), around(self._middlewares, call):
                return inner(request, context)

        return handle

    def _many(self, method: str, kind: str, inner: _Handle | None) -> _Handle:
        def handle(request: Any, context: Any) -> Iterator[Any]:
            call = _call(method, kind, inner is not None, request, context, _gone(context))
            with _answer(context), around(self._middlewares, call):
                if inner is None:
                    raise _unknown(method)
                yield from inner(request, context)

        return handle


class AioInterceptor(grpc.aio.ServerInterceptor):
    """The middlewares on `grpc.aio`."""

    def __init__(self, middlewares: Sequence[Middleware]) -> None:
        self._middlewares = tuple(middlewares)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        return _wrap(await continuation(handler_call_details), handler_call_details.method, self._one, self._many)

    def _one(self, method: str, kind: str, inner: _Handle) -> _Handle:
        async def handle(request: Any, context: Any) -> Any:
            async with _answer_aio(context):
                with around(self._middlewares, _call(method, kind, True, request, context, _gone_aio(context))):
                    return await inner(request, context)

        return handle

    def _many(self, method: str, kind: str, inner: _Handle | None) -> _Handle:
        async def handle(request: Any, context: Any) -> None:
            call = _call(method, kind, inner is not None, request, context, _gone_aio(context))
            async with _answer_aio(context):
                with around(self._middlewares, call):
                    if inner is None:
                        raise _unknown(method)
                    result = inner(request, context)
                    if hasattr(result, "__aiter__"):
                        async for response in result:
                            await context.write(response)
                    else:
                        await result

        return handle


def _call(
    method: str, kind: str, known: bool, request: Any, context: Any, gone: Callable[[], grpc.StatusCode | None]
) -> Call:
    single = request if kind in ("unary", "server_stream") else None
    return Call(method, kind, known, _peer(context), single, lambda: _own_code(context), gone)


def _gone(context: Any) -> Callable[[], grpc.StatusCode | None]:
    def gone() -> grpc.StatusCode | None:
        if context.is_active():
            return None
        left = context.time_remaining()
        return grpc.StatusCode.DEADLINE_EXCEEDED if left is not None and left <= 0 else grpc.StatusCode.CANCELLED

    return gone


def _gone_aio(context: Any) -> Callable[[], grpc.StatusCode | None]:
    def gone() -> grpc.StatusCode | None:
        left = context.time_remaining()
        if left is not None and left <= 0:
            return grpc.StatusCode.DEADLINE_EXCEEDED
        return grpc.StatusCode.CANCELLED if context.cancelled() else None

    return gone


@contextlib.contextmanager
def _answer(context: Any) -> Iterator[None]:
    try:
        yield
    except Failed as e:
        status, trailing = _status(context, e)
        context.set_trailing_metadata(trailing)
        context.abort(status.code, status.details)


@contextlib.asynccontextmanager
async def _answer_aio(context: Any) -> AsyncIterator[None]:
    try:
        yield
    except Failed as e:
        status, trailing = _status(context, e)
        await context.abort(status.code, status.details, trailing)


def _status(context: Any, failed: Failed) -> tuple[grpc.Status, tuple[tuple[str, str | bytes], ...]]:
    """What to abort with. `abort_with_status` would drop the trailers that the handler has set before."""
    status = rpc_status.to_status(failed.status)
    return status, (*(context.trailing_metadata() or ()), *status.trailing_metadata)
