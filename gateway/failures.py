"""What a caller is told when a backend fails without saying why in our words: typed errors that name the backend by its id,
never by its address.
"""

from __future__ import annotations

from logging import getLogger

import grpc

from gateway.backends import Backend, Reply
from services.core.errors import BackendUnavailable, LimitReached, MethodUnknown, PvesmbError
from services.kit.status import unexpected

#: The trailer of a rich error.
DETAILS_KEY = "grpc-status-details-bin"
_log = getLogger(__name__)


def typed(backend: Backend, answer: Reply) -> PvesmbError | None:
    """The error for a status without details; None where the bare code says it all, as it is for deadline and cancel."""
    metadata, code = {"backend": backend.id}, answer.code
    if code is grpc.StatusCode.UNAVAILABLE:
        backend.up = False
        _log.warning("backend cannot be reached", extra={"backend": backend.id, "details": answer.details})
        return BackendUnavailable(f"backends/{backend.id} cannot be reached", metadata=metadata)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return MethodUnknown(f"backends/{backend.id} does not have this method", metadata=metadata)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if "message larger than max" in answer.details:
            help = "Ask for less at once, such as a smaller page_size."
            return LimitReached(f"the answer of backends/{backend.id} is too large", help=help, metadata=metadata)
        return LimitReached(f"backends/{backend.id} has too many calls at once", metadata=metadata)
    if code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
        return unexpected(RuntimeError(f"backends/{backend.id} answered {code.name}: {answer.details}"))
    return None
