"""Routing, against the real parser as the judge."""

from __future__ import annotations

from typing import Any

import pytest
from google.longrunning import operations_pb2
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st
from pvesmb.v1 import file_server_service_pb2, share_pb2, share_service_pb2, user_service_pb2

from gateway.app import FORWARDED
from gateway.router import EVERY, Method, backend_of, methods_of, resource_name
from services.core.errors import InvalidField

METHODS = methods_of(FORWARDED)
_SHARES = "/pvesmb.v1.ShareService/"
_OPERATIONS = "/google.longrunning.Operations/"


def route(path: str, message: Message | bytes | None, **metadata: str) -> str:
    raw = message.SerializeToString() if isinstance(message, Message) else message
    return backend_of(METHODS[path], raw, {k.replace("_", "-"): v for k, v in metadata.items()})


@pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
def test_every_method_of_the_contract_can_be_routed(method: Method) -> None:
    request: Any = GetMessageClass(method.input)()
    target = request
    *path, last = method.field.split(".")
    for part in path:
        target = getattr(target, part)
    setattr(target, last, "backends/node-1/fileServers/x")
    assert backend_of(method, request.SerializeToString(), {}) == "node-1"


def test_which_methods_take_a_wildcard() -> None:
    lists = {m.path for m in METHODS.values() if m.is_list}
    assert lists == {m.path for m in METHODS.values() if "/List" in m.path}
    for m in METHODS.values():
        assert not m.request_streaming
        assert not m.response_streaming


def test_routes() -> None:
    name = "backends/a/fileServers/f/shares/s"
    assert route(_SHARES + "GetShare", share_service_pb2.GetShareRequest(name=name)) == "a"
    update = share_service_pb2.UpdateShareRequest(share=share_pb2.Share(name=name, comment="backends/b/"))
    assert route(_SHARES + "UpdateShare", update) == "a"
    assert route(_OPERATIONS + "GetOperation", operations_pb2.GetOperationRequest(name="backends/b/operations/1")) == "b"
    listing = operations_pb2.ListOperationsRequest(name="backends/c", filter="x")
    assert route(_OPERATIONS + "ListOperations", listing) == "c"
    # The name decides, whatever the metadata say.
    request = share_service_pb2.GetShareRequest(name=name)
    assert route(_SHARES + "GetShare", request, x_pvesmb_backend="other") == "a"


def test_wildcard() -> None:
    listing = share_service_pb2.ListSharesRequest(parent="backends/-/fileServers/f")
    assert route(_SHARES + "ListShares", listing) == EVERY
    with pytest.raises(InvalidField, match="only lists"):
        route(_SHARES + "GetShare", share_service_pb2.GetShareRequest(name="backends/-/fileServers/f/shares/s"))
    with pytest.raises(InvalidField, match="only lists"):
        route(_SHARES + "CreateShare", share_service_pb2.CreateShareRequest(parent="backends/-/fileServers/f"))


@pytest.mark.parametrize(
    "name", ["", "x", "backends", "backends/", "backends//x", "backends/A", "/backends/a", "backends/a b/"]
)
def test_bad_names_are_refused_at_their_field(name: str) -> None:
    cases = [
        ("name", _SHARES + "GetShare", share_service_pb2.GetShareRequest(name=name)),
        ("parent", _SHARES + "CreateShare", share_service_pb2.CreateShareRequest(parent=name)),
        ("share.name", _SHARES + "UpdateShare", share_service_pb2.UpdateShareRequest(share=share_pb2.Share(name=name))),
    ]
    for field, path, message in cases:
        with pytest.raises(InvalidField) as caught:
            route(path, message)
        assert caught.value.violations[0].subject == field


def test_metadata_route_streams() -> None:
    assert route(_SHARES + "GetShare", None, x_pvesmb_backend="a") == "a"
    for value in ("", "-", "A/b"):
        with pytest.raises(InvalidField) as caught:
            route(_SHARES + "GetShare", None, x_pvesmb_backend=value)
        assert caught.value.violations[0].subject == "x-pvesmb-backend"


