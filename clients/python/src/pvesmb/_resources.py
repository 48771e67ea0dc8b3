"""The collections of a client: one object each, thin over the generated stubs."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, overload

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from pvesmb._channel import Caller
from pvesmb._errors import Internal
from pvesmb._lists import Listing
from pvesmb._operations import OperationHandle
from pvesmb.v1 import (
    backend_service_pb2,
)
from pvesmb.v1.backend_pb2 import Backend
from pvesmb.v1.backend_service_pb2_grpc import BackendServiceStub
from pvesmb.v1.common_pb2 import Plan
from pvesmb.v1.file_server_pb2 import FileServer
from pvesmb.v1.share_pb2 import Share
from pvesmb.v1.template_pb2 import Template
from pvesmb.v1.user_pb2 import Group, User

M = TypeVar("M", bound=Message)
Answer = OperationHandle[M] | Plan
Removal = OperationHandle[None] | Plan

_RESPONSES: Mapping[str, type[Message]] = {
    kind.DESCRIPTOR.full_name: kind for kind in (FileServer, Share, User, Group, Template, Empty)
}


@dataclass(frozen=True)
class Link:
    """What every collection needs."""

    caller: Caller
    operations: operations_pb2_grpc.OperationsStub

    def handle(self, operation: operations_pb2.Operation) -> OperationHandle[Any]:
        return OperationHandle(self.caller, self.operations, operation, unpack)


def unpack(packed: Any) -> Any:
    """The response of an operation: a resource, or None where it is empty."""
    kind = _RESPONSES.get(packed.TypeName())
    if kind is None:
        raise Internal(f"response of the unknown type {packed.TypeName()!r}", help="Use a newer version of this client.")
    message = kind()
    packed.Unpack(message)
    return None if isinstance(message, Empty) else message


class Collection(Generic[M]):
    """Resources of one kind. Changes return a handle, or with `validate_only` the plan of what they would do; each sends a
    new `request_id` unless one is given."""

    def __init__(self, link: Link, stub: Any, messages: Any, noun: str, plural: str) -> None:
        """`noun` and `plural` are the fields' names (`file_server`), from which those of methods and messages follow."""
        self._link = link
        self._stub = stub
        self._messages = messages
        self._noun, self._plural = noun, plural
        self._camel, self._camels = (word.title().replace("_", "") for word in (noun, plural))

    def get(self, name: str) -> M:
        result: M = self._call("read", f"Get{self._camel}", name=name)
        return result

    def list(self, parent: str, *, filter: str = "", page_size: int = 0) -> Listing[M]:
        """Those of `parent`, by name. With `-` for the backend, those of all backends."""

        def fetch(token: str) -> tuple[Sequence[M], str, Sequence[str]]:
            fields = {"parent": parent, "filter": filter, "page_size": page_size, "page_token": token}
            page = self._call("read", f"List{self._camels}", **fields)
            return getattr(page, self._plural), page.next_page_token, page.unreachable

        return Listing(fetch)

    @overload
    def create(
        self,
        parent: str,
        id: str,
        resource: M | None = ...,
        *,
        request_id: str | None = ...,
        validate_only: Literal[False] = ...,
    ) -> OperationHandle[M]: ...
    @overload
    def create(
        self, parent: str, id: str, resource: M | None = ..., *, request_id: str | None = ..., validate_only: Literal[True]
    ) -> Plan: ...
    @overload
    def create(
        self, parent: str, id: str, resource: M | None = ..., *, request_id: str | None = ..., validate_only: bool
    ) -> Answer[M]: ...
    def create(
        self,
        parent: str,
        id: str,
        resource: M | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Answer[M]:
        """Makes the resource `id` in `parent`."""
        answer: Answer[M] = self._create(parent, id, resource, request_id, validate_only)
        return answer

    @overload
    def update(
        self,
        resource: M,
        update_mask: Iterable[str] | None = ...,
        *,
        request_id: str | None = ...,
        validate_only: Literal[False] = ...,
    ) -> OperationHandle[M]: ...
    @overload
    def update(
        self,
        resource: M,
        update_mask: Iterable[str] | None = ...,
        *,
        request_id: str | None = ...,
        validate_only: Literal[True],
    ) -> Plan: ...
    @overload
    def update(
        self, resource: M, update_mask: Iterable[str] | None = ..., *, request_id: str | None = ..., validate_only: bool
    ) -> Answer[M]: ...
    def update(
        self,
        resource: M,
        update_mask: Iterable[str] | None = None,
        *,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Answer[M]:
        """Changes the fields in the mask, or without one all that can be set. An `etag` in the message is checked."""
        mask = FieldMask(paths=list(update_mask)) if update_mask is not None else None
        fields = {self._noun: resource, "update_mask": mask}
        answer: Answer[M] = self._change("Update", request_id, validate_only, **fields)
        return answer

    def _create(
        self, parent: str, id: str, resource: M | None, request_id: str | None, validate_only: bool, **more: Any
    ) -> Any:
        fields = {"parent": parent, f"{self._noun}_id": id, self._noun: resource, **more}
        return self._change("Create", request_id, validate_only, **fields)

    def _change(self, verb: str, request_id: str | None, validate_only: bool, **fields: Any) -> Any:
        method = verb if verb == "ResetPassword" else f"{verb}{self._camel}"
        id = request_id or str(uuid.uuid4())
        operation = self._call("write", method, request_id=id, validate_only=validate_only, **fields)
        handle = self._link.handle(operation)
        return handle.metadata.plan if validate_only else handle

    def _call(self, how: Literal["read", "write"], method: str, **fields: Any) -> Any:
        request = getattr(self._messages, f"{method}Request")(**fields)
        call = self._link.caller.read if how == "read" else self._link.caller.write
        return call(getattr(self._stub, method), request)


class Backends:
    """The backends that the gateway knows, those that are down included."""

    def __init__(self, link: Link) -> None:
        self._caller = link.caller
        self._stub = BackendServiceStub(link.caller.channel)

    def list(self, *, page_size: int = 0) -> Listing[Backend]:
        def fetch(token: str) -> tuple[Sequence[Backend], str, Sequence[str]]:
            request = backend_service_pb2.ListBackendsRequest(page_size=page_size, page_token=token)
            page = self._caller.read(self._stub.ListBackends, request)
            return page.backends, page.next_page_token, ()

        return Listing(fetch)

    def get(self, name: str) -> Backend:
        return self._caller.read(self._stub.GetBackend, backend_service_pb2.GetBackendRequest(name=name))


class Operations:
    """Operations of all kinds."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._stub = link.operations

    def get(self, name: str) -> OperationHandle[Any]:
        request = operations_pb2.GetOperationRequest(name=name)
        return self._link.handle(self._link.caller.read(self._stub.GetOperation, request))

    def list(self, parent: str = "backends/-", *, page_size: int = 0) -> Listing[OperationHandle[Any]]:
        """Those of one backend, or of all."""

        def fetch(token: str) -> tuple[Sequence[OperationHandle[Any]], str, Sequence[str]]:
            request = operations_pb2.ListOperationsRequest(name=parent, page_size=page_size, page_token=token)
            page = self._link.caller.read(self._stub.ListOperations, request)
            return [self._link.handle(o) for o in page.operations], page.next_page_token, page.unreachable

        return Listing(fetch)

    def wait(self, name: str, timeout: float | None = None) -> Any:
        """What the operation results in, as `OperationHandle.result`."""
        return self.get(name).result(timeout)

    def cancel(self, name: str) -> None:
        """Asks it to stop at its next step and to undo what it did; returns at once."""
        self._link.caller.read(self._stub.CancelOperation, operations_pb2.CancelOperationRequest(name=name))

    def delete(self, name: str) -> None:
        """Forgets an operation that has ended."""
        self._link.caller.read(self._stub.DeleteOperation, operations_pb2.DeleteOperationRequest(name=name))
