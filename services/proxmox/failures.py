"""What Proxmox VE refuses, as errors of ours: one table.

A row is known by the HTTP status and the text; the text of a failed task is judged by the same rows, because Proxmox says
the same things in both places (a locked container refuses a change at once and a start in the task). The texts are those of
a recorded Proxmox VE 9.2.11, and where it was not recorded those in the sources of 9.x. A row gives the `Kind`, by which
steps decide, and what the administrator can do. What no row knows keeps Proxmox's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from services.core.errors import (
    AlreadyExists,
    HostNotTrusted,
    HostTimeout,
    HostUnreachable,
    NotFound,
    PreconditionFailed,
    ProxmoxDenied,
    ProxmoxFailed,
    PvesmbError,
    ResourceBusy,
    StorageFull,
    Violation,
)


class Kind(Enum):
    """What steps tell apart; kept in an error's metadata as `proxmox`, so that it survives the store."""

    LOGIN = "login"
    PRIVILEGE = "privilege"
    ROOT_ONLY = "root-only"
    NO_GUEST = "no-guest"
    NO_STORAGE = "no-storage"
    NO_VOLUME = "no-volume"
    NO_TEMPLATE = "no-template"
    NO_POOL = "no-pool"
    NO_BRIDGE = "no-bridge"
    NO_NODE = "no-node"
    ID_TAKEN = "id-taken"
    LOCKED = "locked"
    STALE = "stale"
    RUNNING = "running"
    NOT_RUNNING = "not-running"
    IN_HA = "in-ha"
    PROTECTED = "protected"
    SHRINK = "shrink"
    CONTENT = "content"
    SPACE = "space"
    FEATURE = "feature"
    PARAMETER = "parameter"
    UNKNOWN_CALL = "unknown-call"
    NO_QUORUM = "no-quorum"
    TASK_LOST = "task-lost"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    DROPPED = "dropped"
    UNTRUSTED = "untrusted"
    NOT_PROXMOX = "not-proxmox"


@dataclass(frozen=True)
class Refusal:
    """What came instead of success. `status` is that of HTTP, or one of the numbers below for what is none. `subject` says
    what was done, in words for the caller; `needs` what it takes where Proxmox only says that something is missing."""

    status: int
    text: str
    subject: str
    errors: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""

    def lines(self) -> list[str]:
        return [f"{name}: {' '.join(text.split())}" for name, text in self.errors.items()] or [self.text.strip()]


#: Pseudo statuses: a task that ended with this text, and what happens below HTTP.
TASK, NO_CONNECTION, NO_ANSWER, CUT_OFF, NOT_TRUSTED, NO_JSON = 0, -1, -2, -3, -4, -5


@dataclass(frozen=True)
class Row:
    """`statuses` empty: any answer or task, but nothing below HTTP."""

    pattern: str
    kind: Kind
    error: type[PvesmbError]
    help: str
    statuses: tuple[int, ...] = ()


_LOGIN = "Check user, token id and secret of this backend's configuration, and that neither user nor token has expired."
_GRANT = "Grant {privilege} on {path} to the token's user, and to a privilege-separated token too (pveum acl modify)."
_ROOT = (
    "Proxmox VE allows this to the password login of root@pam only, not to any API token; leave it out, or configure one."
)
_LOCKED = "Wait until the running task (backup, migration) has ended; `pct unlock {id}` removes a lock left behind."
_NETWORK = "See whether pveproxy runs on the node (systemctl status pveproxy) and whether its address and port are right."

