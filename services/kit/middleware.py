"""The middlewares of every server. Order, from outside: log, metrics, errors, authentication and authorisation, handler.

Log and metrics are outside of the errors, so that they see the status that the caller gets; errors are outside of
authentication, so that refusals are typed like every other error.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger

import grpc
from google.protobuf.message import Message
from prometheus_client import CollectorRegistry, Counter, Histogram

from services.core.errors import MethodUnknown, PvesmbError, Unauthenticated
from services.kit import identity, logging, policy
from services.kit.calls import Call, Failed, Middleware, go_name
from services.kit.identity import Role
from services.kit.status import to_status, unexpected
from services.kit.tokens import Tokens

REQUEST_ID_KEY = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_log = getLogger("rpc")
_audit = getLogger("audit")

ResourceOf = Callable[[str, object], str]


def resource_of(_method: str, request: object) -> str:
    """The name that a decoded request is about: its `name` or `parent`, or the `name` of the resource in it."""
    if not isinstance(request, Message):
        return ""
    for field in ("name", "parent"):
        value = getattr(request, field, None)
        if isinstance(value, str):
            return value
    for _, nested in request.ListFields():
        if isinstance(nested, Message) and isinstance(getattr(nested, "name", None), str):
            return str(nested.name)  # type: ignore[attr-defined]  # checked in the line above
    return ""


@dataclass(frozen=True)
class Access:
    """Who may call what on this server."""

    roles: Mapping[str, Role | None]
    tokens: Tokens | None = None
    #: Backends believe the gateway about who asked it.
    behind_gateway: bool = True


def standard(access: Access, registry: CollectorRegistry, resource: ResourceOf = resource_of) -> Sequence[Middleware]:
    """The middlewares of every server of ours, outermost first."""
    return logged(access, resource), measured(registry), typed_errors, secured(access)


def logged(access: Access, resource: ResourceOf) -> Middleware:
    """One line a call, and for calls that change something an audit line: who, what, on which resource, how it ended."""

    @contextlib.contextmanager
    def around(call: Call) -> Iterator[None]:
        given = call.peer.metadata.get(REQUEST_ID_KEY, "")
        request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
        with logging.bound(request_id=request_id):
            begin, error = time.monotonic(), None
            try:
                yield
            except BaseException as e:
                error = e
                raise
            finally:
                seconds = round(time.monotonic() - begin, 6)
                who = call.identity
                principal, role = (who.principal, who.role.name.lower()) if who else ("", "")
                told = {"method": call.method[:200], "code": go_name(call.code(error)), "principal": principal}
                _log.info("call", extra={**told, "seconds": seconds})
                if policy.mutates(access.roles, call.method):
                    _audit.info("audit", extra={**told, "role": role, "resource": _name(resource, call)})

    return around


def _name(resource: ResourceOf, call: Call) -> str:
    try:
        return resource(call.method, call.request)[:300]
    except PvesmbError:
        return ""


def measured(registry: CollectorRegistry) -> Middleware:
    """Counts and times calls under the names of go-grpc-prometheus, which existing dashboards and alerts use."""
    names = ["grpc_type", "grpc_service", "grpc_method"]
    started = Counter("grpc_server_started_total", "Calls begun", names, registry=registry)
    handled = Counter("grpc_server_handled_total", "Calls ended, by status code", [*names, "grpc_code"], registry=registry)
    handling = Histogram("grpc_server_handling_seconds", "Time from the first byte to the end", names, registry=registry)

    @contextlib.contextmanager
    def around(call: Call) -> Iterator[None]:
        _, service, method = call.method.split("/", 2) if call.known else ("", "unknown", "unknown")
        labels = (call.kind, service, method)
        started.labels(*labels).inc()
        begin, error = time.monotonic(), None
        try:
            yield
        except BaseException as e:
            error = e
            raise
        finally:
            handled.labels(*labels, go_name(call.code(error))).inc()
            handling.labels(*labels).observe(time.monotonic() - begin)

    return around


@contextlib.contextmanager
def typed_errors(call: Call) -> Iterator[None]:
    """Only the errors of our tree reach a caller; the text of any other would be a leak.

    What a handler has settled by `context.abort` passes: sync gRPC raises a bare Exception then, aio an AbortError.
    Generated code raises NotImplementedError in a method that a servicer leaves out (List of gRPC's asynchronous health).
    """
    try:
        yield
    except PvesmbError as e:
        raise Failed(to_status(e)) from e
    except grpc.aio.AbortError:
        raise
    except NotImplementedError as e:
        if call.own_code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise Failed(to_status(unexpected(e))) from e
        raise Failed(to_status(MethodUnknown(f"{call.method} is not served here"))) from e
    except Exception as e:
        if type(e) is Exception and not e.args and call.own_code() is not None:
            raise
        if call.gone():  # the usual noise of a handler whose client has gone; nobody gets the answer
            _log.debug("call was over", exc_info=e)
            raise
        raise Failed(to_status(unexpected(e))) from e


def secured(access: Access) -> Middleware:
    """Finds out who calls and whether they may; handlers ask `identity.current()`."""

    @contextlib.contextmanager
    def around(call: Call) -> Iterator[None]:
        try:
            call.identity = identity.authenticate(call.peer, access.tokens, behind_gateway=access.behind_gateway)
        except Unauthenticated:
            if access.roles.get(call.method, Role.VIEWER) is not None:
                raise
        policy.authorize(access.roles, call.method, call.identity)
        identity.set_current(call.identity)
        principal = call.identity.principal if call.identity else ""
        try:
            with logging.bound(principal=principal):
                yield
        finally:
            identity.set_current(None)

    return around
