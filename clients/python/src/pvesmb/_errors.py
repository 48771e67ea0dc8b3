"""Errors that a caller may catch, one class for each status code of the contract.

They are built from the `google.rpc.Status` that an answer, or a failed operation, carries. The stable reasons are listed in
`protos/pvesmb/v1/errors.proto`; `help` says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import grpc

_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong, and how: `field` is a field's path, or the resource that a precondition is about."""

    field: str
    description: str


class PvesmbError(Exception):
    """The root, itself used for status codes without a class of their own.

    `reason` is stable and fit for programs, `metadata` and `field_violations` say more of it, `help` says what to do.
    `operation` names the operation that failed, if it was one.
    """

    code: ClassVar[int] = 2
    code_name: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        field_violations: Sequence[Violation] = (),
        help: str = "",
        operation: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field_violations = tuple(field_violations)
        self.help = help
        self.operation = operation


class Cancelled(PvesmbError):
    """The call or the operation was cancelled; a cancelled operation was undone."""

    code, code_name = 1, "CANCELLED"


class InvalidArgument(PvesmbError):
    """A value cannot be used; see `field_violations`."""

    code, code_name = 3, "INVALID_ARGUMENT"


class DeadlineExceeded(PvesmbError):
    """It did not end in its time. Whether a change was accepted is not known; its `request_id` makes it safe to repeat."""

    code, code_name = 4, "DEADLINE_EXCEEDED"


class NotFound(PvesmbError):
    """The resource does not exist."""

    code, code_name = 5, "NOT_FOUND"


class AlreadyExists(PvesmbError):
    """A resource of this name exists."""

    code, code_name = 6, "ALREADY_EXISTS"


class PermissionDenied(PvesmbError):
    """The caller may not do this, or the path is not allowed."""

    code, code_name = 7, "PERMISSION_DENIED"


class ResourceExhausted(PvesmbError):
    """The storage is full, or a limit is reached."""

    code, code_name = 8, "RESOURCE_EXHAUSTED"


class FailedPrecondition(PvesmbError):
    """The state of something else forbids it."""

    code, code_name = 9, "FAILED_PRECONDITION"


class Aborted(PvesmbError):
    """Somebody else was faster: the etag is old, or another operation works on the resource."""

    code, code_name = 10, "ABORTED"


class Unimplemented(PvesmbError):
    """The field or method belongs to a feature that this backend does not have."""

    code, code_name = 12, "UNIMPLEMENTED"


class Internal(PvesmbError):
    """A fault of the server; `metadata["incident"]` finds it in its log."""

    code, code_name = 13, "INTERNAL"


class Unavailable(PvesmbError):
    """The gateway, the backend or its Samba does not answer now."""

    code, code_name = 14, "UNAVAILABLE"


class Unauthenticated(PvesmbError):
    """Neither a client certificate nor a valid token was given."""

    code, code_name = 16, "UNAUTHENTICATED"


class OperationTimeout(DeadlineExceeded, TimeoutError):
    """The wait for an operation is over, and the operation goes on; `operation` is its name."""


class ConfigError(InvalidArgument):
    """What was given, or a configuration file says, of how to reach the gateway cannot be used."""


class GatewayNotFound(Unavailable):
    """Nothing says where the gateway is."""


_LOCAL_HELP = {
    14: "See that the gateway runs (`make run`) and that its address is right.",
    4: "Call again; the same request_id makes it safe to repeat a change.",
    8: "Wait a moment and call again.",
}
_TOO_LARGE_HELP = "Send or ask for less at once: messages have at most 4 MiB."


def _classes() -> dict[int, type[PvesmbError]]:
    return {kind.code: kind for kind in PvesmbError.__subclasses__()}


def from_status(status: Any, *, operation: str = "") -> PvesmbError:
    """The error that a `google.rpc.Status` stands for. Details of unknown types are left out."""
    from google.rpc import error_details_pb2 as details

    reason, help, metadata, violations = "", "", {}, []
    for detail in status.details:
        info, bad, unmet, links = details.ErrorInfo(), details.BadRequest(), details.PreconditionFailure(), details.Help()
        if detail.Unpack(info):
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(bad):
            violations += [Violation(v.field, v.description) for v in bad.field_violations]
        elif detail.Unpack(unmet):
            violations += [Violation(v.subject, v.description) for v in unmet.violations]
        elif detail.Unpack(links):
            help = " ".join(link.description for link in links.links)
    kind = _classes().get(status.code, PvesmbError)
    return kind(
        status.message, reason=reason, metadata=metadata, field_violations=violations, help=help, operation=operation
    )


def from_rpc(error: grpc.RpcError, target: str) -> PvesmbError:
    """The error that a failed call stands for; `target` is named where nobody answered at all."""
    from google.protobuf.message import DecodeError
    from google.rpc import status_pb2

    call: Any = error
    code = int(call.code().value[0])
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            try:
                return from_status(status_pb2.Status.FromString(value))
            except DecodeError:
                break
    message, help = str(call.details() or call.code().name), _LOCAL_HELP.get(code, "")
    if code == ResourceExhausted.code and "larger than max" in message:
        help = _TOO_LARGE_HELP
    if code == Unavailable.code:
        message = f"the gateway at {target} does not answer: {message}"
    elif code == DeadlineExceeded.code:
        message = f"the gateway at {target} did not answer in time"
    return _classes().get(code, PvesmbError)(message, help=help)
