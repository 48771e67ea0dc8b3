"""What all resources have in common: identity, generations, state, conditions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

from services.core.domain.names import Name

Spec_co = TypeVar("Spec_co", covariant=True)


class State(Enum):
    """Life cycle; the meanings are those of `ResourceState` in common.proto."""

    CREATING = "CREATING"
    READY = "READY"
    UPDATING = "UPDATING"
    DEGRADED = "DEGRADED"
    DELETING = "DELETING"


class Severity(Enum):
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Condition:
    """One statement about a resource; `since` in seconds since the epoch."""

    type: str
    severity: Severity
    reason: str
    message: str
    action: str
    since: float


@dataclass(frozen=True)
class Resource(Generic[Spec_co]):
    """A resource as the store keeps it. `spec` is what is desired; `assigned` holds what we chose for it once and for all
    (numeric ids, paths). Times are seconds since the epoch."""

    name: Name
    uid: str
    spec: Spec_co
    state: State
    generation: int
    observed_generation: int
    create_time: float
    update_time: float
    assigned: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()

    @property
    def etag(self) -> str:
        """Changes exactly when the desired state does."""
        return hashlib.sha256(f"{self.uid}:{self.generation}".encode()).hexdigest()[:16]
