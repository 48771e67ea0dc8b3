"""Exit statuses, by class of error."""

from __future__ import annotations

from collections.abc import Mapping

OK, GENERAL, USAGE, INTERRUPTED = 0, 1, 2, 130

#: By gRPC status code; others are GENERAL.
BY_CODE: Mapping[int, int] = {
    1: 10,  # CANCELLED
    3: USAGE,  # INVALID_ARGUMENT
    4: 7,  # DEADLINE_EXCEEDED
    5: 3,  # NOT_FOUND
    6: 4,  # ALREADY_EXISTS
    7: 6,  # PERMISSION_DENIED
    8: 8,  # RESOURCE_EXHAUSTED
    9: 5,  # FAILED_PRECONDITION
    10: 4,  # ABORTED
    12: 9,  # UNIMPLEMENTED
    14: 7,  # UNAVAILABLE
    16: 6,  # UNAUTHENTICATED
}

MEANING: Mapping[int, str] = {
    OK: "done",
    GENERAL: "internal or other error",
    USAGE: "bad arguments",
    3: "not found",
    4: "conflict: it exists already, or somebody else was faster",
    5: "a precondition is not met",
    6: "not permitted, or not authenticated",
    7: "not reachable, or not in time",
    8: "storage full, or a limit reached",
    9: "not available in this version or backend",
    10: "cancelled",
    INTERRUPTED: "interrupted by Ctrl-C; an operation that was begun goes on",
}

EPILOG = "Exit status: " + "; ".join(f"{status} {meaning}" for status, meaning in MEANING.items()) + "."


class Interrupted(Exception):
    """Ctrl-C while a change is under way: its operation goes on, or, without a name, may have begun."""

    def __init__(self, operation: str, request_id: str = "") -> None:
        super().__init__(operation)
        self.operation = operation
        self.request_id = request_id

    @property
    def message(self) -> str:
        return f"interrupted; the operation goes on: {self.operation}" if self.operation else "interrupted"

    @property
    def help(self) -> str:
        if self.operation:
            name = self.operation
            return f"`pvesmb operation wait {name}` waits for it, `pvesmb operation cancel {name}` cancels it."
        return (
            "Whether the change was accepted is not known. `pvesmb operation list` shows it; the same command with"
            f" --request-id {self.request_id} does not make it twice."
        )
