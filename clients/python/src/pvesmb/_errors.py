"""What can go wrong, as one tree by gRPC status code, with the details that the service sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import grpc
from google.rpc import error_details_pb2, status_pb2


class PvesmbError(Exception):
    """The root. `reason` is stable and fit for programs (`ErrorReason` in the protos, without its prefix; empty where the
    error does not come from the service), `help` says what to do, `field_violations` maps field paths (or names of
    resources, for preconditions) to what is wrong with them."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Mapping[str, str] | None = None,
        help: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field_violations = dict(field_violations or {})
        self.help = help


class Cancelled(PvesmbError):
    """CANCELLED: the operation was cancelled and undone, or the call was."""


class InvalidArgument(PvesmbError):
    """INVALID_ARGUMENT: `field_violations` names the fields."""


class DeadlineExceeded(PvesmbError):
    """DEADLINE_EXCEEDED: no answer in time, or an operation that has not ended in time. It may still go on."""


class NotFound(PvesmbError):
    """NOT_FOUND."""


class AlreadyExists(PvesmbError):
    """ALREADY_EXISTS."""


class PermissionDenied(PvesmbError):
    """PERMISSION_DENIED: the role does not suffice, or a path is not allowed."""


class ResourceExhausted(PvesmbError):
    """RESOURCE_EXHAUSTED: a storage is full, or a limit is reached."""


class FailedPrecondition(PvesmbError):
    """FAILED_PRECONDITION: something else has to be done first."""


class Aborted(PvesmbError):
    """ABORTED: somebody else was faster (etag), or works on the resource."""


class Unimplemented(PvesmbError):
    """UNIMPLEMENTED: the backend does not have this feature."""


class Internal(PvesmbError):
    """INTERNAL: a fault of the service; the message holds the id of the incident."""


class Unavailable(PvesmbError):
    """UNAVAILABLE: gateway, backend or Samba server cannot be reached."""


class Unauthenticated(PvesmbError):
    """UNAUTHENTICATED: no valid certificate or token."""


_BY_CODE: Mapping[int, type[PvesmbError]] = {
    1: Cancelled,
    3: InvalidArgument,
    4: DeadlineExceeded,
    5: NotFound,
    6: AlreadyExists,
    7: PermissionDenied,
    8: ResourceExhausted,
    9: FailedPrecondition,
    10: Aborted,
    12: Unimplemented,
    13: Internal,
    14: Unavailable,
    16: Unauthenticated,
}
_DETAILS_KEY = "grpc-status-details-bin"


def from_status(status: status_pb2.Status) -> PvesmbError:
    """The error of an operation, or of a call."""
    reason, help, metadata, violations = "", "", {}, {}
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        precondition, helping = error_details_pb2.PreconditionFailure(), error_details_pb2.Help()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations.update({v.field: v.description for v in bad.field_violations})
        elif detail.Unpack(precondition):
            violations.update({v.subject: v.description for v in precondition.violations})
        elif detail.Unpack(helping) and helping.links:
            help = helping.links[0].description
    kind = _BY_CODE.get(status.code, PvesmbError)
    return kind(status.message, reason=reason, metadata=metadata, field_violations=violations, help=help)


def from_rpc(error: grpc.RpcError) -> PvesmbError:
    """The error of a call that gRPC has failed."""
    # Typed as one pair in types-grpcio; it is a sequence of pairs.
    trailers = cast("Sequence[tuple[str, bytes]]", error.trailing_metadata() or ())
    for key, value in trailers:
        if key == _DETAILS_KEY:
            status = status_pb2.Status()
            status.ParseFromString(value)
            return from_status(status)
    code = error.code()
    kind = _BY_CODE.get(code.value[0], PvesmbError)
    return kind(error.details() or code.name)