def test_bytes_that_are_no_message() -> None:
    for raw in (b"\x0a\xff", b"\x0a\x05ab", b"\xff" * 12, b"\x0a\x02\xff\xfe", b"\x00\x01"):
        with pytest.raises(InvalidField, match="not a message"):
            route(_SHARES + "GetShare", raw)


def test_messages_that_come_twice_are_merged_and_values_replaced() -> None:
    method = METHODS[_SHARES + "UpdateShare"]
    named, renamed = _delimited(1, _delimited(1, b"backends/a/x")), _delimited(1, _delimited(1, b"backends/b/x"))
    other = _delimited(1, _delimited(3, b"comment"))
    for raw, wanted in ((named + other, "backends/a/x"), (named + other + renamed, "backends/b/x"), (other, "")):
        assert _read_by_protobuf(method, raw) == resource_name(method, raw) == wanted


def _read_by_protobuf(method: Method, raw: bytes) -> str | None:
    message: Any = GetMessageClass(method.input)()
    try:
        message.ParseFromString(raw)
    except DecodeError:
        return None
    for part in method.field.split("."):
        message = getattr(message, part)
    return str(message)


_NAMED = ["GetShare", "UpdateShare", "CreateShare"]
_VARINT = st.integers(0, 2**64 - 1).map(lambda n: _varint(n))
_NAME = st.sampled_from(["backends/a", "backends/b/x", "", "ä"]) | st.text(max_size=8)


def _varint(n: int) -> bytes:
    out = b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def _delimited(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _fields(depth: int) -> st.SearchStrategy[bytes]:
    number = st.sampled_from([1, 1, 1, 2, 3, 4, 15, 16, 5000])
    payload = _NAME.map(str.encode) | st.binary(max_size=6)
    if depth:
        payload = payload | _fields(depth - 1)
    one = st.one_of(
        st.builds(_delimited, number, payload),
        st.builds(lambda n, v: _varint(n << 3) + v, number, _VARINT),
        st.builds(lambda n, v: _varint(n << 3 | 1) + v, number, st.binary(min_size=8, max_size=8)),
        st.builds(lambda n, v: _varint(n << 3 | 5) + v, number, st.binary(min_size=4, max_size=4)),
        st.builds(
            lambda n, v: _varint(n << 3 | 3) + v + _varint(n << 3 | 4),
            number,
            st.just(b"") | _VARINT.map(lambda v: b"\x08" + v),
        ),
    )
    return st.lists(one, max_size=4).map(b"".join)


@given(st.sampled_from(_NAMED), _fields(2))
def test_reads_what_protobuf_reads(name: str, raw: bytes) -> None:
    method = METHODS[_SHARES + name]
    wanted = _read_by_protobuf(method, raw)
    if wanted is not None:
        assert resource_name(method, raw) == wanted


@given(st.sampled_from(_NAMED), st.binary(max_size=40))
def test_noise_gives_the_same_or_a_typed_refusal(name: str, raw: bytes) -> None:
    method = METHODS[_SHARES + name]
    wanted = _read_by_protobuf(method, raw)
    try:
        found = resource_name(method, raw)
    except InvalidField:
        assert wanted is None
    else:
        assert wanted is None or found == wanted


@given(st.text(max_size=30), st.text(max_size=30), st.binary(max_size=30))
def test_real_messages(parent: str, id: str, password: bytes) -> None:
    request = user_service_pb2.CreateUserRequest(parent=parent, user_id=id)
    request.user.password = password.hex()
    path = "/pvesmb.v1.UserService/CreateUser"
    assert resource_name(METHODS[path], request.SerializeToString()) == parent
    server = file_server_service_pb2.UpdateFileServerRequest()
    server.file_server.name = parent
    server.file_server.description = id
    path = "/pvesmb.v1.FileServerService/UpdateFileServer"
    assert resource_name(METHODS[path], server.SerializeToString()) == parent