TABLE: tuple[Row, ...] = (
    Row("^unreachable", Kind.UNREACHABLE, HostUnreachable, _NETWORK, (NO_CONNECTION,)),
    Row("", Kind.UNREACHABLE, HostUnreachable, "See whether the named node of the cluster is up.", (595,)),
    Row(
        "",
        Kind.TIMEOUT,
        HostTimeout,
        "Look at the load of the node and at its task list; the call may have had its effect.",
        (NO_ANSWER,),
    ),
    Row(
        "",
        Kind.DROPPED,
        HostUnreachable,
        "Look at the log of pveproxy and pvedaemon; the call may have had its effect.",
        (CUT_OFF, 596, 597, 598, 599),
    ),
    Row(
        "fingerprint",
        Kind.UNTRUSTED,
        HostNotTrusted,
        "The node's certificate has changed. If that was on purpose, configure the new fingerprint (pvenode cert info).",
        (NOT_TRUSTED,),
    ),
    Row(
        "",
        Kind.UNTRUSTED,
        HostNotTrusted,
        "Configure its CA (/etc/pve/pve-root-ca.pem) and a host name that it has, or pin its fingerprint.",
        (NOT_TRUSTED,),
    ),
    Row(
        "",
        Kind.NOT_PROXMOX,
        HostUnreachable,
        "What answers there is not the API of Proxmox VE: check address and port, and what stands before it.",
        (NO_JSON, 502, 503, 504),
    ),
    Row("", Kind.LOGIN, ProxmoxDenied, _LOGIN, (401,)),
    Row("only allowed for root@pam|user != root@pam", Kind.ROOT_ONLY, ProxmoxDenied, _ROOT, (403,)),
    Row("(?i)(^|: )only root (can|may) ", Kind.ROOT_ONLY, ProxmoxDenied, _ROOT, (400, 500, TASK)),
    Row(
        r"pool '(?P<name>[^']+)' does not exist",
        Kind.NO_POOL,
        NotFound,
        "Make the pool (pveum pool add {name}) or configure another.",
        (403, 500),
    ),
    Row(r"\((?P<path>/[^,]*), (?P<privilege>[^)]+)\)", Kind.PRIVILEGE, ProxmoxDenied, _GRANT, (403, TASK)),
    Row("", Kind.PRIVILEGE, ProxmoxDenied, _GRANT, (403,)),
    Row("", Kind.UNKNOWN_CALL, ProxmoxFailed, "This node does not know the call: Proxmox VE 8.3 to 9.2 is needed.", (501,)),
    Row(
        r"no such task|unable to parse worker upid",
        Kind.TASK_LOST,
        ProxmoxFailed,
        "The node no longer knows the task: look at the guest itself.",
        (400, 500),
    ),
    Row(
        r"(CT|VM) (?P<id>\d+) already exists",
        Kind.ID_TAKEN,
        AlreadyExists,
        "Another guest took the id; the next free one is tried.",
    ),
    Row(r"(CT|VM) is locked \((?P<lock>[^)]*)\)", Kind.LOCKED, ResourceBusy, _LOCKED),
    Row(r"can't lock file .* got timeout|can't (acquire|aquire) lock", Kind.LOCKED, ResourceBusy, _LOCKED),
    Row(
        r"detected modified configuration",
        Kind.STALE,
        ResourceBusy,
        "Somebody else changed the guest at the same moment; call again.",
    ),
    Row(r"no quorum", Kind.NO_QUORUM, HostUnreachable, "The cluster has no quorum: bring its nodes back (pvecm status)."),
    Row(r"used in HA resources", Kind.IN_HA, PreconditionFailed, "Take the guest out of HA (ha-manager remove ct:{id})."),
    Row(
        r"protection mode enabled",
        Kind.PROTECTED,
        PreconditionFailed,
        "Take the guest's protection off first (pct set {id} --protection 0).",
    ),
    Row(
        r"container is running|(CT|VM) (?P<id>\d+) already running|VM (?P<vm>\d+) is running",
        Kind.RUNNING,
        PreconditionFailed,
        "Stop the guest first.",
    ),
    Row(r"(CT|VM) (?P<id>\d+) (is )?not running", Kind.NOT_RUNNING, PreconditionFailed, "Start the guest first."),
    Row(r"unable to shrink disk size", Kind.SHRINK, PreconditionFailed, "A volume can only grow; make a new one and copy."),
    Row(
        r"storage '(?P<name>[^']+)' (does not (allow content type|support)|is not configured for content-type)"
        r" '(?P<content>\w+)'",
        Kind.CONTENT,
        PreconditionFailed,
        "Allow content type {content} on storage {name} (Datacenter, Storage, Content), or choose a storage that has it.",
    ),
    Row(
        r"storage '(?P<name>[^']+)' does not support container directories",
        Kind.CONTENT,
        PreconditionFailed,
        "Allow content type rootdir on storage {name} (Datacenter, Storage, Content), or choose a storage that has it.",
    ),
    Row(
        r"storage '(?P<name>[^']+)' does not support templates",
        Kind.CONTENT,
        PreconditionFailed,
        "Allow content type vztmpl on storage {name} (Datacenter, Storage, Content), or choose a storage that has it.",
    ),
    Row(
        r"(?i)no space left|not enough (free )?space|insufficient free (space|extents)|out of space|disk quota exceeded",
        Kind.SPACE,
        StorageFull,
        "Free space on the storage, or choose another.",
    ),
    Row(
        r"Configuration file '[^']*/(?P<id>\d+)\.conf' does not exist",
        Kind.NO_GUEST,
        NotFound,
        "The guest is gone; it was deleted on the node.",
    ),
    Row(
        r"^storage: No such storage|storage '(?P<name>[^']+)' does not exist",
        Kind.NO_STORAGE,
        NotFound,
        "Choose one of the node's storages (pvesm status).",
    ),
    Row(
        r"volume '(?P<name>[^']+)' does not exist",
        Kind.NO_VOLUME,
        NotFound,
        "See what the storage holds (pvesm list); a template is uploaded or downloaded first.",
    ),
    Row(r"^template: no such template", Kind.NO_TEMPLATE, NotFound, "Choose one of `pveam available`."),
    Row(
        r"bridge '(?P<name>[^']+)' does not exist",
        Kind.NO_BRIDGE,
        PreconditionFailed,
        "Make the bridge on the node, or choose another.",
    ),
    Row(
        r"hostname lookup '(?P<name>[^']+)' failed",
        Kind.NO_NODE,
        PreconditionFailed,
        "Configure the node's name as the cluster knows it (pvecm nodes).",
    ),
    Row(
        r"snapshot feature is not available",
        Kind.FEATURE,
        PreconditionFailed,
        "The storage has no snapshots; choose ZFS, LVM-thin, btrfs or Ceph.",
    ),
    Row(
        "",
        Kind.PARAMETER,
        ProxmoxFailed,
        "Proxmox VE does not take this value; compare its version with the supported ones (8.3 to 9.2).",
        (400,),
    ),
    Row("", Kind.FAILED, ProxmoxFailed, "Look at the task list and the system log of the node."),
)


