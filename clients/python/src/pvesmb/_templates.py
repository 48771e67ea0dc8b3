"""Templates, which are built rather than created, and never changed."""

from __future__ import annotations

from typing import Literal, overload

from pvesmb._lists import Listing
from pvesmb._operations import OperationHandle
from pvesmb._resources import Answer, Collection, Link, Removal
from pvesmb.v1 import template_service_pb2
from pvesmb.v1.common_pb2 import Plan
from pvesmb.v1.template_pb2 import Template
from pvesmb.v1.template_service_pb2 import ValidateTemplateResponse
from pvesmb.v1.template_service_pb2_grpc import TemplateServiceStub


class Templates:
    """What file servers are made from. `parent` is `backends/{backend}`."""

    def __init__(self, link: Link) -> None:
        stub = TemplateServiceStub(link.caller.channel)
        self._all: Collection[Template] = Collection(link, stub, template_service_pb2, "template", "templates")

    def get(self, name: str) -> Template:
        return self._all.get(name)

    def list(self, parent: str = "backends/-", *, filter: str = "", page_size: int = 0) -> Listing[Template]:
        """Those of one backend, or of all: built and found."""
        return self._all.list(parent, filter=filter, page_size=page_size)

    @overload
    def build(
        self,
        parent: str,
        *,
        debian_release: int = ...,
        rebuild: bool = ...,
        request_id: str | None = ...,
        validate_only: Literal[False] = ...,
    ) -> OperationHandle[Template]: ...
    @overload
    def build(
        self,
        parent: str,
        *,
        debian_release: int = ...,
        rebuild: bool = ...,
        request_id: str | None = ...,
        validate_only: Literal[True],
    ) -> Plan: ...
    @overload
    def build(
        self,
        parent: str,
        *,
        debian_release: int = ...,
        rebuild: bool = ...,
        request_id: str | None = ...,
        validate_only: bool,
    ) -> Answer[Template]: ...
    def build(
        self,
        parent: str,
        *,
        debian_release: int = 0,
        rebuild: bool = False,
        request_id: str | None = None,
        validate_only: bool = False,
    ) -> Answer[Template]:
        """Has the backend's template made and brought to its storage; quick where it is there, unless `rebuild` asks for
        one with the packages of today."""
        options = {"parent": parent, "debian_release": debian_release, "rebuild": rebuild}
        answer: Answer[Template] = self._all._change("Build", request_id, validate_only, **options)
        return answer

    def validate(self, name: str) -> ValidateTemplateResponse:
        """Looks at one now."""
        response: ValidateTemplateResponse = self._all._call("read", "ValidateTemplate", name=name)
        return response

    @overload
    def delete(
        self, name: str, *, etag: str = ..., request_id: str | None = ..., validate_only: Literal[False] = ...
    ) -> OperationHandle[None]: ...
    @overload
    def delete(self, name: str, *, etag: str = ..., request_id: str | None = ..., validate_only: Literal[True]) -> Plan: ...
    @overload
    def delete(self, name: str, *, etag: str = ..., request_id: str | None = ..., validate_only: bool) -> Removal: ...
    def delete(self, name: str, *, etag: str = "", request_id: str | None = None, validate_only: bool = False) -> Removal:
        """Removes one that the backend has built, and that no file server was made from."""
        answer: Removal = self._all._change("Delete", request_id, validate_only, name=name, etag=etag)
        return answer
