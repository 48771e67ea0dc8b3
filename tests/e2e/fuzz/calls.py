"""Makes calls of every kind with raw bytes, as no generated client would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.e2e.fuzz.inputs import Input
from tests.e2e.fuzz.verdict import Outcome

#: Above what the caller's own clock may need to notice that its deadline has passed.
SLACK = 10.0
#: Their descriptors have to be in the pool, and importing them puts them there.
_KNOWN = (health_pb2, reflection_pb2)


def methods(channel: grpc.Channel) -> Mapping[str, MethodDescriptor]:
    """Every method that the server shows by reflection, by its path."""
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    [answer] = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
    pool, found = descriptor_pool.Default(), {}
    for service in answer.list_services_response.service:
        for method in pool.FindServiceByName(service.name).methods:
            found[f"/{service.name}/{method.name}"] = method
    return found


def call(channel: grpc.Channel, given: Input) -> Outcome:
    """The outcome of one call; a stream is read until it ends, by itself or by its deadline."""
    make: Any = channel.stream_stream if given.method.client_streaming else channel.unary_stream
    request = iter([given.body]) if given.method.client_streaming else given.body
    # A stream of one response is the same on the wire as a single response, and tells how often it came.
    going = make(given.path)(request, timeout=given.seconds, metadata=given.metadata or None)
    responses = list(_read(going))
    return Outcome(going.code(), going.details() or "", tuple(going.trailing_metadata() or ()), responses)


def _read(going: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from going
    except grpc.RpcError:
        return
