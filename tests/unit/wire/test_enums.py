"""Every table of enums is complete on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import pytest
from pvesmb.v1 import common_pb2, file_server_pb2, operation_metadata_pb2, share_pb2

from services.core.domain.file_server import Demand, Dialect, DriftPolicy
from services.core.domain.operation import StepState, Verb
from services.core.domain.resource import Severity, State
from services.core.domain.share import AccessLevel, GuestAccess
from services.core.errors import InvalidField
from services.wire import enums

_Metadata = operation_metadata_pb2.OperationMetadata

TABLES: list[tuple[Mapping[Any, int], type[Enum], Any]] = [
    (enums.STATE, State, common_pb2.ResourceState),
    (enums.SEVERITY, Severity, common_pb2.Condition.Severity),
    (enums.DEMAND, Demand, common_pb2.Demand),
    (enums.GUEST_ACCESS, GuestAccess, common_pb2.GuestAccess),
    (enums.DIALECT, Dialect, file_server_pb2.SmbSettings.Dialect),
    (enums.DRIFT_POLICY, DriftPolicy, file_server_pb2.FileServer.DriftPolicy),
    (enums.ACCESS_LEVEL, AccessLevel, share_pb2.AccessRule.AccessLevel),
    (enums.VERB, Verb, _Metadata.Verb),
    (enums.STEP_STATE, StepState, _Metadata.Step.State),
]


@pytest.mark.parametrize(("table", "domain", "wire"), TABLES, ids=[domain.__name__ for _, domain, _ in TABLES])
def test_a_table_has_each_value_of_both_sides_once(table: Mapping[Any, int], domain: type[Enum], wire: Any) -> None:
    assert set(table) == set(domain)
    assert sorted(table.values()) == sorted(number for number in wire.values() if number != 0)
    for value, number in table.items():
        assert wire.Name(number).endswith(f"_{value.name}"), "the same name on both sides"


def test_every_table_is_tested() -> None:
    tables = [value for name, value in vars(enums).items() if name.isupper() and isinstance(value, dict)]
    assert [id(table) for table in tables] == [id(table) for table, _, _ in TABLES]


@pytest.mark.parametrize(("table", "domain", "wire"), TABLES, ids=[domain.__name__ for _, domain, _ in TABLES])
def test_from_wire(table: Mapping[Any, int], domain: type[Enum], wire: Any) -> None:
    default = next(iter(domain))
    for value, number in table.items():
        assert enums.from_wire(table, number, "f", default) is value
    assert enums.from_wire(table, 0, "f", default) is default
    for number, text in [(0, "must be set"), (99, "must be one of the values of the contract"), (-1, "must be one")]:
        with pytest.raises(InvalidField, match=text) as caught:
            enums.from_wire(table, number, "f")
        assert caught.value.violations[0].subject == "f"
    with pytest.raises(InvalidField):
        enums.from_wire(table, 99, "f", default)
