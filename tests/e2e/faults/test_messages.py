"""Bad messages: page tokens of other lists, bytes that are no message, messages that are too large."""

from __future__ import annotations

import base64
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pvesmb
import pytest
from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from pvesmb.v1 import backend_service_pb2, file_server_service_pb2, group_service_pb2, share_service_pb2, user_service_pb2

from gateway.router import methods_of
from tests.e2e.faults.raw import methods, raw
from tests.e2e.faults.scene import Bad, Scene, refuse_all
from tests.e2e.words import MIB
from tests.figures import Figures

#: A list request, and the method that takes it.
Asked = tuple[str, Any]

SHARES, USERS = "/pvesmb.v1.ShareService/ListShares", "/pvesmb.v1.UserService/ListUsers"
GROUPS, SERVERS = "/pvesmb.v1.GroupService/ListGroups", "/pvesmb.v1.FileServerService/ListFileServers"
OPERATIONS, BACKENDS = "/google.longrunning.Operations/ListOperations", "/pvesmb.v1.BackendService/ListBackends"


def lists(scene: Scene) -> dict[str, Asked]:
    """Every list with more than one page, at a page size of 1."""
    one, all_backends = scene.server.name, scene.server.name.replace(scene.deployment.backend, "backends/-")
    ready = "state = READY"
    servers, shares = file_server_service_pb2.ListFileServersRequest, share_service_pb2.ListSharesRequest
    return {
        "file servers": (SERVERS, servers(parent=scene.deployment.backend, page_size=1)),
        "file servers of all backends": (SERVERS, servers(parent="backends/-", page_size=1)),
        "file servers by state": (SERVERS, servers(parent=scene.deployment.backend, page_size=1, filter=ready)),
        "shares": (SHARES, shares(parent=one, page_size=1)),
        "shares of all backends": (SHARES, shares(parent=all_backends, page_size=1)),
        "shares by state": (SHARES, shares(parent=one, page_size=1, filter=ready)),
        "users": (USERS, user_service_pb2.ListUsersRequest(parent=one, page_size=1)),
        "operations": (OPERATIONS, operations_pb2.ListOperationsRequest(name=scene.deployment.backend, page_size=1)),
        "operations of all": (OPERATIONS, operations_pb2.ListOperationsRequest(name="backends/-", page_size=1)),
    }


def with_token(request: Any, token: str) -> bytes:
    copy = type(request)()
    copy.CopyFrom(request)
    copy.page_token = token
    return bytes(copy.SerializeToString())


def tokens(scene: Scene, call: Callable[[str, bytes], bytes]) -> Iterator[Bad]:
    """A token of each list, given to each other, and some that no list has given."""
    asked = lists(scene)
    given = {}
    for what, (path, request) in asked.items():
        method = next(m for p, m in methods() if p == path)
        answer = GetMessageClass(method.output_type).FromString(call(path, request.SerializeToString()))
        given[what] = answer.next_page_token  # type: ignore[attr-defined]
        assert given[what], f"{what} have a second page"
    asked["groups"] = (GROUPS, group_service_pb2.ListGroupsRequest(parent=scene.server.name))
    asked["backends"] = (BACKENDS, backend_service_pb2.ListBackendsRequest())
    for (mine, token), (theirs, (path, request)) in itertools.product(given.items(), asked.items()):
        if mine != theirs:
            yield Bad(f"{mine} -> {theirs}", _act(call, path, with_token(request, token)), "PAGE_TOKEN_INVALID")
    cut = given["shares"][:-4]
    turned = base64.urlsafe_b64encode(bytes(reversed(base64.urlsafe_b64decode(given["shares"])))).decode()
    for what, (path, request) in asked.items():
        for token in ("x", "%", "ü", "W10=", base64.urlsafe_b64encode(b"[" * 5000).decode(), cut, turned, "\0"):
            yield Bad(f"{token[:9]!r} -> {what}", _act(call, path, with_token(request, token)), "PAGE_TOKEN_INVALID")
        size = type(request)()
        size.CopyFrom(request)
        size.page_size = -1
        yield Bad(f"less than nothing of {what}", _act(call, path, size.SerializeToString()), "FIELD_INVALID", "page_size")


def _act(call: Callable[[str, bytes], bytes], path: str, data: bytes) -> Callable[[Scene], bytes]:
    return lambda _: call(path, data)


