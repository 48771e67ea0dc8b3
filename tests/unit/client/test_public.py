"""What the package promises to be there, and to be light."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pvesmb
import pytest
from pvesmb.cli._exit import BY_CODE, GENERAL, INTERRUPTED, MEANING, OK, USAGE
from pvesmb.v1 import (
    backend_service_pb2,
    file_server_service_pb2,
    group_service_pb2,
    share_service_pb2,
    template_service_pb2,
    user_service_pb2,
)


def test_every_public_name_is_there() -> None:
    assert sorted(pvesmb.__all__) == sorted(pvesmb._HOME_OF)
    for name in pvesmb.__all__:
        assert getattr(pvesmb, name) is not None
    with pytest.raises(AttributeError):
        pvesmb.__getattr__("Nothing")


def test_the_version_is_that_of_the_distribution() -> None:
    assert pvesmb.__version__ == importlib.metadata.version("pvesmb")


def test_importing_the_package_loads_no_grpc() -> None:
    program = "import sys, pvesmb, pvesmb.cli.__main__; sys.exit('grpc' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_shipped_retry_rules_name_every_read_and_no_change() -> None:
    config = json.loads(resources.files("pvesmb").joinpath("service_config.json").read_text())
    retried = {
        f"{name['service']}/{name['method']}"
        for rule in config["methodConfig"]
        if "retryPolicy" in rule
        for name in rule["name"]
    }
    modules = (
        backend_service_pb2,
        file_server_service_pb2,
        group_service_pb2,
        share_service_pb2,
        template_service_pb2,
        user_service_pb2,
    )
    reads = {
        f"{service.full_name}/{method.name}"
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.name.startswith(("Get", "List", "Validate"))
    }
    assert {name for name in retried if name.startswith("pvesmb.")} == reads
    assert "google.longrunning.Operations/WaitOperation" in retried


def test_the_readme_has_the_exit_statuses_of_the_program() -> None:
    readme = Path(__file__).parents[3] / "clients" / "python" / "README.md"
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", readme.read_text(), re.MULTILINE))
    assert {int(status): meaning for status, meaning in rows.items()} == dict(MEANING)
    assert {OK, GENERAL, USAGE, INTERRUPTED, *BY_CODE.values()} == set(MEANING)
