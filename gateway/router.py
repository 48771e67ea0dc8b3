"""Where a call goes: a pure function of its method, its bytes and one piece of metadata.

All backends serve the same contract, so the method cannot choose. The backend stands in the resource name: in `name` or
`parent` of the request, or in `name` of the resource that it carries. Only that field is read from the wire, and the bytes
go on as they came. Which field that is follows from the descriptors, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from services.core.errors import InvalidField
from services.kit.calls import malformed

#: Metadata that names the backend of a method whose request does not.
BACKEND_KEY = "x-pvesmb-backend"
#: What `backend_of` returns for a list over all backends.
EVERY: Final = "-"

_BACKEND = re.compile(r"[a-z][a-z0-9-]{0,39}\Z")
_LENGTH_DELIMITED = 2


@dataclass(frozen=True)
class Method:
    """What the gateway knows of a method that it forwards."""

    path: str
    input: Descriptor
    output: Descriptor
    request_streaming: bool
    response_streaming: bool
    #: Field numbers that lead to the resource name; empty where the request has none.
    route: tuple[int, ...]
    #: The same as a field path for people.
    field: str

    @property
    def is_list(self) -> bool:
        """Whether `-` may stand for the backend: the answer can say what could not be reached."""
        return "unreachable" in self.output.fields_by_name and "page_token" in self.input.fields_by_name


def methods_of(services: Iterable[ServiceDescriptor]) -> dict[str, Method]:
    """The methods of the services, by their paths."""
    found = {}
    for service in services:
        for m in service.methods:
            route, field = _route(m.input_type)
            path = f"/{service.full_name}/{m.name}"
            streams = bool(m.client_streaming), bool(m.server_streaming)
            found[path] = Method(path, m.input_type, m.output_type, *streams, route, field)
    return found


def backend_of(method: Method, request: bytes | None, metadata: Mapping[str, str]) -> str:
    """The id of the backend, or EVERY. `InvalidField` at the field that does not say it.

    `request` is None for streams of requests, which only metadata can direct.
    """
    if request is None or not method.route:
        return _by_metadata(metadata)
    name = resource_name(method, request)
    parts = name.split("/", 2)
    if len(parts) < 2 or parts[0] != "backends":
        raise InvalidField.of(method.field, "must begin with backends/{backend}")
    if parts[1] == EVERY:
        if not method.is_list:
            raise InvalidField.of(method.field, "must name one backend; only lists take - for it")
        return EVERY
    if not _BACKEND.match(parts[1]):
        raise InvalidField.of(method.field, "the backend must be 1 to 40 lower-case letters, digits and hyphens")
    return parts[1]


def resource_name(method: Method, request: bytes) -> str:
    """The resource name in a serialized request, as a full parse would read it; empty if it has none."""
    if not method.route:
        return ""
    try:
        raw = _peek(memoryview(request), method.route)
        return "" if raw is None else bytes(raw).decode()
    except (_Unusual, UnicodeDecodeError):
        return _named(method, request)


def _by_metadata(metadata: Mapping[str, str]) -> str:
    backend = metadata.get(BACKEND_KEY, "")
    if not _BACKEND.match(backend):
        raise InvalidField.of(BACKEND_KEY, "this call needs the id of a backend in the metadata of this name")
    return backend


def _route(message: Descriptor) -> tuple[tuple[int, ...], str]:
    for name in ("name", "parent"):
        if (field := message.fields_by_name.get(name)) is not None and _is_string(field):
            return (field.number,), name
    for field in message.fields:
        if field.message_type is not None and not field.is_repeated:
            inner = field.message_type.fields_by_name.get("name")
            if inner is not None and _is_string(inner):
                return (field.number, inner.number), f"{field.name}.name"
    return (), ""


def _is_string(field: FieldDescriptor) -> bool:
    return bool(field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated)


class _Unusual(Exception):
    """The bytes need the real parser: groups, over-long numbers, truncation."""


def _peek(data: memoryview, route: tuple[int, ...]) -> memoryview | None:
    """The last value on the route: of a field that comes twice the last counts, and messages that come twice are merged."""
    wanted, rest, found, at = route[0], route[1:], None, 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag > 0xFFFFFFFF:
            raise _Unusual
        if wire == _LENGTH_DELIMITED:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise _Unusual
            if number == wanted:
                value = data[at : at + size]
                inner = _peek(value, rest) if rest else value
                found = found if inner is None else inner
            at += size
        elif wire == 0:
            _, at = _varint(data, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            if at > len(data):
                raise _Unusual
        else:
            raise _Unusual
    return found


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    for i in range(at, min(at + 10, len(data))):
        byte = data[i]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, i + 1
        shift += 7
    raise _Unusual


def parse(method: Method, request: bytes) -> Any:
    """The request as a message of its method; `InvalidField` if it is none."""
    message: Any = GetMessageClass(method.input)()
    try:
        message.ParseFromString(request)
    except DecodeError:
        raise malformed() from None
    return message


def _named(method: Method, request: bytes) -> str:
    """The resource name, by a parse of the whole."""
    message = parse(method, request)
    for part in method.field.split("."):
        message = getattr(message, part)
    return str(message)
