"""smbd is kept running, and outlives the service that keeps it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pvesmb
import pytest

from tests.e2e import modes
from tests.e2e.deployment import Deployment
from tests.e2e.smb import session
from tests.e2e.waiting import until
from tests.e2e.words import Server, password, user_rule, users


@pytest.fixture
def server(deployment: Deployment) -> Server:
    return deployment.new_server(users=users("ann"), shares={"docs": pvesmb.Share(access=[user_rule("ann")])})


def conditions(deployment: Deployment, server: Server) -> set[str]:
    return {condition.type for condition in deployment.client.file_servers.get(server.name).conditions}


def test_killed_smbd_comes_back(deployment: Deployment, server: Server) -> None:
    pid = deployment.smbd(server)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process")
    until(lambda: server.smb("ann", "docs", "ls").ok, "the share")
    assert deployment.smbd(server) != pid
    until(lambda: "SmbdDown" not in conditions(deployment, server), "the end of the condition")
    now = deployment.client.file_servers.get(server.name)
    assert now.state == pvesmb.ResourceState.RESOURCE_STATE_READY


@modes.only("native")
def test_a_killed_smbd_is_told(deployment: Deployment, server: Server) -> None:
    """In a guest systemd restarts it."""
    os.kill(deployment.smbd(server), signal.SIGKILL)
    until(lambda: conditions(deployment, server) & {"SmbdDown", "SmbdRestarted"}, "a condition that tells of it")
    until(lambda: "SmbdDown" not in conditions(deployment, server), "the end of the condition")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_session_survives_the_service(deployment: Deployment, server: Server, end: str) -> None:
    pid = deployment.smbd(server)
    with session(server.endpoint, "docs", "ann", password("ann")) as live:
        handle = live.write("letter", b"written before")
        if end == "stop":
            assert deployment.stop() == 0
        else:
            deployment.kill()
        assert live.read(handle, 100) == b"written before", "smbd needs no service to serve"
        deployment.start()
        assert live.read(handle, 100) == b"written before"
        share = pvesmb.Share(access=[user_rule("ann")])
        until(lambda: deployment.client.backends.get(deployment.backend).health == pvesmb.Backend.HEALTH_SERVING, "health")
        deployment.client.shares.create(server.name, "more", share).result(timeout=60)
        assert server.smb("ann", "more", "ls").ok
        assert live.works()
    assert deployment.smbd(server) == pid


def test_smbd_that_died_meanwhile_is_started(deployment: Deployment, server: Server) -> None:
    deployment.stop()
    for pid in deployment.processes(server.uid):
        os.kill(pid, signal.SIGKILL)
    assert not server.smb("ann", "docs", "ls").ok
    deployment.start()
    until(lambda: server.smb("ann", "docs", "ls").ok, "the share")
