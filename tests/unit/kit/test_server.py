"""A whole server on a Unix socket: what every RPC of every backend goes through."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from prometheus_client import CollectorRegistry
from pvesmb.v1 import user_service_pb2

from services.core.errors import Internal, InvalidField, LimitReached, MethodUnknown, PreconditionFailed, PvesmbError
from services.kit import metrics, server
from services.kit.config import ConfigError, ServerConfig
from services.kit.health import Check
from services.kit.identity import Identity, Role
from services.kit.policy import ROLES
from services.kit.status import from_status
from tests.logs import captured
from tests.unit.kit import echo
from tests.unit.kit.echo import Echo, Ping, call

_ROLES = {**ROLES, **echo.ROLES}


@contextlib.contextmanager
def serving(
    place: Path,
    service: Echo,
    *,
    checks: Mapping[str, Check] | None = None,
    registry: CollectorRegistry | None = None,
    **config: Any,
) -> Iterator[Any]:
    path = f"unix:{place}/s.sock"
    settings = ServerConfig.model_validate({"listen": [path], **config})
    running = server.start(
        settings,
        register=service.add_to,
        checks=checks or {},
        registry=registry or CollectorRegistry(),
        roles=_ROLES,
        check_ttl=0.02,
    )
    try:
        with grpc.insecure_channel(path, options=[("grpc.max_receive_message_length", -1)]) as channel:
            yield channel
    finally:
        running.stop(0)


def free_address() -> str:
    with socket.socket() as s:
        s.bind(("127.83.7.1", 0))
        return f"127.83.7.1:{s.getsockname()[1]}"


def error_of(e: grpc.RpcError) -> PvesmbError | None:
    status = rpc_status.from_call(e)
    return from_status(status) if status is not None else None


def test_a_message_that_is_too_large(place: Path) -> None:
    with serving(place, Echo()) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Unary")(Ping(data=bytes(5 * 1024**2)))
        error = error_of(caught.value)
        assert isinstance(error, LimitReached)
        assert error.help
        assert call(channel, "Unary")(Ping(name="a")).name == "a"


def test_all_four_kinds(place: Path) -> None:
    with serving(place, Echo()) as channel:
        assert call(channel, "Unary")(Ping(name="a")).name == "a"
        assert [p.count for p in call(channel, "Many")(Ping(count=3))] == [0, 1, 2]
        assert call(channel, "Collect")(iter([Ping(count=1), Ping(count=2)])).count == 3
        assert [p.name for p in call(channel, "Chat")(iter([Ping(name="a"), Ping(name="b")]))] == ["a", "b"]


def _provoke(channel: Any, kind: str, data: bytes) -> grpc.RpcError:
    request = Ping(data=data)
    with pytest.raises(grpc.RpcError) as caught:
        answer = call(channel, kind)(iter([request]) if kind in ("Collect", "Chat") else request)
        if kind in ("Many", "Chat"):
            list(answer)
    return caught.value


@pytest.mark.parametrize("kind", [m[0] for m in echo.METHODS])
def test_errors_are_typed_for_every_kind(place: Path, kind: str) -> None:
    with serving(place, Echo()) as channel:
        rich = _provoke(channel, kind, b"rich")
        assert rich.code() is grpc.StatusCode.FAILED_PRECONDITION
        error = error_of(rich)
        assert isinstance(error, PreconditionFailed)
        assert (error.message, error.help, error.metadata) == ("not now", "later", {"k": "v"})
        assert isinstance(error_of(_provoke(channel, kind, b"field")), InvalidField)


@pytest.mark.parametrize("kind", [m[0] for m in echo.METHODS])
def test_unexpected_error_shows_only_an_incident(place: Path, kind: str) -> None:
    with serving(place, Echo()) as channel, captured() as logs:
        error = _provoke(channel, kind, b"bug")
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "hunter2" not in str(error)
        known = error_of(error)
    assert known is not None
    incidents = [line for line in logs if line.get("incident") == known.metadata["incident"]]
    assert "hunter2" in str(incidents[0]["exception"])


@pytest.mark.parametrize("kind", [m[0] for m in echo.METHODS])
def test_abort_by_a_handler_passes(place: Path, kind: str) -> None:
    with serving(place, Echo()) as channel:
        error = _provoke(channel, kind, b"abort:OUT_OF_RANGE")
        assert (error.code(), error.details()) == (grpc.StatusCode.OUT_OF_RANGE, "plain")


@pytest.mark.parametrize("kind", [m[0] for m in echo.METHODS])
def test_bytes_that_are_no_message(place: Path, kind: str) -> None:
    """gRPC itself would say INTERNAL."""
    with serving(place, Echo()) as channel:
        for good, bad in ((b"", b"\x0a\x05x"), (Ping(count=1).SerializeToString(), b"\x0a\x01\xff")):
            streams = kind in ("Collect", "Chat")
            make = channel.stream_stream if streams else channel.unary_stream
            request = iter([good, bad]) if streams else bad
            with pytest.raises(grpc.RpcError) as caught:
                list(make(f"/{echo.SERVICE}/{kind}")(request, timeout=20))
            error = error_of(caught.value)
            assert isinstance(error, InvalidField)
            assert [v.subject for v in error.violations] == ["request"]


def test_a_method_that_the_servicer_leaves_out(place: Path) -> None:
    with serving(place, Echo()) as channel:
        assert isinstance(error_of(_provoke(channel, "Unary", b"left out")), MethodUnknown)
        assert isinstance(error_of(_provoke(channel, "Unary", b"unfinished")), Internal)


def test_unknown_method(place: Path) -> None:
    with serving(place, Echo()) as channel:
        for make in (channel.unary_unary, channel.unary_stream):
            with pytest.raises(grpc.RpcError) as caught:
                list(make("/no.Such/Method")(b""))
            assert isinstance(error_of(caught.value), MethodUnknown)
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary("/no.Such/Method")(iter([b""]))
        assert isinstance(error_of(caught.value), MethodUnknown)


def _samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    keys = ("grpc_type", "grpc_service", "grpc_method", "grpc_code")
    return {
        tuple(sample.labels[k] for k in keys if k in sample.labels): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == name
    }


def test_metrics_have_the_usual_names_and_codes(place: Path) -> None:
    registry = CollectorRegistry()
    with serving(place, Echo(), registry=registry) as channel:
        call(channel, "Unary")(Ping())
        _provoke(channel, "Unary", b"rich")
        _provoke(channel, "Unary", b"bug")
        _provoke(channel, "Chat", b"abort:OUT_OF_RANGE")
        for i in range(3):
            with pytest.raises(grpc.RpcError):
                channel.unary_unary(f"/made.up/Name{i}")(b"")
    assert _samples(registry, "grpc_server_handled_total") == {
        ("unary", echo.SERVICE, "Unary", "OK"): 1,
        ("unary", echo.SERVICE, "Unary", "FailedPrecondition"): 1,
        ("unary", echo.SERVICE, "Unary", "Internal"): 1,
        ("bidi_stream", echo.SERVICE, "Chat", "OutOfRange"): 1,
        ("bidi_stream", "unknown", "unknown", "Unimplemented"): 3,
    }
    assert _samples(registry, "grpc_server_started_total")[("unary", echo.SERVICE, "Unary")] == 3
    assert _samples(registry, "grpc_server_handling_seconds_count")[("unary", echo.SERVICE, "Unary")] == 3


def test_deadline_is_counted_as_such(place: Path) -> None:
    registry, service = CollectorRegistry(), Echo()
    with serving(place, service, registry=registry) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, "Unary")(Ping(data=b"hang"), timeout=0.2)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert service.ended.wait(10)
        wanted = ("unary", echo.SERVICE, "Unary", "DeadlineExceeded")
        _until(lambda: _samples(registry, "grpc_server_handled_total").get(wanted) == 1)


def _until(condition: Any) -> None:
    done = threading.Event()
    for _ in range(500):
        if condition():
            return
        done.wait(0.02)
    raise AssertionError("it never came true")


def test_more_calls_than_allowed_are_refused_at_once(place: Path) -> None:
    service = Echo()
    with serving(place, service, max_workers=2, max_concurrent_rpcs=2) as channel:
        first = [call(channel, "Unary").future(Ping(data=b"wait")) for _ in range(2)]
        _until(lambda: service.entered.is_set())
        codes = set()
        for _ in range(50):  # the second may not have been counted yet when the third arrives
            with contextlib.suppress(futures.TimeoutError, grpc.FutureTimeoutError):
                third = call(channel, "Unary").future(Ping())
                codes.add(third.exception(timeout=1) and third.code())
            if grpc.StatusCode.RESOURCE_EXHAUSTED in codes:
                break
        service.release.set()
        assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
        assert all(f.result(timeout=10) for f in first)


def test_message_limit_is_typed_by_grpc(place: Path) -> None:
    with serving(place, Echo()) as channel:
        for request in (Ping(data=bytes(5 * 1024 * 1024)), Ping(data=b"large")):
            with pytest.raises(grpc.RpcError) as caught:
                call(channel, "Unary")(request)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_handlers_know_the_caller(place: Path) -> None:
    service = Echo()
    with serving(place, service) as channel:
        call(channel, "Unary")(Ping())
        assert service.caller == Identity("local", Role.ADMIN)
        forwarded = [("x-pvesmb-principal", "alice"), ("x-pvesmb-role", "viewer")]
        list(call(channel, "Many")(Ping(count=1), metadata=forwarded))
        assert service.caller == Identity("alice", Role.VIEWER)


def test_audit_line_without_body(place: Path) -> None:
    name = "backends/a/fileServers/b/users/c"

    def refuse(request: Any, context: Any) -> Any:
        raise PreconditionFailed("no")

    def register(grpc_server: grpc.Server) -> list[str]:
        decode = user_service_pb2.ResetPasswordRequest.FromString
        handlers: dict[str, Any] = {"ResetPassword": grpc.unary_unary_rpc_method_handler(refuse, decode, bytes)}
        generic = grpc.method_handlers_generic_handler("pvesmb.v1.UserService", handlers)
        grpc_server.add_generic_rpc_handlers([generic])
        return ["pvesmb.v1.UserService"]

    path = f"unix:{place}/s.sock"
    config = ServerConfig(listen=[path])
    with captured() as logs:
        running = server.start(config, register=register, checks={}, registry=CollectorRegistry())
        with grpc.insecure_channel(path) as channel, pytest.raises(grpc.RpcError):
            request = user_service_pb2.ResetPasswordRequest(name=name, password="hunter2").SerializeToString()
            reset: Any = channel.unary_unary("/pvesmb.v1.UserService/ResetPassword")
            reset(request)
        running.stop(5)
    audit = [line for line in logs if line["event"] == "audit"]
    wanted = {
        "method": "/pvesmb.v1.UserService/ResetPassword",
        "resource": name,
        "principal": "local",
        "role": "admin",
        "code": "FailedPrecondition",
    }
    assert [{k: line[k] for k in wanted} for line in audit] == [wanted]
    assert "hunter2" not in repr(logs)


def test_health_follows_the_checks(place: Path) -> None:
    well = threading.Event()

    def check() -> None:
        if not well.is_set():
            raise RuntimeError("ill")

    with serving(place, Echo(), checks={"c": check}) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", echo.SERVICE):
            status = stub.Check(health_pb2.HealthCheckRequest(service=name)).status
            assert status == health_pb2.HealthCheckResponse.NOT_SERVING
        seen = stub.Watch(health_pb2.HealthCheckRequest())
        assert next(seen).status == health_pb2.HealthCheckResponse.NOT_SERVING
        well.set()
        assert next(seen).status == health_pb2.HealthCheckResponse.SERVING
        seen.cancel()


def test_watchers_of_health_do_not_use_up_the_workers(place: Path) -> None:
    with serving(place, Echo(), max_workers=2) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watcher = stub.Watch(health_pb2.HealthCheckRequest())
        next(watcher)
        with pytest.raises(grpc.RpcError) as refused:
            next(stub.Watch(health_pb2.HealthCheckRequest()))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert call(channel, "Unary")(Ping(name="a"), timeout=30).name == "a"
        watcher.cancel()


def test_a_watcher_that_left_makes_room_for_another(place: Path) -> None:
    with serving(place, Echo(), max_workers=4) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for _ in range(3):
            watcher = stub.Watch(health_pb2.HealthCheckRequest())
            assert next(watcher).status == health_pb2.HealthCheckResponse.SERVING
            watcher.cancel()
            left = threading.Event()
            watcher.add_callback(left.set)
            assert left.wait(30) or not watcher.is_active()


def test_reflection_lists_the_services(place: Path) -> None:
    with serving(place, Echo()) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        answer = next(iter(stub.ServerReflectionInfo(requests)))
        names = {s.name for s in answer.list_services_response.service}
    assert {echo.SERVICE, "grpc.health.v1.Health"} <= names


def test_metrics_endpoint(place: Path) -> None:
    registry = metrics.make_registry("unit")
    with serving(place, Echo(), registry=registry) as channel:
        call(channel, "Unary")(Ping())
        address = free_address()
        stop = metrics.start(address, registry)
        with pytest.raises(ConfigError, match="Choose another"):
            metrics.start(address, registry)
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            text = answer.read().decode()
        stop()
    assert 'pvesmb_build_info{service="unit",version="' in text
    assert 'grpc_server_handled_total{grpc_code="OK"' in text
    assert "process_resident_memory_bytes" in text


def test_request_id_is_taken_over_or_made(place: Path) -> None:
    with captured() as lines, serving(place, Echo()) as channel:
        call(channel, "Unary")(Ping(), metadata=[("x-request-id", "abc-1")])
        call(channel, "Unary")(Ping(), metadata=[("x-request-id", "not fit ")])
        _until(lambda: len([1 for line in lines if line["event"] == "call"]) == 2)
    ids = [line["request_id"] for line in lines if line["event"] == "call"]
    assert ids[0] == "abc-1"
    assert len(ids[1]) == 32


def test_error_info_is_there_for_programs(place: Path) -> None:
    with serving(place, Echo()) as channel:
        status = rpc_status.from_call(_provoke(channel, "Unary", b"rich"))
        info = error_details_pb2.ErrorInfo()
        assert status is not None
        assert status.details[0].Unpack(info)
        assert (info.reason, info.domain) == ("PRECONDITION_FAILED", "pvesmb")
