"""The table of roles is closed and says what the contract says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from pvesmb.v1 import (
    backend_service_pb2,
    file_server_service_pb2,
    group_service_pb2,
    share_service_pb2,
    template_service_pb2,
    user_service_pb2,
)

from services.core.errors import MethodUnknown, RoleNotSufficient, Unauthenticated
from services.kit.identity import Identity, Role
from services.kit.policy import ROLES, authorize, mutates

_PROTOS = Path(__file__).parents[3] / "protos/pvesmb/v1"
_MODULES = [
    backend_service_pb2,
    file_server_service_pb2,
    group_service_pb2,
    share_service_pb2,
    template_service_pb2,
    user_service_pb2,
    operations_pb2,
    health_pb2,
    reflection_pb2,
]


def test_every_method_of_every_descriptor_has_a_row_and_no_other() -> None:
    declared = {
        f"/{service.full_name}/{method.name}"
        for module in _MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert declared == set(ROLES)


def test_modules_above_are_all_of_the_contract() -> None:
    services = {p.stem for p in _PROTOS.glob("*.proto") if re.search(r"^service ", p.read_text(), re.MULTILINE)}
    ours = {Path(m.DESCRIPTOR.name).stem for m in _MODULES if m.DESCRIPTOR.name.startswith("pvesmb/")}
    assert services == ours


def test_roles_are_those_written_in_the_contract() -> None:
    checked = 0
    for path in _PROTOS.glob("*_service.proto"):
        text = path.read_text()
        service = re.search(r"^service (\w+)", text, re.MULTILINE)
        assert service
        for comment, method in re.findall(r"((?:  //.*\n)+)  rpc (\w+)", text):
            written = re.search(r"Role:[\s/]+(\w+)", comment)
            assert written, method
            assert ROLES[f"/pvesmb.v1.{service[1]}/{method}"] is Role[written[1].upper()], method
            checked += 1
    assert checked == sum(name.startswith("/pvesmb.") for name in ROLES)


def test_authorize() -> None:
    viewer, operator = Identity("v", Role.VIEWER), Identity("o", Role.OPERATOR)
    create = "/pvesmb.v1.ShareService/CreateShare"
    authorize(ROLES, create, operator)
    authorize(ROLES, "/grpc.health.v1.Health/Check", None)
    with pytest.raises(RoleNotSufficient) as caught:
        authorize(ROLES, create, viewer)
    assert caught.value.metadata["role"] == "operator"
    with pytest.raises(Unauthenticated):
        authorize(ROLES, create, None)
    with pytest.raises(MethodUnknown):
        authorize(ROLES, "/x/Y", operator)


def test_mutations_are_audited() -> None:
    assert mutates(ROLES, "/google.longrunning.Operations/CancelOperation")
    assert not mutates(ROLES, "/pvesmb.v1.ShareService/GetShare")
    assert not mutates(ROLES, "/grpc.health.v1.Health/Check")
    assert not mutates(ROLES, "/x/Y")
