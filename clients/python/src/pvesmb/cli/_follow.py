"""Waiting for a change, and telling how it ended."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from typing import Any

from pvesmb._operations import OperationHandle
from pvesmb.cli._command import Changing
from pvesmb.cli._exit import Interrupted
from pvesmb.cli._names import short
from pvesmb.cli._output import as_dict, clean, details, document, line
from pvesmb.cli._render import rows


def change(session: Changing, call: Callable[..., Any], done: str) -> None:
    """Makes a change as the options say (plan, wait or not), and prints what came of it. `call` takes `request_id` and
    `validate_only`; `done` says that it is done where nothing is left to show."""
    session.request_id = session.request_id or str(uuid.uuid4())
    try:
        answer = call(**session.common)
    except KeyboardInterrupt:
        raise Interrupted("", session.request_id) from None
    if not isinstance(answer, OperationHandle):
        _plan(session, answer)
    elif session.no_wait:
        show_operation(answer) if session.as_json else line(answer.name)
    else:
        finish(answer, session.timeout, as_json=session.as_json, done=done)


def finish(handle: OperationHandle[Any], timeout: float | None, *, as_json: bool, done: str) -> None:
    """Waits for the operation and prints its result; its error is raised."""
    result = follow(handle, timeout)
    if as_json:
        document(as_dict(result) if result is not None else {})
    elif result is None:
        line(done)
    else:
        details(rows(result))


def follow(handle: OperationHandle[Any], timeout: float | None) -> Any:
    """Waits, with a bar and the name of the current step if somebody looks on."""
    try:
        if sys.stderr.isatty():
            _bar(handle, timeout)
        return handle.result(timeout)
    except KeyboardInterrupt:
        raise Interrupted(handle.name) from None


def _bar(handle: OperationHandle[Any], timeout: float | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(clean(short(handle.metadata.target)), total=100)
        for metadata in handle.progress(timeout):
            text = " ".join(part for part in (short(metadata.target), current_step(metadata), detail(metadata)) if part)
            progress.update(task, description=clean(text), completed=metadata.progress_percent)


def current_step(metadata: Any) -> str:
    """The step under way, else the next one."""
    for state in (metadata.Step.STATE_RUNNING, metadata.Step.STATE_PENDING):
        for step in metadata.steps:
            if step.state == state:
                return str(step.name)
    return ""


def detail(metadata: Any) -> str:
    """What the step under way says of itself."""
    return next((str(step.detail) for step in metadata.steps if step.state == metadata.Step.STATE_RUNNING), "")


def show_operation(handle: OperationHandle[Any]) -> None:
    document(operation_dict(handle))


def operation_dict(handle: OperationHandle[Any]) -> dict[str, Any]:
    """The operation in protobuf's JSON mapping. A response of a type that this version does not know is left out."""
    from google.rpc import error_details_pb2  # noqa: F401  so that the details of an error can be written

    try:
        return as_dict(handle.operation)
    except TypeError:
        return {"name": handle.name, "metadata": as_dict(handle.metadata), "done": bool(handle.operation.done)}


def _plan(session: Changing, plan: Any) -> None:
    if session.as_json:
        document(as_dict(plan))
        return
    line("Nothing has been changed. Steps: " + (", ".join(plan.steps) or "none"))
    for effect in plan.effects:
        line(f"  {effect}")
    for call in plan.proxmox_calls:
        parameters = " ".join(f"{key}={value}" for key, value in sorted(call.parameters.items()))
        line(f"  {call.method} {call.path} {parameters}".rstrip())
    for text in plan.smb_conf_diff.splitlines():
        line(text)
