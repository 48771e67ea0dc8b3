"""Operations: the progress of one change, as the store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from services.core.domain.names import Name


class Verb(Enum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    RESET_PASSWORD = "RESET_PASSWORD"
    REPAIR = "REPAIR"


class OperationState(Enum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"


class StepState(Enum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    UNDONE = "UNDONE"


@dataclass(frozen=True)
class StepProgress:
    name: str
    state: StepState = StepState.PENDING
    detail: str = ""
    #: How much of a step that runs is done, as far as the step tells.
    percent: int = 0


@dataclass(frozen=True)
class Operation:
    """One change under way or ended.

    `options` are those of the request that steps look at (`delete_data`, `end_sessions`); `previous` is the spec to go back
    to when an update fails; `error` is a `PvesmbError` as JSON; `result` the resource as it was when the operation ended
    well, as the store's JSON. Times are seconds since the epoch.
    """

    id: str
    target: Name
    verb: Verb
    state: OperationState
    create_time: float
    start_time: float | None = None
    end_time: float | None = None
    steps: tuple[StepProgress, ...] = ()
    cancel_requested: bool = False
    attempts: int = 0
    request_id: str = ""
    principal: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    previous: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None

    @property
    def done(self) -> bool:
        return self.state is OperationState.DONE

    @property
    def progress_percent(self) -> int:
        """Share of the steps that are done, and of the one that runs."""
        if self.done and self.error is None:
            return 100
        finished = sum(100 if step.state is StepState.DONE else step.percent for step in self.steps)
        return finished // len(self.steps) if self.steps else 0
