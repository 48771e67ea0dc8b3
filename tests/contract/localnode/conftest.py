"""A stand-in node over HTTPS, asked with proxmoxer as our services ask, with guests that only remember."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from services.localnode.__main__ import compose
from services.localnode.config import LocalNodeConfig
from services.localnode.node import Node
from services.localnode.server import Server
from tests.contract.localnode.fake import FakeContainers, FakeVolumes

PASSWORD = "correct horse"
TEMPLATE = "debian-12-mini_12.9-1_amd64.tar.gz"


@dataclass
class Answer:
    status: int
    reason: str
    body: Any

    @property
    def data(self) -> Any:
        assert self.status == 200, (self.status, self.reason, self.body)
        return self.body["data"]


@dataclass
class Client:
    """One login; the raw answers are what is compared."""

    url: str
    ca: str
    headers: dict[str, str]

    def ask(self, method: str, path: str, /, **params: Any) -> Answer:
        given = {name.replace("__", "-"): value for name, value in params.items()}
        query, form = (given, None) if method in {"GET", "DELETE"} else (None, given)
        got = requests.request(
            method, f"{self.url}{path}", headers=self.headers, verify=self.ca, timeout=30, params=query, data=form
        )
        return Answer(got.status_code, got.reason, got.json() if got.content else None)

    def must(self, method: str, path: str, /, **params: Any) -> Any:
        """The data of a call that is expected to do well."""
        return self.ask(method, path, **params).data

    def upload(self, path: str, name: str, file: bytes, /, **params: Any) -> Answer:
        got = requests.post(
            f"{self.url}{path}", headers=self.headers, verify=self.ca, timeout=30,
            data={k.replace("__", "-"): v for k, v in params.items()}, files={"filename": (name, file)},
        )  # fmt: skip
        return Answer(got.status_code, got.reason, got.json() if got.content else None)


@dataclass
class Lab:
    """A running node, and who may ask it."""

    node: Node
    server: Server
    containers: FakeContainers
    volumes: FakeVolumes
    directory: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}/api2/json"

    @property
    def ca(self) -> str:
        return str(self.directory / "pki" / "ca.pem")

    def client(self, **headers: str) -> Client:
        return Client(self.url, self.ca, headers)

    def root(self) -> Client:
        given = {"username": "root@pam", "password": PASSWORD}
        ticket = self.client().ask("POST", "/access/ticket", **given).data
        return self.client(
            Cookie=f"PVEAuthCookie={ticket['ticket']}", CSRFPreventionToken=ticket["CSRFPreventionToken"]
        )  # fmt: skip

    def token(self, user: str, name: str, **params: Any) -> Client:
        """Makes the token (and its user, if there is none) and uses it."""
        root = self.root()
        root.ask("POST", "/access/users", userid=user)
        made = root.ask("POST", f"/access/users/{user}/token/{name}", **params).data
        return self.client(Authorization=f"PVEAPIToken={made['full-tokenid']}={made['value']}")

    def wait(self, upid: str) -> str:
        """The exit status of a task, once it has one."""
        done = threading.Event()
        for _ in range(2000):
            status = self.node.tasks.get(upid).exitstatus
            if status:
                return status
            done.wait(0.005)
        raise AssertionError(f"task does not end: {upid}")

    def put_template(self) -> None:
        cache = self.directory / "local" / "template" / "cache"
        cache.mkdir(parents=True, exist_ok=True)
        (cache / TEMPLATE).write_bytes(b"template")


def open_lab(directory: Path, containers: FakeContainers, volumes: FakeVolumes) -> Lab:
    password = directory / "password"
    password.write_text(PASSWORD + "\n")
    settings = LocalNodeConfig(state_dir=str(directory), port=0, root_password_file=str(password))
    node, server = compose(settings, containers)
    node.volumes["dir"] = volumes
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return Lab(node, server, containers, volumes, directory)


def close_lab(lab: Lab) -> None:
    lab.server.shutdown()
    lab.node.tasks.close()
    lab.server.server_close()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    opened = open_lab(tmp_path, FakeContainers(), FakeVolumes())
    opened.put_template()
    yield opened
    close_lab(opened)
