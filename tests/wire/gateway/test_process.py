"""The gateway as a process: start, refusals, draining, memory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry
from pvesmb.v1 import backend_service_pb2, backend_service_pb2_grpc, file_server_service_pb2, file_server_service_pb2_grpc

from services.kit import server
from services.kit.config import ServerConfig
from tests.wire.gateway.domain import Domain

_ROOT = Path(__file__).parents[3]


@pytest.fixture
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pvesmb-"))
    yield directory
    shutil.rmtree(directory)


def until(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(1500):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it never came true")


def free_address() -> str:
    with socket.socket() as s:
        s.bind(("127.83.7.3", 0))
        return f"127.83.7.3:{s.getsockname()[1]}"


@contextlib.contextmanager
def gateway(place: Path, text: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    (place / "gateway.toml").write_text(text)
    argv = [sys.executable, "-W", "error", "-m", "gateway", "--config", f"{place}/gateway.toml"]
    env = {**os.environ, **environment}
    child = subprocess.Popen(argv, cwd=_ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        print(child.communicate()[1])  # pytest shows it when the test fails


@contextlib.contextmanager
def backend(place: Path, domain: Domain) -> Iterator[None]:
    config = ServerConfig(listen=[f"unix:{place}/a.sock"])
    running = server.start(config, register=domain.add_to, checks={}, registry=CollectorRegistry())
    (place / "backends.toml").write_text(f'[backends.a]\ntarget = "unix:{place}/a.sock"\n')
    try:
        yield
    finally:
        running.stop(0)


def config(place: Path, listen: str, more: str = "") -> str:
    return f'listen = ["{listen}"]\nbackends_file = "{place}/backends.toml"\n{more}'


def test_sigterm_lets_a_running_call_end_and_exits_0(place: Path) -> None:
    entered, release = threading.Event(), threading.Event()

    class Slow(Domain):
        def page(self, request: object, parent: str, names: object) -> tuple[list[str], str]:
            entered.set()
            assert release.wait(60)
            return ["kept"], ""

    with backend(place, Slow("a")), gateway(place, config(place, f"unix:{place}/g.sock", "drain_seconds = 60")) as child:
        with grpc.insecure_channel(f"unix:{place}/g.sock") as channel:
            stub = file_server_service_pb2_grpc.FileServerServiceStub(channel)
            request = file_server_service_pb2.ListFileServersRequest(parent="backends/a")
            running = stub.ListFileServers.future(request, wait_for_ready=True, timeout=60)
            assert entered.wait(60)
            child.send_signal(signal.SIGTERM)
            with grpc.insecure_channel(f"unix:{place}/g.sock") as other:
                backends = backend_service_pb2_grpc.BackendServiceStub(other)

                def refused() -> bool:
                    try:
                        backends.ListBackends(backend_service_pb2.ListBackendsRequest(), timeout=10)
                    except grpc.RpcError as e:
                        return e.code() is grpc.StatusCode.UNAVAILABLE
                    return False

                until(refused)
            release.set()
            assert [f.name.rpartition("/")[2] for f in running.result(timeout=60).file_servers] == ["kept"]
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (0, "")
    assert [json.loads(line)["event"] for line in err.splitlines() if "aio_server" in line] == ["ready", "stopping"]


def test_second_gateway_on_the_same_port_is_refused(place: Path) -> None:
    (place / "backends.toml").write_text("")
    address = free_address()
    text = config(place, address, "insecure_loopback = true")
    with gateway(place, text):
        with grpc.insecure_channel(address) as channel:
            stub = backend_service_pb2_grpc.BackendServiceStub(channel)
            stub.ListBackends(backend_service_pb2.ListBackendsRequest(), wait_for_ready=True, timeout=60)
        with gateway(place, text) as second:
            out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: listen '{address}': cannot bind")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('listen = ["unix:/x"]', "backends_file: required"),
        ('listen = ["unix:/x"]\nbackends_file = "/nowhere"', "/nowhere: No such file"),
        ('listen = ["0.0.0.0:1"]\nbackends_file = "/x"', "needs [tls]"),
        ("lisen = 1", "lisen: unknown key"),
    ],
)
def test_what_is_wrong_with_the_configuration_is_said(place: Path, text: str, part: str) -> None:
    with gateway(place, text) as child:
        out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (2, "")
    assert part in err


def test_environment_overrides_the_file(place: Path) -> None:
    (place / "backends.toml").write_text("")
    with gateway(place, config(place, "unix:/nowhere/x"), PVESMB_GATEWAY_LISTEN=f'["unix:{place}/e.sock"]') as child:
        until(lambda: (place / "e.sock").exists() or child.poll() is not None)
        assert child.poll() is None


def test_idle_memory_and_metrics(place: Path) -> None:
    metrics = free_address()
    with backend(place, Domain("a", {"x": []})):
        text = config(place, f"unix:{place}/g.sock", f'metrics_listen = "{metrics}"')
        with gateway(place, text) as child, grpc.insecure_channel(f"unix:{place}/g.sock") as channel:
            servers = file_server_service_pb2_grpc.FileServerServiceStub(channel)
            request = file_server_service_pb2.GetFileServerRequest(name="backends/a/fileServers/x")
            servers.GetFileServer(request, wait_for_ready=True, timeout=60)
            status = Path(f"/proc/{child.pid}/status").read_text()
            resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
            assert resident < 70 * 1024
            with urllib.request.urlopen(f"http://{metrics}/metrics") as answer:
                text = answer.read().decode()
    assert 'pvesmb_gateway_forwarded_total{backend="a",grpc_code="OK"} 1.0' in text
    assert 'pvesmb_gateway_backend_up{backend="a"} 1.0' in text
    assert 'pvesmb_build_info{service="gateway"' in text
    method = 'grpc_method="GetFileServer",grpc_service="pvesmb.v1.FileServerService",grpc_type="unary"'
    assert f'grpc_server_handled_total{{grpc_code="OK",{method}}} 1.0' in text
