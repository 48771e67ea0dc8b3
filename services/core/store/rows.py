"""Rows of the store to the domain's objects and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import JSON, Row, String, cast

from services.core.codec import SPECS, decode, decode_text, encode
from services.core.domain.names import Kind, parse_name
from services.core.domain.operation import Operation, OperationState, StepProgress, StepState, Verb
from services.core.domain.resource import Condition, Resource, State
from services.core.store.tables import resources

#: What a resource is read from: JSON as text, so that equal text is decoded once.
RESOURCE_COLUMNS = [cast(c, String).label(c.key) if isinstance(c.type, JSON) else c for c in resources.c]


def resource_of(row: Row[Any]) -> Resource[Any]:
    spec = decode_text(SPECS[Kind(row.kind)], row.spec)
    return _resource(row, spec, json.loads(row.assigned), decode_text(tuple[Condition, ...], row.conditions))


def _resource(row: Any, spec: Any, assigned: Any, conditions: tuple[Condition, ...]) -> Resource[Any]:
    """The rest of it is in the row as it is."""
    return Resource(
        name=parse_name(row.name, Kind(row.kind)),
        uid=row.uid,
        spec=spec,
        state=State(row.state),
        generation=row.generation,
        observed_generation=row.observed_generation,
        create_time=row.create_time,
        update_time=row.update_time,
        assigned=assigned,
        conditions=conditions,
    )


def resource_values(resource: Resource[Any]) -> dict[str, Any]:
    name = resource.name
    return {
        "name": str(name),
        "kind": name.kind.value,
        "parent": name.parent,
        "server": str(name.server),
        "last": name.last,
        "key": name.key,
        "uid": resource.uid,
        "spec": encode(resource.spec),
        "assigned": dict(resource.assigned),
        "conditions": encode(resource.conditions),
        "state": resource.state.value,
        "generation": resource.generation,
        "observed_generation": resource.observed_generation,
        "create_time": resource.create_time,
        "update_time": resource.update_time,
    }


def operation_of(row: Row[Any]) -> Operation:
    return Operation(
        id=row.id,
        target=parse_name(row.target, Kind(row.kind)),
        verb=Verb(row.verb),
        state=OperationState(row.state),
        create_time=row.create_time,
        start_time=row.start_time,
        end_time=row.end_time,
        steps=tuple(StepProgress(name, StepState(state), *rest) for name, state, *rest in row.steps),
        cancel_requested=row.cancel_requested,
        attempts=row.attempts,
        request_id=row.request_id,
        principal=row.principal,
        options=row.options,
        previous=row.previous,
        error=row.error,
        result=row.result,
    )


def operation_values(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "target": str(operation.target),
        "kind": operation.target.kind.value,
        "server": str(operation.target.server),
        "verb": operation.verb.value,
        "state": operation.state.value,
        "create_time": operation.create_time,
        "start_time": operation.start_time,
        "end_time": operation.end_time,
        "steps": steps_values(operation.steps),
        "cancel_requested": operation.cancel_requested,
        "attempts": operation.attempts,
        "request_id": operation.request_id,
        "principal": operation.principal,
        "options": dict(operation.options),
        "previous": operation.previous,
        "error": operation.error,
        "result": operation.result,
    }


def steps_values(steps: Sequence[StepProgress]) -> list[list[str | int]]:
    return [[step.name, step.state.value, step.detail, step.percent] for step in steps]


def snapshot_of(resource: Resource[Any]) -> Mapping[str, Any]:
    """A resource as JSON, for an operation's result."""
    return resource_values(resource)


def from_snapshot(data: Mapping[str, Any]) -> Resource[Any]:
    """The resource that `snapshot_of` had been given."""
    spec, conditions = decode(SPECS[Kind(data["kind"])], data["spec"]), decode(tuple[Condition, ...], data["conditions"])
    return _resource(SimpleNamespace(**data), spec, data["assigned"], conditions)
