"""Templates, from the call to containers that are made from them."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pvesmb
import pytest

from packaging.stack import node as stand_in
from tests.e2e import modes, node
from tests.e2e.guest_processes import Guest
from tests.e2e.lxc import LxcDeployment
from tests.e2e.node import TestNode
from tests.e2e.waiting import until
from tests.e2e.words import MIB, user_rule, users

pytestmark = modes.only("lxc")

PACKED_BYTES = 130 * MIB
IDLE_BYTES = 45 * MIB


@pytest.fixture
def fresh(mode: str, node: TestNode) -> Iterator[LxcDeployment]:
    """One whose node has no template of ours, and that has one built before."""
    cache = node.local.directory / stand_in.STORE / "template" / "cache"
    kept = [file for file in cache.iterdir() if file.name.startswith("pvesmb-")]
    for file in kept:
        file.rename(cache.parent / file.name)
    with closing(LxcDeployment(node)) as deployment:
        place = deployment.service_dir / "templates"
        place.mkdir(parents=True)
        shutil.copy(built(), place)
        try:
            deployment.running()
            yield deployment
        finally:
            for file in kept:
                (cache.parent / file.name).rename(cache / file.name)


def built() -> Path:
    return node.template()


def test_from_a_build_to_a_share_and_back(fresh: LxcDeployment) -> None:
    templates = fresh.client.templates
    with pytest.raises(pvesmb.PvesmbError) as none:
        fresh.new_server()
    assert none.value.reason == "HOST_NOT_PREPARED" and "BuildTemplate" in none.value.help
    made = templates.build(fresh.backend).result(timeout=120)
    assert made.state == pvesmb.ResourceState.RESOURCE_STATE_READY and made.current
    assert made.size_bytes == built().stat().st_size
    assert made in list(templates.list())
    assert templates.validate(made.name).valid
    again = templates.build(fresh.backend)
    assert again.result(timeout=30) == made
    server = fresh.new_server(users=users("ann"), shares={"docs": pvesmb.Share(access=[user_rule("ann")])})
    assert server.smb("ann", "docs", "ls").ok
    with pytest.raises(pvesmb.PvesmbError) as used:
        templates.delete(made.name)
    assert used.value.reason == "PRECONDITION_FAILED"
    assert [violation.field for violation in used.value.field_violations] == [server.name]
    fresh.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)


def test_small_enough(deployment: LxcDeployment) -> None:
    """Packed, and all processes of an idle container together: what is shared counts in parts (smaps, proc(5)). Idle is
    one that the backend has let go of, which it does after a minute, or when it ends: then its agent in there ends too."""
    assert built().stat().st_size <= PACKED_BYTES
    server = deployment.new_server(users=users("ann"), shares={"docs": pvesmb.Share(access=[user_rule("ann")])})
    assert server.smb("ann", "docs", "ls").ok
    guest = deployment.guest(server.uid)
    assert deployment.stop() == 0
    until(lambda: 0 < proportional(guest) <= IDLE_BYTES, f"at most {IDLE_BYTES // MIB} MiB are used")
    assert server.smb("ann", "docs", "ls").ok


def proportional(guest: Guest) -> int:
    total = 0
    for pid, _ in guest.processes():
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(found[1]) * 1024 if found else 0
    return total