def error_of(refusal: Refusal) -> PvesmbError:
    """The error of the first row that fits; one always does."""
    for row in TABLE:
        if refusal.status not in row.statuses and (row.statuses or refusal.status < 0):
            continue
        for line in refusal.lines():
            if found := re.search(row.pattern, line):
                return _error(row, refusal, line, {key: value for key, value in found.groupdict().items() if value})
    raise AssertionError("the last row takes everything")


def kind_of(error: PvesmbError) -> Kind | None:
    """What it was at Proxmox; None if it does not come from there."""
    value = error.metadata.get("proxmox")
    return Kind(value) if value is not None else None


def may_have_happened(error: PvesmbError) -> bool:
    """Whether the call may have had its effect all the same, so that one has to look before it is repeated."""
    return kind_of(error) in (Kind.TIMEOUT, Kind.DROPPED, Kind.NOT_PROXMOX)


def _error(row: Row, refusal: Refusal, line: str, found: Mapping[str, str]) -> PvesmbError:
    facts = dict(found)
    if row.kind is Kind.PRIVILEGE and "path" not in facts and refusal.needs:
        facts["privilege"], facts["path"] = refusal.needs.split(" on ", 1)
    words = {"id": "ID", "name": "it", "content": "it", "privilege": "what the call needs", "path": "its objects"}
    metadata = {**facts, "proxmox": row.kind.value}
    violations = [Violation(name, " ".join(text.split())) for name, text in refusal.errors.items()]
    said = "; ".join(refusal.lines()) if row.kind is Kind.PARAMETER else line
    message = f"{refusal.subject}: {said}"
    if row.kind is Kind.PRIVILEGE and "path" in facts and f"({facts['path']}, " not in message:
        message += f" ({facts['path']}, {facts['privilege']})"
    return row.error(message, help=row.help.format_map(words | facts), metadata=metadata, violations=violations)
