"""Exit codes by the class of an error, and how errors are shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from pvesmb.cli._text import clean

OK, GENERAL, USAGE, INTERRUPTED = 0, 1, 2, 130

_BY_CODE = {
    "INVALID_ARGUMENT": 2,
    "NOT_FOUND": 3,
    "ALREADY_EXISTS": 4,
    "ABORTED": 4,
    "FAILED_PRECONDITION": 5,
    "PERMISSION_DENIED": 6,
    "UNAUTHENTICATED": 6,
    "UNAVAILABLE": 7,
    "DEADLINE_EXCEEDED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "UNIMPLEMENTED": 9,
    "CANCELLED": 10,
}

TABLE = """\
Exit codes:
    0  done
    1  general or internal error
    2  bad arguments
    3  not found
    4  conflict: it exists already, or somebody else was faster
    5  something else has to be done first (failed precondition)
    6  not allowed, or not logged in
    7  not reachable, or not ended in time
    8  storage full, or a limit reached
    9  not available on this backend
   10  cancelled
  130  interrupted by Ctrl-C"""


def exit_code(code_name: str) -> int:
    """The exit code for the name of a gRPC status code."""
    return _BY_CODE.get(code_name, GENERAL)


def show_error(
    as_json: bool,
    *,
    code: str,
    message: str,
    reason: str = "",
    help: str = "",
    metadata: dict[str, str] | None = None,
    violations: Sequence[tuple[str, str]] = (),
    operation: str = "",
) -> None:
    """Writes an error to stderr: for programs one JSON object, for people what is wrong, where, and what to do."""
    if as_json:
        document: dict[str, Any] = {"code": code, "reason": reason, "message": message, "help": help}
        document["metadata"] = metadata or {}
        document["fieldViolations"] = [{"field": field, "description": text} for field, text in violations]
        if operation:
            document["operation"] = operation
        sys.stderr.write(json.dumps(document) + "\n")
        return
    lines = [f"Error: {message}"]
    # An error about one field says the same in its message.
    lines += [line for field, text in violations if (line := f"{field}: {text}") != message]
    lines += [f"What to do: {help}"] if help else []
    sys.stderr.write("".join(f"{'  ' if 0 < i < len(lines) - bool(help) else ''}{clean(s)}\n" for i, s in enumerate(lines)))
    sys.stderr.flush()
