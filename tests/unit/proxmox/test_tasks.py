"""Waiting for tasks: judged by exit status only, patient with the node, never with a lost task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from services.core.errors import HostTimeout, OperationCancelled, PvesmbError
from services.proxmox import tasks
from services.proxmox.failures import CUT_OFF, Kind, Refusal, error_of, kind_of
from services.proxmox.session import Value
from services.proxmox.tasks import Ended, Upid, wait
from tests.unit.proxmox.fakes import ScriptedApi
from tests.unit.proxmox.recorded import data, record, records

UPID = Upid.parse("UPID:pve1:00000521:0007B71B:6B047860:vzcreate:520:lp@pve!tok:")


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_FIRST_PAUSE", 0.0)


def node(statuses: list[Any], lines: list[str] | None = None) -> ScriptedApi:
    """Answers with one status after the other; an exception is raised."""
    left = list(statuses)

    def answer(method: str, path: str, params: Mapping[str, Value]) -> Any:
        if path.endswith("/log"):
            start, limit = int(str(params["start"])), int(str(params["limit"]))
            return [{"n": n, "t": line} for n, line in enumerate(lines or ["no content"], 1)][start : start + limit]
        if isinstance(left[0], Exception):
            raise left.pop(0)
        return left.pop(0) if len(left) > 1 else left[0]

    return ScriptedApi(answer)


RUNNING = {"status": "running"}


def stopped(exitstatus: str) -> dict[str, str]:
    return {"status": "stopped", "exitstatus": exitstatus}


def test_a_upid_tells_where_to_ask() -> None:
    assert (UPID.node, UPID.type, UPID.id, UPID.user) == ("pve1", "vzcreate", "520", "lp@pve!tok")


@pytest.mark.parametrize("id", [id for id, each in records("tasks").items() if "UPID" in each["request"]["path"]])
def test_recorded_tasks_are_judged_by_their_exit_status(id: str) -> None:
    status = data(id)
    api = node([status], record(id).get("task_log"))
    if status["status"] == "running":
        with pytest.raises(HostTimeout):
            wait(api, Upid.parse(status["upid"]), timeout=0)
    elif status["exitstatus"] == "OK":
        assert wait(api, Upid.parse(status["upid"]), timeout=0) == Ended(Upid.parse(status["upid"]))
    else:
        with pytest.raises(PvesmbError, match=r".") as failed:
            wait(api, Upid.parse(status["upid"]), timeout=0)
        assert status["exitstatus"] in failed.value.message


def test_it_waits_until_the_task_has_stopped() -> None:
    api = node([RUNNING, RUNNING, stopped("OK")])
    assert wait(api, UPID, timeout=60) == Ended(UPID)
    assert len(api.asked) == 3


def test_warnings_are_a_success_with_its_warnings() -> None:
    api = node([stopped("WARNINGS: 1")], ["extracting", "WARN: old systemd", "TASK WARNINGS: 1"])
    assert wait(api, UPID, timeout=60).warnings == ("WARN: old systemd",)


def test_a_failure_carries_the_last_lines_of_the_log() -> None:
    lines = [f"line {n}" for n in range(1203)] + ["TASK ERROR: boom"]
    with pytest.raises(PvesmbError, match="vzcreate 520: boom") as failed:
        wait(node([stopped("boom")], lines), UPID, timeout=60)
    assert failed.value.metadata["log"].splitlines() == [f"line {n}" for n in range(1198, 1203)]
    assert failed.value.metadata["upid"] == UPID.text


@pytest.mark.parametrize("status", [500, 595, 596, CUT_OFF])
def test_a_question_that_fails_is_asked_again(status: int) -> None:
    api = node([RUNNING, error_of(Refusal(status, "unreachable", "x")), stopped("OK")])
    assert wait(api, UPID, timeout=60) == Ended(UPID)


@pytest.mark.parametrize(("status", "text", "kind"), [(401, "No ticket", Kind.LOGIN), (403, "Permission", Kind.PRIVILEGE)])
def test_a_refusal_is_not(status: int, text: str, kind: Kind) -> None:
    with pytest.raises(PvesmbError) as failed:
        wait(node([error_of(Refusal(status, text, "x")), stopped("OK")]), UPID, timeout=60)
    assert kind_of(failed.value) is kind


def test_a_lost_task_is_told_at_once() -> None:
    lost = record("errors-063")["response"]
    error = error_of(Refusal(lost["status"], lost["reason"], "x", lost["body"]["errors"]))
    with pytest.raises(PvesmbError) as failed:
        wait(node([error, stopped("OK")]), UPID, timeout=60)
    assert kind_of(failed.value) is Kind.TASK_LOST


def test_when_the_time_is_over_the_task_is_named_for_later() -> None:
    with pytest.raises(HostTimeout) as failed:
        wait(node([RUNNING]), UPID, timeout=0)
    assert failed.value.metadata["upid"] == UPID.text


def test_a_node_that_stays_away_is_told_as_such() -> None:
    with pytest.raises(PvesmbError) as failed:
        wait(node([error_of(Refusal(595, "", "x"))]), UPID, timeout=0)
    assert kind_of(failed.value) is Kind.UNREACHABLE


def test_a_cancel_ends_the_wait() -> None:
    with pytest.raises(OperationCancelled):
        wait(node([RUNNING]), UPID, timeout=60, cancelled=lambda: True)