def test_page_tokens(scene: Scene, figures: Figures) -> None:
    other = scene.deployment.new_server()
    with raw(scene.deployment) as call:
        refuse_all(scene, figures, "page tokens of other lists, or of none", list(tokens(scene, call)))
    scene.client.file_servers.delete(other.name).result(timeout=60)


#: What is added to the route of a request, so that it reaches a backend and is no message there.
BROKEN = {
    "half a length": b"\xfa",
    "more than there is": b"\x7a\x7f",
    "a group that does not end": b"\x7b",
    "the end of no group": b"\x7c",
    "an unknown wire type": b"\x7e\x00",
    "field 0": b"\x02\x00",
    "an endless number": b"\x78" + b"\xff" * 11,
    "a deep message": b"\x7b" * 200,
}


def routed(scene: Scene, path: str, method: MethodDescriptor) -> bytes:
    """The least request of a method that goes to the backend."""
    route = methods_of([method.containing_service])[path].route
    name = f"{scene.deployment.backend}/fileServers/{scene.server.id}".encode()
    for number in reversed(route):
        name = bytes([number << 3 | 2, len(name)]) + name
    return name


def malformed(scene: Scene, call: Callable[[str, bytes], bytes]) -> Iterator[Bad]:
    for path, method in methods():
        for what, data in BROKEN.items():
            act = _act(call, path, routed(scene, path, method) + data)
            yield Bad(f"{path}: {what}", act, "FIELD_INVALID", "request")
        for field in method.input_type.fields:
            if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE) and field.number < 16:
                bad = bytes([field.number << 3 | 2, 2, 0xC3, 0x28])  # neither UTF-8 nor a message
                act = _act(call, path, bad + routed(scene, path, method))
                yield Bad(f"{path}: {field.name} of no text", act, "FIELD_INVALID", "request")


def test_bytes_that_are_no_message(scene: Scene, figures: Figures) -> None:
    with raw(scene.deployment) as call:
        refuse_all(scene, figures, "bytes that are no message", list(malformed(scene, call)))
    assert "unexpected error" not in scene.deployment.service.log.read_text()


def memory(pid: int) -> int:
    """The most that a process has had in memory, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024


def too_large(call: Callable[[str, bytes], bytes], size: int) -> Sequence[Bad]:
    user = user_service_pb2.CreateUserRequest(user=pvesmb.User(password="x" * size))
    users = user.SerializeToString()
    requests = {path: users for path, m in methods() if m.input_type.full_name == "pvesmb.v1.CreateUserRequest"}
    requests |= {path: b"\x7a\xff\xff\xff\xff\x01" + bytes(size) for path, _ in methods() if path not in requests}
    error = partial(Bad, reason="LIMIT_REACHED", code=pvesmb.ResourceExhausted)
    return [error(f"{path}: {size}", partial(_send, call, path, data)) for path, data in requests.items()]


def _send(call: Callable[[str, bytes], bytes], path: str, data: bytes, _: Scene) -> bytes:
    return call(path, data)


def test_large_messages(scene: Scene, full: bool, figures: Figures) -> None:
    """One of 5 MiB is refused by us with what to do; the client library says that of one that gRPC itself refuses. Many at
    once cost no more memory than they have at once."""
    deployment, messages = scene.deployment, 512 if full else 128
    with raw(deployment) as call:
        table = too_large(call, 5 * MIB)
        refuse_all(scene, figures, "messages of 5 MiB", table)
        with pytest.raises(pvesmb.ResourceExhausted, match="larger than max") as raised:
            call(SHARES, os.urandom(100 * MIB))
        assert "4 MiB" in raised.value.help
        pids = (deployment.gateway.pid, deployment.service.pid)
        before = [memory(pid) for pid in pids]
        with ThreadPoolExecutor(8) as pool:
            errors = list(pool.map(lambda _: refused(call, bytes(5 * MIB)), range(messages)))
        assert set(errors) == {"LIMIT_REACHED"}
        grown = [(memory(pid) - now) // MIB for pid, now in zip(pids, before, strict=True)]
    # Copies of what 8 clients send at once, and less than all that is sent.
    assert grown[0] <= 512 and grown[1] <= 16, f"MiB more in gateway and backend: {grown}"
    what = f"memory that {messages} messages of 5 MiB by 8 clients cost the gateway, the backend"
    figures.put("input", what, f"{grown[0]} MiB, {grown[1]} MiB")


def refused(call: Callable[[str, bytes], bytes], data: bytes) -> str:
    with pytest.raises(pvesmb.ResourceExhausted) as raised:
        call(SHARES, data)
    return raised.value.reason
