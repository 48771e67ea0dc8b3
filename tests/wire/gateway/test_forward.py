"""Calls of every kind through the gateway, and every way in which they end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.core.errors import (
    BackendUnavailable,
    BackendUnknown,
    Internal,
    InvalidField,
    LimitReached,
    MethodUnknown,
    PreconditionFailed,
)
from services.kit.identity import Identity, Role
from tests.unit.kit import echo
from tests.unit.kit.echo import Echo, Ping, call
from tests.wire.gateway.stack import Stack, error_of, until

_KINDS = [m[0] for m in echo.METHODS]
_TO_A = (("x-pvesmb-backend", "a"),)
_NAME = "backends/a/x"


async def _requests(*pings: Any) -> AsyncIterator[Any]:
    for ping in pings:
        yield ping


def begin(channel: grpc.aio.Channel, kind: str, data: bytes = b"", **options: Any) -> Any:
    """Begins a call of the kind to backend a."""
    request = Ping(name=_NAME, data=data, count=2)
    metadata = _TO_A + tuple(options.pop("metadata", ()))
    streams = kind in ("Collect", "Chat")
    return call(channel, kind)(_requests(request, request) if streams else request, metadata=metadata, **options)


async def finish(running: Any, kind: str) -> list[Any]:
    if kind in ("Unary", "Collect"):
        return [await running]
    return [answer async for answer in running]


@pytest.mark.parametrize("kind", _KINDS)
async def test_answers_metadata_and_trailers(stack: Stack, kind: str) -> None:
    service = Echo()
    stack.backend("a", service.add_to)
    channel = await stack.start()
    metadata = [("x-own", "1"), ("x-own-bin", b"\x00\xff"), ("traceparent", "00-1-2-3"), ("x-request-id", "r-1")]
    running = begin(channel, kind, b"d", metadata=metadata)
    answers = await finish(running, kind)
    assert {
        "Unary": [(_NAME, b"d", 0)],
        "Many": [(_NAME, b"", 0), (_NAME, b"", 1)],
        "Collect": [("", b"", 4)],
        "Chat": [(_NAME, b"d", 0), (_NAME, b"d", 0)],
    }[kind] == [(a.name, a.data, a.count) for a in answers]
    assert dict(await running.initial_metadata())["x-initial"] == "i"
    trailing = dict(await running.trailing_metadata())
    assert (trailing["x-trailing"], trailing["x-trailing-bin"]) == ("t", b"\x00\xff")
    assert await running.code() is grpc.StatusCode.OK
    received = service.metadata
    assert (received["x-own"], received["x-own-bin"], received["traceparent"]) == ("1", b"\x00\xff", "00-1-2-3")
    assert (received["x-request-id"], received["x-pvesmb-forwarded"]) == ("r-1", "1")
    assert service.caller == Identity("local", Role.ADMIN)
    assert stack.metric("pvesmb_gateway_forwarded_total", backend="a", grpc_code="OK") == 1


async def attempt(stack: Stack, kind: str, data: bytes = b"") -> Any:
    """How a call of a threaded client fails; None if it does not.

    A client of grpc.aio may report INTERNAL where a stream of requests fails, grpc/grpc#36066.
    """

    def ask() -> grpc.RpcError | None:
        assert stack.gateway is not None
        with grpc.insecure_channel(stack.gateway.targets[0]) as channel:
            request = Ping(name=_NAME, data=data, count=2)
            streams = kind in ("Collect", "Chat")
            try:
                running = call(channel, kind)(iter([request] * 3) if streams else request, metadata=_TO_A)
                if kind in ("Many", "Chat"):
                    list(running)
            except grpc.RpcError as e:
                return e
        return None

    return await asyncio.to_thread(ask)


async def failure(stack: Stack, kind: str, data: bytes = b"") -> Any:
    caught = await attempt(stack, kind, data)
    assert caught is not None
    return caught


@pytest.mark.parametrize("kind", _KINDS)
async def test_rich_errors_stay_as_they_are(stack: Stack, kind: str) -> None:
    stack.backend("a", Echo().add_to)
    await stack.start()
    caught = await failure(stack, kind, b"rich")
    assert (caught.code(), caught.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not now")
    error = error_of(caught)
    assert isinstance(error, PreconditionFailed)
    assert (error.help, error.metadata) == ("later", {"k": "v"})
    assert dict(caught.trailing_metadata())["x-trailing"] == "t"


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("code", ["CANCELLED", "OUT_OF_RANGE", "NOT_FOUND", "DEADLINE_EXCEEDED"])
async def test_bare_codes_stay_as_they_are(stack: Stack, kind: str, code: str) -> None:
    stack.backend("a", Echo().add_to)
    await stack.start()
    caught = await failure(stack, kind, b"abort:" + code.encode())
    assert (caught.code(), caught.details()) == (grpc.StatusCode[code], "plain")
    assert dict(caught.trailing_metadata())["x-trailing"] == "t"


@pytest.mark.parametrize("kind", _KINDS)
async def test_fault_of_a_backend_without_details(stack: Stack, kind: str) -> None:
    stack.backend("a", Echo().add_to)
    await stack.start()
    for data, expected in (("UNKNOWN", Internal), ("RESOURCE_EXHAUSTED", LimitReached), ("UNIMPLEMENTED", MethodUnknown)):
        caught = await failure(stack, kind, b"abort:" + data.encode())
        assert isinstance(error_of(caught), expected)
        assert "plain" not in str(caught.details())


@pytest.mark.parametrize("kind", _KINDS)
async def test_deadline_reaches_the_backend(stack: Stack, kind: str) -> None:
    service = Echo()
    stack.backend("a", service.add_to)
    channel = await stack.start()
    await finish(begin(channel, kind, timeout=100), kind)
    assert service.remaining is not None
    assert 0 < service.remaining < 110  # gRPC rounds up on each hop
    await finish(begin(channel, kind), kind)
    assert service.remaining is None


async def test_long_streams_are_complete(stack: Stack) -> None:
    stack.backend("a", Echo().add_to)
    channel = await stack.start()
    answers = call(channel, "Many")(Ping(name=_NAME, count=2000), metadata=_TO_A)
    assert [a.count async for a in answers] == list(range(2000))
    pings = [Ping(name=str(i)) for i in range(1000)]
    chat = call(channel, "Chat")(_requests(*pings), metadata=_TO_A)
    assert [a.name async for a in chat] == [p.name for p in pings]
    total = await call(channel, "Collect")(_requests(*[Ping(count=1)] * 1000), metadata=_TO_A)
    assert total.count == 1000


async def test_answers_before_an_error_arrive(stack: Stack) -> None:
    stack.backend("a", Echo().add_to)
    channel = await stack.start()
    answers = call(channel, "Many")(Ping(name=_NAME, count=500, data=b"rich"), metadata=_TO_A)
    got = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for answer in answers:
            got.append(answer.count)
    assert got == list(range(500))
    assert isinstance(error_of(caught.value), PreconditionFailed)


@pytest.mark.parametrize("kind", ["Unary", "Many"])
async def test_deadline_ends_the_call_at_the_backend(stack: Stack, kind: str) -> None:
    service = Echo()
    stack.backend("a", service.add_to)
    channel = await stack.start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await finish(begin(channel, kind, b"hang", timeout=0.3), kind)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await asyncio.to_thread(service.ended.wait, 30)


@pytest.mark.parametrize("kind", ["Unary", "Many"])
async def test_cancel_reaches_the_backend(stack: Stack, kind: str) -> None:
    service = Echo()
    stack.backend("a", service.add_to)
    channel = await stack.start()
    running = begin(channel, kind, b"hang")
    waiting = asyncio.ensure_future(finish(running, kind))
    assert await asyncio.to_thread(service.entered.wait, 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.to_thread(service.ended.wait, 30)


async def test_cancel_of_an_open_stream_reaches_the_backend(stack: Stack) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def chat(requests: Any, context: Any) -> Any:
        context.add_callback(lambda: loop.call_soon_threadsafe(ended.set))
        yield from requests

    def register(server: grpc.Server) -> list[str]:
        handler = grpc.stream_stream_rpc_method_handler(chat, *echo.CODEC)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(echo.SERVICE, {"Chat": handler})])
        return [echo.SERVICE]

    stack.backend("a", register)
    channel = await stack.start()
    running = call(channel, "Chat")(metadata=_TO_A)
    await running.write(Ping(name="1"))
    assert (await running.read()).name == "1"
    await running.write(Ping(name="2"))
    assert (await running.read()).name == "2"
    running.cancel()
    async with asyncio.timeout(30):
        await ended.wait()


async def test_messages_larger_than_the_limit(stack: Stack) -> None:
    stack.backend("a", Echo().add_to)
    channel = await stack.start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, "Unary")(Ping(name=_NAME, data=bytes(5 * 1024 * 1024)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    large = bytes(4 * 1024 * 1024 - 100)
    assert (await call(channel, "Unary")(Ping(name=_NAME, data=large))).data == large
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await begin(channel, "Unary", b"large")
    assert isinstance(error_of(caught.value), LimitReached)


async def test_unknown_backend_method_and_name(stack: Stack) -> None:
    stack.backend("a", Echo().add_to)
    channel = await stack.start()
    for name, expected in (("backends/zz/x", BackendUnknown), ("backends/A", InvalidField), ("", InvalidField)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "Unary")(Ping(name=name))
        assert isinstance(error_of(caught.value), expected)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, "Collect")(_requests(Ping()))
    assert isinstance(error_of(caught.value), InvalidField)
    for make in (channel.unary_unary, channel.stream_unary):
        method: Any = make("/no.Such/Method")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"" if make == channel.unary_unary else _requests(b""))
        assert isinstance(error_of(caught.value), MethodUnknown)


@pytest.mark.parametrize("kind", _KINDS)
async def test_backend_down_and_back(stack: Stack, kind: str) -> None:
    stack.targets["a"] = f"unix:{stack.place}/a.sock"
    await stack.start()
    caught = await failure(stack, kind)
    assert caught.code() is grpc.StatusCode.UNAVAILABLE
    error = error_of(caught)
    assert isinstance(error, BackendUnavailable)
    assert error.metadata == {"backend": "a"}
    assert str(stack.place) not in str(caught)
    assert "unix" not in str(caught.details())
    assert stack.metric("pvesmb_gateway_backend_up", backend="a") == 0
    stack.backend("a", Echo().add_to)
    await _answers_again(stack, kind)
    assert stack.metric("pvesmb_gateway_backend_up", backend="a") == 1


async def _answers_again(stack: Stack, kind: str = "Unary") -> None:
    async with asyncio.timeout(30):
        while (caught := await attempt(stack, kind)) is not None:
            assert isinstance(error_of(caught), BackendUnavailable)
            await asyncio.sleep(0.05)


async def test_backend_killed_under_a_call_and_returning(stack: Stack) -> None:
    target = f"unix:{stack.place}/p.sock"
    stack.targets["a"] = target

    def spawn() -> subprocess.Popen[bytes]:
        (stack.place / "ready").unlink(missing_ok=True)
        argv = [sys.executable, "-m", "tests.unit.kit.process", str(stack.place), target]
        return subprocess.Popen(argv, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL)

    channel = await stack.start()
    child = spawn()
    try:
        await until((stack.place / "ready").exists)
        await _answers_again(stack)
        running = begin(channel, "Many", b"hang")
        assert [(await running.read()).count for _ in range(2)] == [0, 1]
        child.kill()
        child.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.read()
        assert isinstance(error_of(caught.value), BackendUnavailable)
        assert str(stack.place) not in str(caught.value)
        child = spawn()
        await until((stack.place / "ready").exists)
        await _answers_again(stack)
    finally:
        child.kill()
        child.wait()


async def test_backends_file_changes_while_calls_run(stack: Stack) -> None:
    service = Echo()
    stack.backend("a", service.add_to)
    channel = await stack.start()
    waiting = begin(channel, "Unary", b"wait")
    assert await asyncio.to_thread(service.entered.wait, 30)
    stack.write_file("")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await begin(channel, "Unary")
    assert isinstance(error_of(caught.value), BackendUnknown)
    service.release.set()
    assert (await waiting).name == _NAME
    stack.write_file()
    await begin(channel, "Unary")


async def test_broken_backends_file_leaves_the_old_one_in_force(stack: Stack) -> None:
    stack.backend("a", Echo().add_to)
    channel = await stack.start()
    assert stack.metric("pvesmb_gateway_backends_file_valid") == 1
    stack.write_file("[backends.a]\ntarget = ")
    await begin(channel, "Unary")
    assert stack.metric("pvesmb_gateway_backends_file_valid") == 0
    stack.write_file()
    assert stack.metric("pvesmb_gateway_backends_file_valid") == 1


async def test_a_gateway_behind_the_gateway_is_refused(stack: Stack) -> None:
    stack.targets["a"] = f"unix:{stack.place}/gateway.sock"
    channel = await stack.start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await begin(channel, "Unary")
    error = error_of(caught.value)
    assert isinstance(error, PreconditionFailed)
    assert "forwarded already" in error.message


async def test_help_and_info_of_own_errors(stack: Stack) -> None:
    channel = await stack.start()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await begin(channel, "Unary")
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info, help = error_details_pb2.ErrorInfo(), error_details_pb2.Help()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(help)
    assert (info.reason, info.domain, dict(info.metadata)) == ("BACKEND_UNKNOWN", "pvesmb", {"backend": "a"})
    assert "ListBackends" in help.links[0].description
