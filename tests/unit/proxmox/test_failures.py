"""The table of failures, held to every refusal that a real node was recorded with."""

from __future__ import annotations

import pytest

from services.core.errors import Code, PvesmbError, ResourceBusy
from services.proxmox.failures import (
    CUT_OFF,
    NO_ANSWER,
    NO_CONNECTION,
    NO_JSON,
    NOT_TRUSTED,
    TABLE,
    TASK,
    Kind,
    Refusal,
    error_of,
    kind_of,
    may_have_happened,
)
from tests.unit.proxmox.recorded import Record, record, records


def mapped(record: Record, needs: str = "") -> PvesmbError:
    response = record["response"]
    errors = (response.get("body") or {}).get("errors") or {}
    return error_of(Refusal(response["status"], response.get("reason") or "", "container 7", errors, needs))


RECORDED = {
    "errors-001": Kind.PARAMETER,
    "errors-002": Kind.NO_GUEST,
    "errors-004": Kind.RUNNING,
    "errors-014": Kind.STALE,
    "errors-018": Kind.PRIVILEGE,
    "errors-019": Kind.NO_POOL,
    "errors-020": Kind.PRIVILEGE,
    "errors-023": Kind.IN_HA,
    "errors-025": Kind.ID_TAKEN,
    "errors-027": Kind.ID_TAKEN,
    "errors-029": Kind.NO_STORAGE,
    "errors-033": Kind.ROOT_ONLY,
    "errors-036": Kind.PRIVILEGE,
    "errors-038": Kind.ROOT_ONLY,
    "errors-039": Kind.ROOT_ONLY,
    "errors-040": Kind.ROOT_ONLY,
    "errors-043": Kind.LOGIN,
    "errors-047": Kind.ROOT_ONLY,
    "errors-049": Kind.ROOT_ONLY,
    "errors-050": Kind.ROOT_ONLY,
    "errors-057": Kind.NO_TEMPLATE,
    "errors-062": Kind.TASK_LOST,
    "errors-063": Kind.TASK_LOST,
    "errors-066": Kind.DROPPED,
    "errors-069": Kind.ID_TAKEN,
    "errors-070": Kind.ID_TAKEN,
    "errors-077": Kind.LOGIN,
    "errors-079": Kind.LOGIN,
    "errors-087": Kind.NO_STORAGE,
    "errors-090": Kind.NO_STORAGE,
    "errors-093": Kind.RUNNING,
    "errors-094": Kind.SHRINK,
    "errors-096": Kind.LOCKED,
    "errors-103": Kind.UNKNOWN_CALL,
    "errors-105": Kind.NO_VOLUME,
    "errors-106": Kind.NOT_RUNNING,
    "errors-112": Kind.RUNNING,
    "errors-114": Kind.NO_NODE,
}


@pytest.mark.parametrize(("id", "kind"), RECORDED.items())
def test_a_recorded_refusal_is_known(id: str, kind: Kind) -> None:
    assert kind_of(mapped(record(id))) is kind


@pytest.mark.parametrize("id", [id for id, each in records("errors").items() if each["response"]["status"] >= 400])
def test_every_recorded_refusal_says_what_it_was_and_what_to_do(id: str) -> None:
    """Also of calls that we do not make: nothing ends as a fault of our own."""
    error = mapped(record(id))
    assert error.code is not Code.INTERNAL
    assert error.message.startswith("container 7: ") and "\n" not in error.message
    assert error.help and "{" not in error.help
    assert PvesmbError.from_json(error.to_json()).metadata == error.metadata


def test_a_missing_privilege_is_named_with_its_path() -> None:
    error = mapped(record("errors-020"))
    assert (error.metadata["privilege"], error.metadata["path"]) == ("VM.Audit", "/vms/501")
    assert "VM.Audit on /vms/501" in error.help


def test_where_proxmox_names_none_the_call_does() -> None:
    error = mapped(record("errors-018"), needs="VM.Allocate on /pool/smbgw")
    assert (error.metadata["privilege"], error.metadata["path"]) == ("VM.Allocate", "/pool/smbgw")
    assert "/pool/smbgw, VM.Allocate" in error.message


def test_a_lock_is_named_and_may_be_tried_again() -> None:
    error = mapped(record("errors-096"))
    assert isinstance(error, ResourceBusy)
    assert error.metadata["lock"] == "backup"


def test_each_refused_parameter_is_a_violation() -> None:
    error = mapped(record("errors-080"))
    assert {each.subject for each in error.violations} == {"vmid", "ostemplate"}
    assert "ostemplate: property is missing" in error.message


@pytest.mark.parametrize("file", ["lxc", "storage"])
def test_what_tasks_were_recorded_to_end_with_is_known(file: str) -> None:
    ends = {str(each["task_exitstatus"]) for each in records(file).values() if "task_exitstatus" in each} - {"OK"}
    kinds = {end: kind_of(error_of(Refusal(TASK, end, "vzstart 7"))) for end in ends}
    known = {"CT is locked (backup)": Kind.LOCKED, "snapshot feature is not available": Kind.FEATURE}
    known["Configuration file 'nodes/pve1/lxc/999.conf' does not exist"] = Kind.NO_GUEST
    known["unable to create CT 300 - volume 'local:vztmpl/none.tar.gz' does not exist"] = Kind.NO_VOLUME
    known["job errors"] = Kind.FAILED
    assert kinds == {end: known[end] for end in ends}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("storage 'iso' does not allow content type 'rootdir' (Container)", Kind.CONTENT),
        ("storage 'iso' is not configured for content-type 'vztmpl'", Kind.CONTENT),
        ("storage 'iso' does not support 'vztmpl' content", Kind.CONTENT),
        ("write error: No space left on device", Kind.SPACE),
        ("can't lock file '/run/lock/lxc/pve-config-100.lock' - got timeout", Kind.LOCKED),
        ("cluster not ready - no quorum?", Kind.NO_QUORUM),
        ("can't remove CT 100 - protection mode enabled", Kind.PROTECTED),
        ("bridge 'vmbr9' does not exist", Kind.NO_BRIDGE),
        ("something that nobody has seen", Kind.FAILED),
    ],
)
@pytest.mark.parametrize("status", [500, TASK])
def test_texts_of_the_sources_are_known_in_answers_and_in_tasks(text: str, kind: Kind, status: int) -> None:
    error = error_of(Refusal(status, text, "container 7"))
    assert kind_of(error) is kind
    assert text in error.message


@pytest.mark.parametrize(
    ("status", "kind", "maybe"),
    [
        (NO_CONNECTION, Kind.UNREACHABLE, False),
        (595, Kind.UNREACHABLE, False),
        (NO_ANSWER, Kind.TIMEOUT, True),
        (CUT_OFF, Kind.DROPPED, True),
        (596, Kind.DROPPED, True),
        (NOT_TRUSTED, Kind.UNTRUSTED, False),
        (NO_JSON, Kind.NOT_PROXMOX, True),
        (502, Kind.NOT_PROXMOX, True),
    ],
)
def test_below_http_it_is_known_whether_the_call_may_have_happened(status: int, kind: Kind, maybe: bool) -> None:
    error = error_of(Refusal(status, "unreachable", "container 7"))
    assert kind_of(error) is kind
    assert may_have_happened(error) is maybe


def test_every_kind_has_a_row() -> None:
    assert {row.kind for row in TABLE} == set(Kind)
