"""Puts the middlewares around every handler: one adapter for `grpc.server`, one for `grpc.aio`, all four kinds of calls.

Requests are decoded here and not by gRPC, whose own answer to bytes that are no such message is INTERNAL, and to a large
one a status without details: within the middlewares both are refused like every other mistake of a caller.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from services.core.errors import LimitReached, MethodUnknown, PvesmbError
from services.kit.calls import Call, Failed, Middleware, around, malformed, to_code
from services.kit.identity import Peer
from services.kit.listen import MESSAGE_MAX

_KINDS = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}

#: Handlers have one shape in each runtime, whatever the messages: (request or iterator, context) -> response or iterator.
_Handle = Callable[[Any, Any], Any]
_Decode = Callable[[bytes], Any]


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
    decode, encode = handler.request_deserializer, handler.response_serializer
    if kind == "unary":
        return grpc.unary_unary_rpc_method_handler(one(method, kind, handler.unary_unary, decode), None, encode)
    if kind == "client_stream":
        return grpc.stream_unary_rpc_method_handler(one(method, kind, handler.stream_unary, decode), None, encode)
    if kind == "server_stream":
        return grpc.unary_stream_rpc_method_handler(many(method, kind, handler.unary_stream, decode), None, encode)
    return grpc.stream_stream_rpc_method_handler(many(method, kind, handler.stream_stream, decode), None, encode)


@dataclass(frozen=True)
class _Given:
    """What a caller has sent: `for_handler` is the message, or the iterator of a stream."""

    for_handler: Any
    single: object = None
    refusal: PvesmbError | None = None

    def checked(self) -> Any:
        if self.refusal is not None:
            raise self.refusal
        return self.for_handler


def _given(kind: str, request: Any, decode: _Decode | None) -> _Given:
    if kind not in ("unary", "server_stream"):
        return _Given(_each_async(request, decode) if hasattr(request, "__aiter__") else _each(request, decode))
    try:
        message = _message(request, decode)
    except PvesmbError as refusal:
        return _Given(None, refusal=refusal)
    return _Given(message, message)


def _message(raw: bytes, decode: _Decode | None) -> Any:
    if len(raw) > MESSAGE_MAX:
        text = f"the request has {len(raw)} bytes; at most {MESSAGE_MAX} are served"
        help = "Send less at once, such as fewer first shares and users of a file server."
        raise LimitReached(text, help=help)
    try:
        return decode(raw) if decode is not None else raw
    except DecodeError:
        raise malformed() from None


def _each(requests: Iterator[bytes], decode: _Decode | None) -> Iterator[Any]:
    for raw in requests:
        yield _message(raw, decode)


async def _each_async(requests: AsyncIterator[bytes], decode: _Decode | None) -> AsyncIterator[Any]:
    async for raw in requests:
        yield _message(raw, decode)


class SyncInterceptor(grpc.ServerInterceptor):
    """The middlewares on `grpc.server`."""

    def __init__(self, middlewares: Sequence[Middleware]) -> None:
        self._middlewares = tuple(middlewares)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        handler = continuation(handler_call_details)
        return _wrap(handler, method, self._one, self._many)

    def _one(self, method: str, kind: str, inner: _Handle, decode: _Decode | None = None) -> _Handle:
        def handle(request: Any, context: Any) -> Any:
            given = _given(kind, request, decode)
            call = _call(method, kind, True, given.single, context, _gone(context))
            with _answer(context), around(self._middlewares, call):
                return inner(given.checked(), context)

        return handle

    def _many(self, method: str, kind: str, inner: _Handle | None, decode: _Decode | None = None) -> _Handle:
        def handle(request: Any, context: Any) -> Iterator[Any]:
            given = _given(kind, request, decode)
            call = _call(method, kind, inner is not None, given.single, context, _gone(context))
            with _answer(context), around(self._middlewares, call):
                if inner is None:
                    raise _unknown(method)
                yield from inner(given.checked(), context)

        return handle


class AioInterceptor(grpc.aio.ServerInterceptor):
    """The middlewares on `grpc.aio`."""

    def __init__(self, middlewares: Sequence[Middleware]) -> None:
        self._middlewares = tuple(middlewares)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        return _wrap(await continuation(handler_call_details), handler_call_details.method, self._one, self._many)

    def _one(self, method: str, kind: str, inner: _Handle, decode: _Decode | None = None) -> _Handle:
        async def handle(request: Any, context: Any) -> Any:
            given = _given(kind, request, decode)
            call = _call(method, kind, True, given.single, context, _gone_aio(context))
            async with _answer_aio(context):
                with around(self._middlewares, call):
                    return await inner(given.checked(), context)

        return handle

    def _many(self, method: str, kind: str, inner: _Handle | None, decode: _Decode | None = None) -> _Handle:
        async def handle(request: Any, context: Any) -> None:
            given = _given(kind, request, decode)
            call = _call(method, kind, inner is not None, given.single, context, _gone_aio(context))
            async with _answer_aio(context):
                with around(self._middlewares, call):
                    if inner is None:
                        raise _unknown(method)
                    result = inner(given.checked(), context)
                    if hasattr(result, "__aiter__"):
                        async for response in result:
                            await context.write(response)
                    else:
                        await result

        return handle


def _call(
    method: str, kind: str, known: bool, request: Any, context: Any, gone: Callable[[], grpc.StatusCode | None]
) -> Call:
    return Call(method, kind, known, _peer(context), request, lambda: _own_code(context), gone)


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
