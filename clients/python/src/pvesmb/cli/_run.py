"""From an accepted change to its end: plan, progress, result, interruption."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from pvesmb._units import parse_duration
from pvesmb.cli import _show
from pvesmb.cli._exits import INTERRUPTED, USAGE, show_error
from pvesmb.cli._options import checked_request_id, value_of
from pvesmb.cli._session import session_of
from pvesmb.cli._text import clean, clean_lines

if TYPE_CHECKING:
    from pvesmb._operations import OperationHandle
    from pvesmb.v1.common_pb2 import Plan

T = TypeVar("T")


@dataclass(frozen=True)
class Wish:
    """How a changing command shall go on after the call."""

    as_json: bool
    no_wait: bool
    timeout: float | None
    dry_run: bool
    request_id: str | None

    @classmethod
    def of(cls, as_json: bool, no_wait: bool, timeout: str | None, dry_run: bool, request_id: str | None) -> Wish:
        """From the options, which are checked."""
        seconds = value_of("--timeout", parse_duration, timeout) if timeout is not None else None
        return cls(as_json, no_wait, seconds, dry_run, checked_request_id(request_id))

    @property
    def call(self) -> dict[str, Any]:
        """Arguments for the client's method."""
        return {"request_id": self.request_id, "validate_only": self.dry_run}


def finish(ctx: typer.Context, wish: Wish, answer: OperationHandle[T] | Plan, tell: Callable[[T], None]) -> None:
    """Shows the plan, or the operation, or waits for the end and shows that: `tell` does it for people."""
    if wish.dry_run:
        _show_plan(answer, wish.as_json)
        return
    handle: Any = answer
    if wish.no_wait:
        _show.print_json(_show.as_json(handle.operation)) if wish.as_json else _show.print_line(handle.name)
        return
    result = wait(ctx, handle, wish)
    if wish.as_json:
        _show.print_json({} if result is None else _show.as_json(result))
    else:
        tell(result)


def wait(ctx: typer.Context, handle: OperationHandle[T], wish: Wish) -> T:
    """Waits, with a bar on stderr if that is a terminal. Ctrl-C leaves the operation alone and says so."""
    try:
        if sys.stderr.isatty() and not wish.as_json:
            _follow(handle, wish.timeout)
            return handle.result(0)
        return handle.result(wish.timeout)
    except KeyboardInterrupt:
        session_of(ctx).told = True
        show_error(
            wish.as_json,
            code="CANCELLED",
            reason="INTERRUPTED",
            message=f"interrupted; the operation goes on: {handle.name}",
            help=f"`pvesmb operation wait {handle.name}` waits for it, `pvesmb operation cancel {handle.name}` cancels it.",
            operation=handle.name,
        )
        raise typer.Exit(INTERRUPTED) from None


def confirm(question: str, *, yes: bool, dry_run: bool) -> None:
    """Asks before something is removed; without a terminal nothing is removed unasked."""
    if yes or dry_run:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter("nothing is deleted without --yes where there is no terminal to ask")
    if not typer.confirm(clean(question), err=True):
        _show.note("Nothing was done.")
        raise typer.Exit(10)


def need_some(mask: list[str]) -> None:
    """Refuses an update that changes nothing."""
    if not mask:
        raise typer.BadParameter("nothing to change is given; --help lists the options")


def _follow(handle: OperationHandle[Any], timeout: float | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True, markup=False, highlight=False), transient=True) as bar:
        task = bar.add_task("waiting", total=100)
        for metadata in handle.progress(timeout):
            bar.update(task, completed=metadata.progress_percent, description=clean(_step(metadata)))


def _step(metadata: Any) -> str:
    """The name of the step that runs now."""
    from pvesmb.v1.operation_metadata_pb2 import OperationMetadata

    for step in metadata.steps:
        if step.state == OperationMetadata.Step.STATE_RUNNING:
            return f"cancelling, {step.name}" if metadata.cancel_requested else str(step.name)
    return "cancelling" if metadata.cancel_requested else "waiting"


def _show_plan(plan: Any, as_json: bool) -> None:
    if as_json:
        _show.print_json(_show.as_json(plan))
        return
    sys.stdout.write("Nothing was changed. It would do:\n")
    for number, step in enumerate(plan.steps, 1):
        _show.print_line(f"  {number}. {step}")
    for effect in plan.effects:
        _show.print_line(f"  - {effect}")
    for call in plan.proxmox_calls:
        parameters = " ".join(f"{key}={call.parameters[key]}" for key in sorted(call.parameters))
        _show.print_line(f"  {call.method} {call.path} {parameters}".rstrip())
    if plan.smb_conf_diff:
        sys.stdout.write(clean_lines(plan.smb_conf_diff).rstrip("\n") + "\n")


__all__ = ["USAGE", "Wish", "confirm", "finish", "need_some", "wait"]
