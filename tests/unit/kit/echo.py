"""A service with methods of all four kinds, made at run time, since the contract has unary methods only.

`data` says what a method does: see `Echo`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass

from services.core.errors import InvalidField, PreconditionFailed
from services.kit.identity import Identity, Role, current

SERVICE = "pvesmb.testing.Echo"


def _define() -> tuple[Any, Any]:
    pool = descriptor_pool.Default()
    try:
        file = pool.FindFileByName("pvesmb/testing/echo.proto")
    except KeyError:
        proto = descriptor_pb2.FileDescriptorProto(
            name="pvesmb/testing/echo.proto", package="pvesmb.testing", syntax="proto3"
        )
        message = proto.message_type.add(name="Ping")
        kinds = descriptor_pb2.FieldDescriptorProto
        message.field.add(name="name", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
        message.field.add(name="data", number=2, type=kinds.TYPE_BYTES, label=kinds.LABEL_OPTIONAL)
        message.field.add(name="count", number=3, type=kinds.TYPE_INT32, label=kinds.LABEL_OPTIONAL)
        service = proto.service.add(name="Echo")
        for name, client, server in METHODS:
            ping = ".pvesmb.testing.Ping"
            service.method.add(
                name=name, input_type=ping, output_type=ping, client_streaming=client, server_streaming=server
            )
        pool.Add(proto)
        file = pool.FindFileByName("pvesmb/testing/echo.proto")
    return GetMessageClass(file.message_types_by_name["Ping"]), file.services_by_name["Echo"]


METHODS = [("Unary", False, False), ("Many", False, True), ("Collect", True, False), ("Chat", True, True)]
Ping, DESCRIPTOR = _define()
ROLES: dict[str, Role | None] = {f"/{SERVICE}/{name}": Role.VIEWER for name, _, _ in METHODS}


@dataclass
class Echo:
    """Answers with what it got, and records what tests want to see."""

    metadata: dict[str, str | bytes] = field(default_factory=dict)
    caller: Identity | None = None
    remaining: float | None = None
    entered: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    #: The latest call is over, in whatever way.
    ended: threading.Event = field(default_factory=threading.Event)

    def add_to(self, server: grpc.Server) -> list[str]:
        handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary, *CODEC),
            "Many": grpc.unary_stream_rpc_method_handler(self.many, *CODEC),
            "Collect": grpc.stream_unary_rpc_method_handler(self.collect, *CODEC),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat, *CODEC),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        return [SERVICE]

    def unary(self, request: Any, context: Any) -> Any:
        self._note(context)
        if request.data == b"wait":
            assert self.release.wait(30)
        elif request.data == b"hang":
            assert self.ended.wait(30)
        elif request.data == b"large":
            return Ping(data=bytes(5 * 1024 * 1024))
        self._fail(request, context)
        return Ping(name=request.name, data=request.data)

    def many(self, request: Any, context: Any) -> Iterator[Any]:
        self._note(context)
        for i in range(request.count):
            yield Ping(name=request.name, count=i)
        self._fail(request, context)
        if request.data == b"wait":
            assert self.release.wait(30)
            yield Ping(name="released")
        if request.data == b"hang":
            assert self.ended.wait(30)

    def collect(self, requests: Iterator[Any], context: Any) -> Any:
        self._note(context)
        total = 0
        for request in requests:
            total += request.count
            self._fail(request, context)
        return Ping(count=total)

    def chat(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        self._note(context)
        for request in requests:
            self._fail(request, context)
            yield Ping(name=request.name, data=request.data)

    def _note(self, context: Any) -> None:
        self.ended = ended = threading.Event()
        if not context.add_callback(ended.set):
            ended.set()
        self.metadata = dict(context.invocation_metadata())
        self.caller = current()
        left = context.time_remaining()
        self.remaining = None if left is None or left > 1e9 else left
        context.send_initial_metadata([("x-initial", "i")])
        context.set_trailing_metadata([("x-trailing", "t"), ("x-trailing-bin", b"\x00\xff")])
        self.entered.set()

    def _fail(self, request: Any, context: Any) -> None:
        if request.data == b"rich":
            raise PreconditionFailed("not now", help="later", metadata={"k": "v"})
        if request.data == b"field":
            raise InvalidField.of("data", "is bad")
        if request.data == b"bug":
            raise ValueError("the password is hunter2")
        if request.data == b"left out":  # as generated code does it
            context.set_code(grpc.StatusCode.UNIMPLEMENTED)
            raise NotImplementedError("Method not implemented!")
        if request.data == b"unfinished":
            raise NotImplementedError
        if request.data.startswith(b"abort:"):
            context.abort(grpc.StatusCode[request.data[6:].decode()], "plain")


CODEC = (Ping.FromString, Ping.SerializeToString)


def call(channel: Any, name: str) -> Any:
    """The callable of a client for one of the methods, on either runtime's channel."""
    _, client, server = next(m for m in METHODS if m[0] == name)
    make = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[client, server]
    return make(f"/{SERVICE}/{name}", request_serializer=Ping.SerializeToString, response_deserializer=Ping.FromString)
