"""The one place where errors become `google.rpc.Status`, and back."""

from __future__ import annotations

import uuid
from logging import getLogger

from google.protobuf import any_pb2, message
from google.rpc import error_details_pb2, status_pb2

from services.core.errors import REASONS, Code, Internal, PvesmbError, Violation

DOMAIN = "pvesmb"
#: Details travel base64-encoded in one trailer, and the message in another; gRPC's receivers take 8 KiB of metadata, and
#: make RESOURCE_EXHAUSTED of a reply with more.
_DETAILS_MAX = 5000
_TEXT_MAX = 700

_log = getLogger(__name__)


def to_status(error: PvesmbError) -> status_pb2.Status:
    """The status that a caller gets, or that a failed operation holds."""
    status = status_pb2.Status(code=int(error.code), message=_cut(error.message))
    metadata = {key: _cut(value) for key, value in error.metadata.items()}
    _add(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    help = error_details_pb2.Help()
    help.links.add(description=_cut(error.help))
    _add(status, help)
    if error.violations and error.code == Code.INVALID_ARGUMENT:
        bad = error_details_pb2.BadRequest()
        for v in error.violations:
            bad.field_violations.add(field=_cut(v.subject), description=_cut(v.description))
        while status.ByteSize() + bad.ByteSize() > _DETAILS_MAX and len(bad.field_violations) > 1:
            del bad.field_violations[-1]
        _add(status, bad)
    elif error.violations:
        unmet = error_details_pb2.PreconditionFailure()
        for v in error.violations:
            unmet.violations.add(type=error.reason, subject=_cut(v.subject), description=_cut(v.description))
        while status.ByteSize() + unmet.ByteSize() > _DETAILS_MAX and len(unmet.violations) > 1:
            del unmet.violations[-1]
        _add(status, unmet)
    return status


def from_status(status: status_pb2.Status) -> PvesmbError | None:
    """The error that `to_status` was given, or None for a status of somebody else."""
    info, help, violations = error_details_pb2.ErrorInfo(), "", []
    for detail in status.details:
        bad, unmet, link = error_details_pb2.BadRequest(), error_details_pb2.PreconditionFailure(), error_details_pb2.Help()
        if detail.Unpack(bad):
            violations += [Violation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(unmet):
            violations += [Violation(v.subject, v.description) for v in unmet.violations]
        elif detail.Unpack(link) and link.links:
            help = link.links[0].description
        else:
            detail.Unpack(info)
    kind = REASONS.get(info.reason)
    if info.domain != DOMAIN or kind is None:
        return None
    return kind(status.message, help=help, metadata=dict(info.metadata), violations=violations)


def unexpected(error: BaseException) -> Internal:
    """An error of ours for a fault of ours: the log gets the stack, the caller only the id under which it stands there."""
    incident = uuid.uuid4().hex[:12]
    _log.error("unexpected error", exc_info=error, extra={"incident": incident})
    return Internal.of(incident)


def _add(status: status_pb2.Status, detail: message.Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _cut(text: str) -> str:
    """The text, or as much of it as makes so many bytes where gRPC sends it: percent-encoded, three for each byte of what
    is not printable ASCII."""
    room = _TEXT_MAX
    for at, character in enumerate(text):
        room -= 1 if " " <= character <= "~" and character != "%" else 3 * len(character.encode(errors="replace"))
        if room < 0:
            return text[: max(at - 1, 0)] + "…"
    return text
