"""Inputs that once did harm, found by `test_fuzz`, and what they get now."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pvesmb
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from pvesmb.v1 import file_server_service_pb2, share_service_pb2

from tests.e2e import modes
from tests.e2e.deployment import Deployment
from tests.e2e.fuzz import calls
from tests.e2e.fuzz.inputs import Input
from tests.e2e.fuzz.verdict import faults
from tests.e2e.words import Server


@pytest.fixture(scope="module")
def server(_shared: Deployment) -> Server:
    _shared.running()
    return _shared.new_server()


@pytest.fixture
def channel(deployment: Deployment) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix:{deployment.gateway.socket}") as channel:
        yield channel


def refusal(channel: grpc.Channel, service: str, method: str, request: Message | bytes) -> tuple[str, str]:
    """Code and text of the answer, which has to be as every answer has to be."""
    body = request if isinstance(request, bytes) else request.SerializeToString()
    given = Input(descriptor_pool.Default().FindServiceByName(service).methods_by_name[method], body, "a case")
    outcome = calls.call(channel, given)
    assert list(faults(given, outcome)) == []
    return outcome.code.name, outcome.details


def test_a_filter_that_takes_hours_to_read(channel: grpc.Channel, server: Server) -> None:
    """Its time grew with the square of the length, and nothing else was answered meanwhile."""
    for text in ("a" + " " * 2**20, "state = READY" + " " * 2**20 + "x", "state = READY AND " * 2**16):
        request = share_service_pb2.ListSharesRequest(parent=server.name, filter=text)
        code, details = refusal(channel, "pvesmb.v1.ShareService", "ListShares", request)
        assert (code, details) == ("INVALID_ARGUMENT", "filter: must be at most 10000 characters long")


@modes.only("native")
@pytest.mark.parametrize("zone", ["%eth0", "%x\ninclude = /etc/passwd", "% 0.0.0.0/0"])
def test_an_address_with_a_zone(channel: grpc.Channel, server: Server, zone: str) -> None:
    """What stood after `%` went into smb.conf unread."""
    native = pvesmb.NativeDeployment(listen_addresses=[f"fe80::1{zone}"])
    request = file_server_service_pb2.CreateFileServerRequest(
        parent=server.name.rpartition("/fileServers/")[0],
        file_server_id="zone",
        file_server=pvesmb.FileServer(native=native),
    )
    code, details = refusal(channel, "pvesmb.v1.FileServerService", "CreateFileServer", request)
    assert code == "INVALID_ARGUMENT" and details.startswith("file_server.native.listen_addresses[0]: 'fe80::1%")
    share = share_service_pb2.CreateShareRequest(
        parent=server.name, share_id="zone", share=pvesmb.Share(hosts_allow=[f"fe80::1{zone}"])
    )
    code, details = refusal(channel, "pvesmb.v1.ShareService", "CreateShare", share)
    assert code == "INVALID_ARGUMENT" and details.startswith("share.hosts_allow[0]: 'fe80::1%")


@pytest.mark.parametrize("letter", ["💣", "é", "%"])
def test_an_error_that_repeats_a_long_text(channel: grpc.Channel, server: Server, letter: str) -> None:
    """It did not fit into what a receiver takes, who made RESOURCE_EXHAUSTED of it."""
    for share in (pvesmb.Share(labels={letter * 5000: "x"}), pvesmb.Share(smb_options={letter * 5000: "x"})):
        request = share_service_pb2.CreateShareRequest(parent=server.name, share_id="long", share=share)
        code, details = refusal(channel, "pvesmb.v1.ShareService", "CreateShare", request)
        assert code == "INVALID_ARGUMENT" and details.startswith("share.")


def test_a_stream_of_bytes_that_are_no_messages(channel: grpc.Channel, server: Server) -> None:
    """Of a stream gRPC decoded them itself, and called its failure ours."""
    code, _ = refusal(channel, "grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", b"\x22\x16")
    assert code == "INVALID_ARGUMENT"


def test_a_method_that_is_declared_and_not_served(channel: grpc.Channel, server: Server) -> None:
    """The gateway's health service has no List; calling it was a fault of ours."""
    code, _ = refusal(channel, "grpc.health.v1.Health", "List", health_pb2.HealthListRequest())
    assert code == "UNIMPLEMENTED"
