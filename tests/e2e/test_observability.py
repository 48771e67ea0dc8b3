"""What a monitoring system and a generic gRPC client find."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import grpc
import pvesmb
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.deployment import Deployment
from tests.e2e.words import user_rule, users

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """Every sample of an exposition, by name and labels; the parser refuses what Prometheus would."""
    families = text_string_to_metric_families(text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(found: Samples, name: str, **labels: str) -> float:
    """Sum of the samples of this name that have these labels."""
    return sum(v for (n, own), v in found.items() if n == name and labels.items() <= dict(own).items())


def test_metrics(deployment: Deployment) -> None:
    before = samples(deployment.metrics()["service"])
    server = deployment.new_server(users=users("ann"), shares={"docs": pvesmb.Share(access=[user_rule("ann")])})
    with pytest.raises(pvesmb.PvesmbError):
        deployment.client.shares.create(server.name, "bad", deployment.failing_share()).result(timeout=60)
    deployment.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)
    texts = deployment.metrics()
    service, gateway = samples(texts["service"]), samples(texts["gateway"])

    def more(name: str, **labels: str) -> float:
        return value(service, name, **labels) - value(before, name, **labels)

    assert more("pvesmb_operations_total", verb="CREATE", kind="fileServers", outcome="ok") == 1
    assert more("pvesmb_operations_total", verb="DELETE", kind="fileServers", outcome="ok") == 1
    failed = {dict(labels)["outcome"] for (name, labels), v in service.items() if name == "pvesmb_operations_total"} - {
        "ok"
    }
    assert failed, "the failed create is counted with its reason"
    for step in deployment.steps:
        assert more("pvesmb_step_duration_seconds_count", step=step, action="ensure") >= 1
        assert more("pvesmb_step_duration_seconds_count", step=step, action="remove") >= 1
    assert value(service, "pvesmb_operations_waiting") == 0
    for found in (service, gateway):
        create = {"grpc_service": "pvesmb.v1.FileServerService", "grpc_method": "CreateFileServer", "grpc_code": "OK"}
        assert value(found, "grpc_server_handled_total", **create) >= 1
        assert value(found, "grpc_server_handling_seconds_count", grpc_method="CreateFileServer") >= 1
    assert value(gateway, "pvesmb_gateway_backend_up", backend="node1") == 1


def test_health(deployment: Deployment) -> None:
    for service in (deployment.gateway, deployment.service):
        with grpc.insecure_channel(f"unix:{service.socket}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", "pvesmb.v1.ShareService"):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING, (service.socket, name)


def test_reflection(deployment: Deployment) -> None:
    with grpc.insecure_channel(f"unix:{deployment.gateway.socket}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = stub.ServerReflectionInfo(iter([request]), timeout=10)
    names = {service.name for service in answer.list_services_response.service}
    kinds = ("BackendService", "FileServerService", "ShareService", "UserService", "GroupService")
    assert {f"pvesmb.v1.{kind}" for kind in kinds} | {"google.longrunning.Operations"} <= names


def test_a_client_that_knows_nothing(deployment: Deployment) -> None:
    """buf asks the gateway itself what there is to call."""
    buf = Path(sys.executable).with_name("buf")
    server = deployment.new_server(users=users("ann"))
    url = "http://localhost/pvesmb.v1.FileServerService/GetFileServer"
    words = ["--protocol", "grpc", "--http2-prior-knowledge", "--unix-socket", str(deployment.gateway.socket)]
    data = json.dumps({"name": server.name})
    done = subprocess.run([buf, "curl", *words, "-d", data, url], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["uid"] == server.uid
