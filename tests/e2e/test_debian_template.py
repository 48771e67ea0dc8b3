"""A Debian template that the node has already, without Samba: it is installed when a container has been made from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pvesmb
import pytest

from packaging.stack import node as stand_in
from services.lxc.steps import PACKAGES
from tests.e2e import modes, namespace
from tests.e2e.lxc import LxcDeployment
from tests.e2e.process import CLONE
from tests.e2e.words import MIB, Server, user_rule, users

pytestmark = [modes.only("lxc"), pytest.mark.long_in("lxc"), pytest.mark.timeout(600)]

NAME = "debian-12-standard_12.7-1_amd64"
#: What Debian's own template has that matters here.
PLAIN = ("ifupdown", "iproute2", "isc-dhcp-client", "openssh-server", "systemd", "systemd-sysv")
#: Nothing here reaches a mirror from a container: the packages lie in apt's own cache, with the lists that name them.
CUSTOMIZE = f"""#!/bin/sh
set -eu
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q -y --download-only --no-install-recommends install {" ".join(PACKAGES)}
rm -f "$1/etc/apt/apt.conf.d/00pvesmb-build" "$1/etc/hostname" "$1/etc/resolv.conf"
"""
BUILD = """
import sys
from pathlib import Path
from services.lxc.template.build import build
from services.lxc.template.description import Description

print(build(Description(12, tuple(sys.argv[2].split()), (), (), {}, sys.argv[3]), Path(sys.argv[1])))
"""


@pytest.fixture
def template(deployment: LxcDeployment, tmp_path: Path) -> str:
    """Its name; it lies on the node."""
    words = [sys.executable, "-c", BUILD, str(tmp_path), " ".join(PLAIN), CUSTOMIZE]
    done = subprocess.run(
        namespace.enter().command_outside(words), cwd=CLONE, stdout=subprocess.PIPE, text=True, check=True
    )
    cache = deployment.node.local.directory / stand_in.STORE / "template" / "cache"
    subprocess.run(["mv", done.stdout.strip(), cache / f"{NAME}.tar.zst"], check=True)
    return f"{deployment.backend}/templates/{NAME}"


def test_samba_is_installed_at_the_first_start(deployment: LxcDeployment, template: str) -> None:
    assert template in [each.name for each in deployment.client.templates.list(deployment.backend)]
    spec = deployment.spec()
    spec.lxc.placement.template = template
    spec.lxc.placement.memory_bytes = 512 * MIB
    shares = {"docs": pvesmb.Share(access=[user_rule("ann")])}
    handle = deployment.client.file_servers.create(deployment.backend, "plain", spec, shares=shares, users=users("ann"))
    server = Server(handle.result(timeout=300))
    assert any("it was installed" in step.detail for step in handle.metadata.steps)
    assert server.smb("ann", "docs", "ls").ok
    deployment.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)
