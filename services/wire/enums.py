"""Domain enums to protobuf's and back. A test asserts that each table is complete on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from pvesmb.v1 import common_pb2, file_server_pb2, operation_metadata_pb2, share_pb2

from services.core.domain.file_server import Demand, Dialect, DriftPolicy
from services.core.domain.operation import StepState, Verb
from services.core.domain.resource import Severity, State
from services.core.domain.share import AccessLevel, GuestAccess
from services.core.errors import InvalidField

E = TypeVar("E", bound=Enum)

_Metadata = operation_metadata_pb2.OperationMetadata
_Rule = share_pb2.AccessRule

STATE: Mapping[State, common_pb2.ResourceState.ValueType] = {
    State.CREATING: common_pb2.RESOURCE_STATE_CREATING,
    State.READY: common_pb2.RESOURCE_STATE_READY,
    State.UPDATING: common_pb2.RESOURCE_STATE_UPDATING,
    State.DEGRADED: common_pb2.RESOURCE_STATE_DEGRADED,
    State.DELETING: common_pb2.RESOURCE_STATE_DELETING,
}
SEVERITY: Mapping[Severity, common_pb2.Condition.Severity.ValueType] = {
    Severity.INFO: common_pb2.Condition.SEVERITY_INFO,
    Severity.WARNING: common_pb2.Condition.SEVERITY_WARNING,
    Severity.ERROR: common_pb2.Condition.SEVERITY_ERROR,
}
DEMAND: Mapping[Demand, common_pb2.Demand.ValueType] = {
    Demand.OFF: common_pb2.DEMAND_OFF,
    Demand.DESIRED: common_pb2.DEMAND_DESIRED,
    Demand.REQUIRED: common_pb2.DEMAND_REQUIRED,
}
GUEST_ACCESS: Mapping[GuestAccess, common_pb2.GuestAccess.ValueType] = {
    GuestAccess.NONE: common_pb2.GUEST_ACCESS_NONE,
    GuestAccess.READ: common_pb2.GUEST_ACCESS_READ,
    GuestAccess.READ_WRITE: common_pb2.GUEST_ACCESS_READ_WRITE,
}
DIALECT: Mapping[Dialect, file_server_pb2.SmbSettings.Dialect.ValueType] = {
    Dialect.SMB2_10: file_server_pb2.SmbSettings.DIALECT_SMB2_10,
    Dialect.SMB3_00: file_server_pb2.SmbSettings.DIALECT_SMB3_00,
    Dialect.SMB3_11: file_server_pb2.SmbSettings.DIALECT_SMB3_11,
}
DRIFT_POLICY: Mapping[DriftPolicy, file_server_pb2.FileServer.DriftPolicy.ValueType] = {
    DriftPolicy.REPAIR: file_server_pb2.FileServer.DRIFT_POLICY_REPAIR,
    DriftPolicy.REPORT: file_server_pb2.FileServer.DRIFT_POLICY_REPORT,
}
ACCESS_LEVEL: Mapping[AccessLevel, share_pb2.AccessRule.AccessLevel.ValueType] = {
    AccessLevel.DENY: _Rule.ACCESS_LEVEL_DENY,
    AccessLevel.READ: _Rule.ACCESS_LEVEL_READ,
    AccessLevel.READ_WRITE: _Rule.ACCESS_LEVEL_READ_WRITE,
    AccessLevel.ADMIN: _Rule.ACCESS_LEVEL_ADMIN,
}
VERB: Mapping[Verb, operation_metadata_pb2.OperationMetadata.Verb.ValueType] = {
    Verb.CREATE: _Metadata.VERB_CREATE,
    Verb.UPDATE: _Metadata.VERB_UPDATE,
    Verb.DELETE: _Metadata.VERB_DELETE,
    Verb.RESET_PASSWORD: _Metadata.VERB_RESET_PASSWORD,
    Verb.REPAIR: _Metadata.VERB_REPAIR,
}
STEP_STATE: Mapping[StepState, operation_metadata_pb2.OperationMetadata.Step.State.ValueType] = {
    StepState.PENDING: _Metadata.Step.STATE_PENDING,
    StepState.RUNNING: _Metadata.Step.STATE_RUNNING,
    StepState.DONE: _Metadata.Step.STATE_DONE,
    StepState.FAILED: _Metadata.Step.STATE_FAILED,
    StepState.UNDONE: _Metadata.Step.STATE_UNDONE,
}


def from_wire(table: Mapping[E, int], number: int, field: str, default: E | None = None) -> E:
    """The domain's value; 0 (unspecified) is the default where there is one."""
    if number == 0 and default is not None:
        return default
    for value, wire in table.items():
        if wire == number:
            return value
    raise InvalidField.of(field, "must be one of the values of the contract" if number else "must be set")
