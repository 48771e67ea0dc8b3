"""What an answer may be, whatever was asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from services.core.errors import REASONS
from services.kit.listen import RECEIVE_MAX
from tests.e2e.fuzz.inputs import METADATA_MAX, PLAIN_SECONDS, Input
from tests.e2e.fuzz.values import is_secret, slots
from tests.e2e.words import CANARY

_FORBIDDEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)
_REASONS = set(REASONS) - {"INTERNAL"}
#: Services that gRPC itself implements; what they answer they answer without our details.
_FOREIGN = ("grpc.health.v1.", "grpc.reflection.")


@dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    code: grpc.StatusCode
    details: str
    trailing: Sequence[tuple[str, str | bytes]] = ()
    responses: Sequence[bytes] = field(default=())


def faults(given: Input, outcome: Outcome) -> Iterator[str]:
    """All that is wrong with an answer."""
    if outcome.code in _FORBIDDEN:
        yield f"{outcome.code.name}: {outcome.details}"
    everything = [outcome.details, *(f"{key}: {value!r}" for key, value in outcome.trailing)]
    if any(CANARY in text for text in everything) or any(CANARY.encode() in body for body in outcome.responses):
        yield f"a secret came back: {outcome}"
    for body in outcome.responses:
        yield from _response_faults(GetMessageClass(given.method.output_type).FromString(body))
    if outcome.code is not grpc.StatusCode.OK and made_by_grpc(given, outcome) is None:
        yield from _error_faults(outcome)


def made_by_grpc(given: Input, outcome: Outcome) -> str | None:
    """Which of the errors this is that gRPC makes before, or after, our code; None if it is none of them."""
    if outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        if given.seconds < PLAIN_SECONDS:
            return "the caller's deadline"
        return None
    size = sum(len(key) + len(value) for key, value in given.metadata)
    if outcome.code is grpc.StatusCode.RESOURCE_EXHAUSTED and size > METADATA_MAX:
        return "metadata larger than a receiver takes"
    if outcome.code is grpc.StatusCode.RESOURCE_EXHAUSTED and len(given.body) > RECEIVE_MAX:
        return "a message larger than a receiver takes"
    if given.method.containing_service.full_name.startswith(_FOREIGN) and not _details(outcome):
        return "health and reflection, which gRPC implements"
    return None


def _error_faults(outcome: Outcome) -> Iterator[str]:
    status = _details(outcome)
    if status is None:
        yield f"{outcome.code.name} without details: {outcome.details}"
        return
    if status.code != outcome.code.value[0] or status.message != outcome.details:
        yield f"the details say {status.code} {status.message!r}, the call {outcome.code} {outcome.details!r}"
    yield from status_faults(status)


def status_faults(status: status_pb2.Status) -> Iterator[str]:
    """What is wrong with a `google.rpc.Status`, of an answer or of an operation that failed."""
    info, help = error_details_pb2.ErrorInfo(), error_details_pb2.Help()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(help)
    if info.domain != "pvesmb" or info.reason not in _REASONS:
        yield f"{status.message!r} has the reason {info.domain} {info.reason}"
    if not help.links or not help.links[0].description:
        yield f"{status.message!r} does not say what to do"
    if CANARY in str(status):
        yield f"a secret is in {status}"


def _response_faults(response: Message) -> Iterator[str]:
    for owner, descriptor in slots(response):
        if is_secret(descriptor) and getattr(owner, descriptor.name):
            yield f"{descriptor.full_name} was answered"


def _details(outcome: Outcome) -> status_pb2.Status | None:
    for key, value in outcome.trailing:
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return None
