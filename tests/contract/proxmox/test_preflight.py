"""What the preflight says of a node that lacks something."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakepve import FakePve

from services.core.domain.resource import Condition, Severity
from services.proxmox.preflight import Needs, preflight
from services.proxmox.session import Session
from tests.contract.fake_node import revoke


def types(found: list[Condition]) -> list[str]:
    return sorted({each.type for each in found if each.severity is not Severity.INFO})


def test_nothing_is_missing(session: Session, needs: Needs) -> None:
    assert preflight(session, needs) == []


@pytest.mark.parametrize(
    ("path", "privilege"),
    [
        (path, each)
        for path, all in Needs("n", "local-lvm", [], "local", "vmbr0", "smbgw").privileges().items()
        for each in all
    ],
)
def test_each_privilege_that_is_missing_is_named(
    fake: FakePve, session: Session, needs: Needs, path: str, privilege: str
) -> None:
    revoke(fake, path, privilege)
    missing = [each for each in preflight(session, needs) if each.type == "PrivilegeMissing"]
    assert [each.message for each in missing] == [f"privilege {privilege} on {path} is missing"]
    assert path in missing[0].action and privilege in missing[0].action


def test_an_old_node(fake: FakePve, session: Session, needs: Needs) -> None:
    fake.version = "8.2.4"
    found = preflight(session, needs)
    assert types(found) == ["VersionTooOld"]
    assert "8.2.4" in found[0].message


@pytest.mark.parametrize("version", ["8.3.0", "8.4.1", "9.2.11"])
def test_nodes_that_are_supported(fake: FakePve, session: Session, needs: Needs, version: str) -> None:
    fake.version = version
    assert preflight(session, needs) == []


def test_a_newer_node_is_a_remark(fake: FakePve, session: Session, needs: Needs) -> None:
    fake.version = "10.0.1"
    assert [each.severity for each in preflight(session, needs)] == [Severity.INFO]


def test_a_storage_without_the_content(fake: FakePve, session: Session, needs: Needs) -> None:
    fake.storages["local-lvm"]["content"] = "images"
    found = preflight(session, needs)
    assert types(found) == ["StorageContent"]
    assert found[0].action == "pvesm set local-lvm --content images,rootdir"


def test_a_storage_that_is_down(fake: FakePve, session: Session, needs: Needs) -> None:
    fake.storages["local-lvm"]["active"] = 0
    assert types(preflight(session, needs)) == ["StorageInactive"]


def test_what_is_not_there(session: Session, needs: Needs) -> None:
    assert "BridgeMissing" in types(preflight(session, replace(needs, bridge="vmbr9")))
    assert "StorageMissing" in types(preflight(session, replace(needs, volume_storages=["nope"])))
    assert "NodeMissing" in types(preflight(session, replace(needs, node="pve7")))


def test_a_node_that_is_down(fake: FakePve, session: Session, needs: Needs) -> None:
    fake.add_node("pve2")
    fake.set_node_offline("pve2")
    found = types(preflight(session, replace(needs, node="pve2")))
    assert "NodeOffline" in found


def test_a_node_that_does_not_answer_is_all_that_is_said(fake: FakePve, session: Session, needs: Needs) -> None:
    fake.flaky_network(drop_rate=1.0, seed=1)
    found = preflight(session, needs)
    assert types(found) == ["ProxmoxUnavailable"]
    assert found[0].action
