"""One RPC as the middlewares see it, the same for both runtimes of gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import grpc
from google.rpc import status_pb2

from services.core.errors import InvalidField
from services.kit.identity import Identity, Peer


class Failed(Exception):
    """The call ends with this status. Raised by the error middleware, answered by the adapter of the runtime."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


@dataclass
class Call:
    """One RPC. The adapter fills in what the runtime knows; the middlewares add the rest."""

    method: str
    #: `unary`, `client_stream`, `server_stream` or `bidi_stream`, as go-grpc names them.
    kind: str
    #: Whether the server has such a method. Others share one label, since callers choose their names.
    known: bool
    peer: Peer
    #: The message of a call with a unary request (raw bytes where the server does not decode); None of a stream, and of one
    #: that is refused.
    request: object
    #: The status that the handler has set itself, by `set_code` or `abort`; None if none.
    own_code: Callable[[], grpc.StatusCode | None]
    #: Whether the client is gone, or its deadline over.
    gone: Callable[[], grpc.StatusCode | None]
    identity: Identity | None = None

    def code(self, error: BaseException | None) -> grpc.StatusCode:
        """How the call ended, given what its handler raised."""
        if isinstance(error, Failed):
            return to_code(error.status.code)
        gone, own = self.gone(), self.own_code()
        if error is None:
            return gone or own or grpc.StatusCode.OK
        if isinstance(error, Exception):
            return own or grpc.StatusCode.UNKNOWN
        return gone or grpc.StatusCode.CANCELLED  # asyncio.CancelledError and GeneratorExit: the client went


Middleware = Callable[[Call], contextlib.AbstractContextManager[None]]

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def to_code(number: int) -> grpc.StatusCode:
    """The status code of this number."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)


def go_name(code: grpc.StatusCode) -> str:
    """`FailedPrecondition`: how go-grpc spells it in metrics, which dashboards expect."""
    if code is grpc.StatusCode.OK:
        return "OK"
    return "Canceled" if code is grpc.StatusCode.CANCELLED else code.name.title().replace("_", "")


def malformed() -> InvalidField:
    """The error for bytes that are no message of the method."""
    return InvalidField.of("request", "is not a message of this method")


@contextlib.contextmanager
def around(middlewares: Sequence[Middleware], call: Call) -> Iterator[None]:
    """Enters the middlewares from the outermost to the innermost."""
    with contextlib.ExitStack() as stack:
        for middleware in middlewares:
            stack.enter_context(middleware(call))
        yield
