"""How conditions and states of a resource change. Pure functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from services.core.domain.resource import Condition, Resource, Severity, State
from services.core.errors import PvesmbError


def settled(resource: Resource[Any]) -> Resource[Any]:
    """What runs is what is desired, confirmed: only what is merely worth knowing is left to say."""
    kept = tuple(c for c in resource.conditions if c.severity is Severity.INFO)
    return replace(resource, state=State.READY, observed_generation=resource.generation, conditions=kept)


def kept(resource: Resource[Any]) -> Resource[Any]:
    """A resource that was to be removed and is not: it stands as its conditions say."""
    assigned = {key: value for key, value in resource.assigned.items() if key != "removal"}
    bad = any(condition.severity is Severity.ERROR for condition in resource.conditions)
    return replace(resource, state=State.DEGRADED if bad else State.READY, assigned=assigned)


def failed(resource: Resource[Any], type: str, error: PvesmbError, now: float, state: State) -> Resource[Any]:
    """The resource with an error condition of this type, in this state."""
    condition = Condition(type, Severity.ERROR, error.reason, error.message, error.help, now)
    return replace(with_condition(resource, condition), state=state)


def with_condition(resource: Resource[Any], condition: Condition) -> Resource[Any]:
    """The resource with this condition. One of the same type is replaced; if it says the same it keeps its time."""
    others = tuple(c for c in resource.conditions if c.type != condition.type)
    standing = next((c for c in resource.conditions if replace(c, since=condition.since) == condition), condition)
    return replace(resource, conditions=(*others, standing))


def without_condition(resource: Resource[Any], type: str) -> Resource[Any]:
    return replace(resource, conditions=tuple(c for c in resource.conditions if c.type != type))


def reported(resource: Resource[Any], types: frozenset[str], condition: Condition | None) -> Resource[Any]:
    """The resource with this condition in place of any of these types, or with none; and with the state that follows."""
    for type in types:
        resource = without_condition(resource, type)
    if condition is not None:
        resource = with_condition(resource, condition)
    if resource.state in (State.READY, State.DEGRADED):
        bad = any(c.severity is Severity.ERROR for c in resource.conditions)
        resource = replace(resource, state=State.DEGRADED if bad else State.READY)
    return resource
