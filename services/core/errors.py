"""Every error that a caller may see, as one tree.

An error knows its gRPC status code (as a number, so that this package does not need gRPC), a stable reason, what to do
about it, and the fields or subjects it is about. `services.kit.status` turns it into `google.rpc.Status`; the store keeps
it as JSON in a failed operation. Reasons are those of `protos/pvesmb/v1/errors.proto`, which a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar


class Code(IntEnum):
    """The status codes of `google.rpc.Code` that are used here."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong, and how: a field path (bad arguments) or a resource name (preconditions)."""

    subject: str
    description: str


class PvesmbError(Exception):
    """The root. `message` must be fit for a client: no secret, no address of a backend, no stack."""

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = "INTERNAL"
    #: What to do when the raiser says nothing better.
    default_help: ClassVar[str] = "Look up the incident in the service's log and report it."

    def __init__(
        self,
        message: str,
        *,
        help: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.help = help or self.default_help
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; kept in the store with a failed operation."""
        return {
            "reason": self.reason,
            "message": self.message,
            "help": self.help,
            "metadata": self.metadata,
            "violations": [[v.subject, v.description] for v in self.violations],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> PvesmbError:
        """The same error again; one of an unknown reason (a newer version's) comes back as `Internal`."""
        kind = REASONS.get(data["reason"], Internal)
        return kind(
            data["message"],
            help=data["help"],
            metadata=data["metadata"],
            violations=[Violation(*v) for v in data["violations"]],
        )


class InvalidField(PvesmbError):
    """A field's value cannot be used. `field` is its path from the request, such as `share.access[0].level`."""

    code = Code.INVALID_ARGUMENT
    reason = "FIELD_INVALID"
    default_help = "Correct the named field and call again."

    @classmethod
    def of(cls, field: str, description: str) -> InvalidField:
        return cls(f"{field}: {description}", violations=[Violation(field, description)], metadata={"field": field})

    def below(self, prefix: str) -> InvalidField:
        """The same error seen from a message that holds this one at `prefix`."""
        first = self.violations[0]
        return InvalidField.of(f"{prefix}.{first.subject}" if prefix else first.subject, first.description)


class FeatureNotAvailable(PvesmbError):
    code = Code.UNIMPLEMENTED
    reason = "FEATURE_NOT_AVAILABLE"
    default_help = "Leave the field unset; `features` of the backend lists what it can do."

    @classmethod
    def of(cls, field: str, why: str = "is not available yet") -> FeatureNotAvailable:
        return cls(f"{field} {why}", metadata={"field": field})

    def below(self, prefix: str) -> FeatureNotAvailable:
        """The same error seen from a message that holds this one at `prefix`."""
        field = self.metadata["field"]
        return FeatureNotAvailable.of(f"{prefix}.{field}", self.message.removeprefix(f"{field} "))


class MethodUnknown(PvesmbError):
    code = Code.UNIMPLEMENTED
    reason = "METHOD_UNKNOWN"
    default_help = "Compare the versions of client and server; reflection lists the methods."


class NotFound(PvesmbError):
    code = Code.NOT_FOUND
    reason = "RESOURCE_NOT_FOUND"
    default_help = "List the parent to see what exists."

    @classmethod
    def of(cls, name: str) -> NotFound:
        return cls(f"{name} does not exist", metadata={"name": name})


class AlreadyExists(PvesmbError):
    code = Code.ALREADY_EXISTS
    reason = "RESOURCE_EXISTS"
    default_help = "Choose another id, or update the resource that exists."


class EtagMismatch(PvesmbError):
    code = Code.ABORTED
    reason = "ETAG_MISMATCH"
    default_help = "Read the resource again and decide anew."


class ResourceBusy(PvesmbError):
    code = Code.ABORTED
    reason = "RESOURCE_BUSY"
    default_help = "Wait for the named operation, then call again."


class RequestIdReused(PvesmbError):
    code = Code.INVALID_ARGUMENT
    reason = "REQUEST_ID_REUSED"
    default_help = "Use a new UUID for each different request."


class PageTokenInvalid(PvesmbError):
    code = Code.INVALID_ARGUMENT
    reason = "PAGE_TOKEN_INVALID"
    default_help = "Begin the list again without a page token."


class PreconditionFailed(PvesmbError):
    code = Code.FAILED_PRECONDITION
    reason = "PRECONDITION_FAILED"
    default_help = "Bring the named resources into the wanted state first."


class AddressInUse(PvesmbError):
    code = Code.FAILED_PRECONDITION
    reason = "ADDRESS_IN_USE"
    default_help = "Choose another address or port, or stop the program that uses it (`ss -ltnp`)."


class PathNotAllowed(PvesmbError):
    code = Code.PERMISSION_DENIED
    reason = "PATH_NOT_ALLOWED"
    default_help = "Use a path below the backend's roots, without symbolic links, or add a root to its configuration."


class PathUnsuitable(PvesmbError):
    code = Code.FAILED_PRECONDITION
    reason = "PATH_UNSUITABLE"
    default_help = "Mend owner, mode or place of the path on the host, or choose another."


class StorageFull(PvesmbError):
    code = Code.RESOURCE_EXHAUSTED
    reason = "STORAGE_FULL"
    default_help = "Free space on the storage, or choose another."


class LimitReached(PvesmbError):
    code = Code.RESOURCE_EXHAUSTED
    reason = "LIMIT_REACHED"
    default_help = "Wait a moment and call again."


class SambaConfigRejected(PvesmbError):
    code = Code.FAILED_PRECONDITION
    reason = "SAMBA_CONFIG_REJECTED"
    default_help = "Remove or correct the named option."


class SambaUnavailable(PvesmbError):
    code = Code.UNAVAILABLE
    reason = "SAMBA_UNAVAILABLE"
    default_help = "Look at the conditions of the file server and at the log of its smbd."


class NotConfirmed(PvesmbError):
    code = Code.FAILED_PRECONDITION
    reason = "NOT_CONFIRMED"
    default_help = "Look at the conditions of the file server and at the log of its smbd."


class OperationCancelled(PvesmbError):
    code = Code.CANCELLED
    reason = "OPERATION_CANCELLED"
    default_help = "Nothing has to be done; call again if it is wanted after all."


class BackendUnavailable(PvesmbError):
    code = Code.UNAVAILABLE
    reason = "BACKEND_UNAVAILABLE"
    default_help = "Start the backend, or look at its log; reads may be tried again."


class BackendUnknown(PvesmbError):
    code = Code.NOT_FOUND
    reason = "BACKEND_UNKNOWN"
    default_help = "ListBackends shows the backends of this gateway."


class Unauthenticated(PvesmbError):
    code = Code.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    default_help = "Give a client certificate of the gateway's authority, or a bearer token."


class RoleNotSufficient(PvesmbError):
    code = Code.PERMISSION_DENIED
    reason = "ROLE_NOT_SUFFICIENT"
    default_help = "Use an identity with the named role."


class HostNotPrepared(PvesmbError):
    code = Code.FAILED_PRECONDITION
    reason = "HOST_NOT_PREPARED"
    default_help = "Install what is missing on the host."


class HostTimeout(PvesmbError):
    code = Code.DEADLINE_EXCEEDED
    reason = "HOST_TIMEOUT"
    default_help = "Look at the load of the host, then call again."


class HostUnreachable(PvesmbError):
    code = Code.UNAVAILABLE
    reason = "HOST_UNREACHABLE"
    default_help = "See whether the host runs and answers, then call again."


class HostNotTrusted(PvesmbError):
    """What answers is not who was expected: an unknown or changed certificate, another host key."""

    code = Code.FAILED_PRECONDITION
    reason = "HOST_NOT_TRUSTED"
    default_help = "Find out why the host shows another key; only then trust the new one."


class ProxmoxDenied(PvesmbError):
    """Proxmox VE does not let *us* do it. Not `ROLE_NOT_SUFFICIENT`, which is about our own caller."""

    code = Code.FAILED_PRECONDITION
    reason = "PROXMOX_DENIED"
    default_help = "Give the API token of this backend, and its user, the named privilege on the named path."


class ProxmoxFailed(PvesmbError):
    code = Code.FAILED_PRECONDITION
    reason = "PROXMOX_FAILED"
    default_help = "Look at the task's log on the Proxmox VE node."


class Internal(PvesmbError):
    """A fault of our own. Only the incident id reaches the client; the log has the rest under it."""

    code = Code.INTERNAL
    reason = "INTERNAL"

    @classmethod
    def of(cls, incident: str) -> Internal:
        return cls(f"internal error, incident {incident}", metadata={"incident": incident})


REASONS: dict[str, type[PvesmbError]] = {kind.reason: kind for kind in PvesmbError.__subclasses__()}
