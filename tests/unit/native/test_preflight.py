"""What is said of a node that lacks something."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

import pytest

from services.core.domain.resource import Severity
from services.core.errors import HostNotPrepared
from services.core.ports import Completed
from services.native.host import LocalHost
from services.native.preflight import closed_directories, preflight
from services.native.settings import NativeSettings


class BareHost(LocalHost):
    """A node without Samba's binding and without nss_wrapper."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        if argv[0] == "env":
            return Completed(0, b"", b"ERROR: ld.so: object 'libnss_wrapper.so' cannot be preloaded")
        raise HostNotPrepared("missing")


def test_everything_that_is_missing_is_named_with_its_package() -> None:
    found = preflight(NativeSettings("n", "/nowhere", "/nowhere"), BareHost(), path="/nowhere")
    actions = {condition.message.split()[0]: (condition.severity, condition.action) for condition in found}
    assert actions["smbd"] == (Severity.ERROR, "apt-get install samba")
    assert actions["libnss_wrapper.so"] == (Severity.ERROR, "apt-get install libnss-wrapper")
    assert actions["python3-samba"] == (Severity.ERROR, "apt-get install python3-samba")
    assert actions["/nowhere,"][1].endswith("mkdir -p -m 755 /nowhere")
    assert actions["mkfs.xfs"] == (Severity.WARNING, "apt-get install xfsprogs")


def test_directories_that_users_cannot_pass_are_named() -> None:
    with tempfile.TemporaryDirectory() as top:
        os.mkdir(f"{top}/open")
        os.chmod(f"{top}/open", 0o755)
        assert closed_directories(f"{top}/open/missing") == [top]
        os.chmod(top, 0o711)
        assert closed_directories(f"{top}/open/missing") == []


@pytest.mark.root
def test_a_closed_root_is_an_error_of_the_node() -> None:
    with tempfile.TemporaryDirectory() as top:
        os.mkdir(f"{top}/data", 0o755)
        messages = [c.action for c in preflight(NativeSettings("n", top, f"{top}/data"), LocalHost())]
        assert messages == [f"chmod o+x {top}"]
