"""An in-memory twin of the services, on a real gRPC server on a unix socket.

It does what the contract says of names, etags, request ids, pages and operations, and nothing on any machine. Operations
end at once, or, with `held`, go from step to step as the test says.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from pvesmb.v1 import (
    backend_pb2,
    backend_service_pb2,
    common_pb2,
    file_server_service_pb2,
    group_service_pb2,
    operation_metadata_pb2,
    share_service_pb2,
    template_pb2,
    template_service_pb2,
    user_service_pb2,
)

STEPS = ("directory", "registry", "confirm")
_MODULES = (
    backend_service_pb2,
    file_server_service_pb2,
    group_service_pb2,
    share_service_pb2,
    template_service_pb2,
    user_service_pb2,
    operations_pb2,
)
#: Kind of resource: its field in requests, its collection in names, its field in lists.
_KINDS = {
    "FileServer": ("file_server", "fileServers", "file_servers"),
    "Share": ("share", "shares", "shares"),
    "User": ("user", "users", "users"),
    "Group": ("group", "groups", "groups"),
    "Template": ("template", "templates", "templates"),
}
Step = operation_metadata_pb2.OperationMetadata.Step


def status(code: int, message: str, *, reason: str = "", help: str = "", **details: Any) -> status_pb2.Status:
    """A status as the services send it. `fields` and `subjects` are violations, `metadata` goes into the ErrorInfo."""
    made = status_pb2.Status(code=code, message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain="pvesmb", metadata=details.get("metadata") or {})
    links = error_details_pb2.Help()
    links.links.add(description=help)
    found: list[Any] = [info, links]
    if "fields" in details:
        bad = error_details_pb2.BadRequest()
        for field, text in details["fields"]:
            bad.field_violations.add(field=field, description=text)
        found.append(bad)
    if "subjects" in details:
        unmet = error_details_pb2.PreconditionFailure()
        for subject, text in details["subjects"]:
            unmet.violations.add(type=reason, subject=subject, description=text)
        found.append(unmet)
    for detail in found:
        made.details.add().Pack(detail)
    return made


class Refused(Exception):
    """A call ends with this status."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class MemoryGateway:
    """`calls` records what was asked, by method and request. All else is for the test to set before it calls."""

    def __init__(self, socket: Path) -> None:
        self.target = f"unix:{socket}"
        self.calls: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, Any]] = []
        self.resources: dict[str, Any] = {}
        self.passwords: dict[str, str] = {}
        self.backends = ["native"]
        self.unreachable: list[str] = []
        self.page = 50
        self.held = False
        #: Answers WaitOperation at once, as a service without a free thread for it does.
        self.impatient = False
        self.operations: dict[str, operations_pb2.Operation] = {}
        self._by_request: dict[str, str] = {}
        self._failures: dict[str, list[tuple[status_pb2.Status, bool]]] = {}
        self._pending: dict[str, Callable[[], Any]] = {}
        self._changed = threading.Condition(threading.RLock())
        self._server = grpc.server(ThreadPoolExecutor(8))
        for module in _MODULES:
            for service in module.DESCRIPTOR.services_by_name.values():
                methods = {m.name: self._handler(m) for m in service.methods}
                self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, methods),))
        self._server.add_insecure_port(self.target)
        self._server.start()

    def stop(self) -> None:
        with self._changed:
            self.impatient = True
            self._changed.notify_all()
        self._server.stop(None).wait()

    # What tests say.

    def fail(self, method: str, status: status_pb2.Status, *, times: int = 1, after: bool = False) -> None:
        """The next calls of the method end so; with `after`, the change is made all the same and only the answer lost."""
        self._failures.setdefault(method, []).extend([(status, after)] * times)

    def add(self, kind: str, name: str, **fields: Any) -> Any:
        """A resource that is there already."""
        modules = {"FileServer": "file_server", "Share": "share", "Template": "template", "User": "user", "Group": "user"}
        module = modules[kind]
        message = getattr(__import__(f"pvesmb.v1.{module}_pb2", fromlist=[kind]), kind)(**fields)
        return self._put(name, message)

    def wait_for_operation(self, *, steps_seen: bool = False) -> str:
        """The name of the latest operation, once there is one."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.operations and self.asked("WaitOperation"), 30)
            return list(self.operations)[-1]

    def advance(self, name: str) -> None:
        """The running step ends well, the next one begins."""
        with self._changed:
            metadata = self._metadata(name)
            done = sum(step.state == Step.STATE_DONE for step in metadata.steps) + 1
            for number, step in enumerate(metadata.steps):
                step.state = (
                    Step.STATE_DONE if number < done else Step.STATE_RUNNING if number == done else Step.STATE_PENDING
                )
            metadata.progress_percent = 100 * done // len(STEPS)
            self.operations[name].metadata.Pack(metadata)
            if done == len(STEPS):
                self._end(name)
            self._changed.notify_all()

    def end(self, name: str, error: status_pb2.Status | None = None) -> None:
        """The operation ends, well or with an error."""
        with self._changed:
            if error is not None:
                self.operations[name].error.CopyFrom(error)
                self.operations[name].done = True
            else:
                self._end(name)
            self._changed.notify_all()

    def asked(self, method: str) -> list[Any]:
        """The requests of this method so far."""
        with self._changed:
            return [request for name, request in self.calls if name == method]

    # What clients call.

    def _handler(self, method: Any) -> grpc.RpcMethodHandler[Any, Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with self._changed:
                self.calls.append((method.name, request))
                self.metadata.append(dict(context.invocation_metadata()))
                self._changed.notify_all()
                failure, after = (self._failures.get(method.name) or [(None, False)]).pop(0)
            try:
                if failure is not None and not after:
                    raise Refused(failure)
                answer = self._answer(method.name, request)
                if failure is not None:
                    raise Refused(failure)
                return answer
            except Refused as refused:
                context.abort_with_status(rpc_status.to_status(refused.status))

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )

    def _answer(self, method: str, request: Any) -> Any:
        if method == "WaitOperation":
            return self._wait(request)
        with self._changed:
            if method.endswith("Operation") or method == "ListOperations":
                return self._operation(method, request)
            if method.endswith(("Backend", "Backends")):
                return self._backend(method, request)
            if method == "ResetPassword":
                return self._reset_password(request)
            if method == "BuildTemplate":
                return self._build(request)
            if method == "ValidateTemplate":
                return self._validate(request)
            verb = next(verb for verb in ("Create", "Get", "List", "Update", "Delete") if method.startswith(verb))
            kind = method.removeprefix(verb)
            kind = kind.removesuffix("s") if verb == "List" else kind
            return getattr(self, f"_{verb.lower()}")(kind, request)

    def _get(self, kind: str, request: Any) -> Any:
        self._reach(request.name)
        if request.name not in self.resources:
            raise Refused(
                status(
                    5,
                    f"{request.name} does not exist",
                    reason="RESOURCE_NOT_FOUND",
                    help="List the parent.",
                    metadata={"name": request.name},
                )
            )
        return self.resources[request.name]

    def _list(self, kind: str, request: Any) -> Any:
        _, collection, listed = _KINDS[kind]
        wildcard = request.parent == "backends/-"
        if not wildcard:
            self._reach(request.parent)
        prefix = "backends/" if wildcard else f"{request.parent}/{collection}/"
        names = [
            name
            for name in sorted(self.resources)
            if name.startswith(prefix)
            and name.split("/")[-2] == collection
            and not any(name.startswith(f"{down}/") for down in self.unreachable)
        ]
        start, size = int(request.page_token or 0), request.page_size or self.page
        page = {listed: [self.resources[name] for name in names[start : start + size]]}
        token = str(start + size) if start + size < len(names) else ""
        unreachable = self.unreachable if wildcard else []
        module = {"FileServer": file_server_service_pb2, "Share": share_service_pb2, "User": user_service_pb2}
        module["Template"] = template_service_pb2
        answer = getattr(module.get(kind, group_service_pb2), f"List{kind}sResponse")
        return answer(**page, next_page_token=token, unreachable=unreachable)

    def _create(self, kind: str, request: Any) -> Any:
        field, collection, _ = _KINDS[kind]
        self._reach(request.parent)
        name = f"{request.parent}/{collection}/{getattr(request, f'{field}_id')}"
        if name in self.resources and request.request_id not in self._by_request:
            raise Refused(status(6, f"{name} exists", reason="RESOURCE_EXISTS", help="Choose another id."))

        def make() -> Any:
            if kind == "FileServer":
                for first in request.users:
                    self._put(f"{name}/users/{first.user_id}", first.user)
                for first in request.shares:
                    self._put(f"{name}/shares/{first.share_id}", first.share)
            return self._put(name, getattr(request, field))

        return self._operate(request, name, "VERB_CREATE", make)

    def _build(self, request: Any) -> Any:
        self._reach(request.parent)
        release = request.debian_release or 12
        name = f"{request.parent}/templates/pvesmb-debian-{release}"
        made = template_pb2.Template(debian_release=release, current=True, size_bytes=71 << 20)
        return self._operate(request, name, "VERB_CREATE", lambda: self._put(name, made))

    def _validate(self, request: Any) -> Any:
        found = self._get("Template", request)
        wrong = [c for c in found.conditions if c.severity == common_pb2.Condition.SEVERITY_ERROR]
        answer = template_service_pb2.ValidateTemplateResponse(template=found, valid=not wrong)
        answer.conditions.extend(found.conditions)
        return answer

    def _update(self, kind: str, request: Any) -> Any:
        wanted = getattr(request, _KINDS[kind][0])
        current = self._get(kind, wanted)
        self._check_etag(current, wanted.etag)

        def make() -> Any:
            made = type(current)()
            made.CopyFrom(current)
            for path in request.update_mask.paths:
                source, target, rest = wanted, made, path.split(".")
                for part in rest[:-1]:
                    source, target = getattr(source, part), getattr(target, part)
                target.ClearField(rest[-1])
                field = source.DESCRIPTOR.fields_by_name[rest[-1]]
                if field.is_repeated or field.message_type is not None:
                    getattr(target, rest[-1]).MergeFrom(getattr(source, rest[-1]))
                else:
                    setattr(target, rest[-1], getattr(source, rest[-1]))
            return self._put(wanted.name, made)

        return self._operate(request, wanted.name, "VERB_UPDATE", make)

    def _delete(self, kind: str, request: Any) -> Any:
        if request.request_id not in self._by_request:
            self._check_etag(self._get(kind, request), request.etag)

        def make() -> Any:
            for name in [n for n in self.resources if n == request.name or n.startswith(f"{request.name}/")]:
                del self.resources[name]
            return empty_pb2.Empty()

        return self._operate(request, request.name, "VERB_DELETE", make)

    def _reset_password(self, request: Any) -> Any:
        user = self._get("User", request)
        self._check_etag(user, request.etag)

        def make() -> Any:
            self.passwords[request.name] = request.password
            return user

        return self._operate(request, request.name, "VERB_RESET_PASSWORD", make)

    def _backend(self, method: str, request: Any) -> Any:
        found = []
        for id in self.backends:
            down = f"backends/{id}" in self.unreachable
            health = backend_pb2.Backend.HEALTH_UNREACHABLE if down else backend_pb2.Backend.HEALTH_SERVING
            mode = backend_pb2.Backend.MODE_LXC if id == "lxc" else backend_pb2.Backend.MODE_NATIVE
            found.append(backend_pb2.Backend(name=f"backends/{id}", mode=mode, health=health, version="1.2"))
        if method == "ListBackends":
            start, size = int(request.page_token or 0), request.page_size or self.page
            token = str(start + size) if start + size < len(found) else ""
            return backend_service_pb2.ListBackendsResponse(backends=found[start : start + size], next_page_token=token)
        for backend in found:
            if backend.name == request.name:
                return backend
        raise Refused(status(5, f"{request.name} is not known", reason="BACKEND_UNKNOWN", help="List them."))

    def _operation(self, method: str, request: Any) -> Any:
        if method == "ListOperations":
            named = [o for n, o in reversed(self.operations.items()) if request.name in ("backends/-", n.rsplit("/", 2)[0])]
            return operations_pb2.ListOperationsResponse(operations=named, unreachable=self.unreachable)
        self._reach(request.name)
        if request.name not in self.operations:
            raise Refused(status(5, f"{request.name} does not exist", reason="RESOURCE_NOT_FOUND", help="List them."))
        if method == "GetOperation":
            return self.operations[request.name]
        if method == "DeleteOperation":
            del self.operations[request.name]
        elif not self.operations[request.name].done:
            metadata = self._metadata(request.name)
            metadata.cancel_requested = True
            self.operations[request.name].metadata.Pack(metadata)
            self.end(request.name, status(1, "cancelled and undone", reason="OPERATION_CANCELLED", help="Call again."))
        return empty_pb2.Empty()

    def _wait(self, request: Any) -> Any:
        with self._changed:
            operation = self._operation("GetOperation", request)
            seconds = min(request.timeout.ToMilliseconds() / 1000, 30.0)
            if not self.impatient:
                self._changed.wait_for(lambda: operation.done or self.impatient, seconds)
            answer = operations_pb2.Operation()
            answer.CopyFrom(operation)
            return answer

    # Inside.

    def _operate(self, request: Any, target: str, verb: str, make: Callable[[], Any]) -> Any:
        metadata = operation_metadata_pb2.OperationMetadata(
            target=target,
            verb=operation_metadata_pb2.OperationMetadata.Verb.Value(verb),
            steps=[Step(name=name, state=Step.STATE_PENDING) for name in STEPS],
            request_id=request.request_id,
        )
        if request.validate_only:
            metadata.plan.CopyFrom(
                common_pb2.Plan(
                    steps=STEPS, smb_conf_diff="--- now\n+++ then\n+[projects]", effects=["a directory is made"]
                )
            )
            operation = operations_pb2.Operation(done=True)
            operation.metadata.Pack(metadata)
            return operation
        if request.request_id in self._by_request:
            return self.operations[self._by_request[request.request_id]]
        name = f"{'/'.join(target.split('/')[:2])}/operations/{uuid.uuid4()}"
        metadata.steps[0].state = Step.STATE_RUNNING
        operation = operations_pb2.Operation(name=name)
        operation.metadata.Pack(metadata)
        self.operations[name] = operation
        self._by_request[request.request_id] = name
        self._pending[name] = make
        if not self.held:
            self._end(name)
        self._changed.notify_all()
        return operation

    def _end(self, name: str) -> None:
        self.operations[name].response.Pack(self._pending.pop(name)())
        self.operations[name].done = True

    def _metadata(self, name: str) -> operation_metadata_pb2.OperationMetadata:
        metadata = operation_metadata_pb2.OperationMetadata()
        self.operations[name].metadata.Unpack(metadata)
        return metadata

    def _put(self, name: str, message: Any) -> Any:
        made = type(message)()
        made.CopyFrom(message)
        made.name = name
        if "password" in made.DESCRIPTOR.fields_by_name:
            if made.password:
                self.passwords[name] = made.password
            made.password = ""
        made.uid = made.uid or str(uuid.uuid4())
        if "generation" in made.DESCRIPTOR.fields_by_name:
            made.generation += 1
            made.observed_generation = made.generation
        made.etag = f"e{getattr(made, 'generation', 1)}"
        made.state = common_pb2.RESOURCE_STATE_READY
        if "endpoints" in made.DESCRIPTOR.fields_by_name and not made.endpoints:
            made.endpoints.add(address="127.0.0.1", port=4450)
        self.resources[name] = made
        return made

    def _reach(self, name: str) -> None:
        backend = "/".join(name.split("/")[:2])
        if backend in self.unreachable:
            id = backend.rsplit("/", 1)[-1]
            raise Refused(
                status(
                    14,
                    f"the backend {id} cannot be reached",
                    reason="BACKEND_UNAVAILABLE",
                    help="Try again later.",
                    metadata={"backend": id},
                )
            )

    def _check_etag(self, current: Any, etag: str) -> None:
        if etag and etag != current.etag:
            raise Refused(status(10, "the etag is old", reason="ETAG_MISMATCH", help="Read the resource again."))
