"""Every method of TemplateService."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from pvesmb.v1 import template_pb2, template_service_pb2

from tests.wire.backend.backend import BACKEND, READY, SECONDS, Backend, Gate, metadata, refused

OURS = f"{BACKEND}/templates/ours-12"
FOUND = f"{BACKEND}/templates/debian-12-standard_12.7-1_amd64"


def build(backend: Backend, **fields: Any) -> Any:
    request = template_service_pb2.BuildTemplateRequest(**{"parent": BACKEND, **fields})
    return backend.templates.BuildTemplate(request, timeout=SECONDS)


def get(backend: Backend, name: str = OURS) -> template_pb2.Template:
    request = template_service_pb2.GetTemplateRequest(name=name)
    found: template_pb2.Template = backend.templates.GetTemplate(request, timeout=SECONDS)
    return found


def names(backend: Backend, **fields: Any) -> tuple[list[str], str]:
    request = template_service_pb2.ListTemplatesRequest(**{"parent": BACKEND, **fields})
    page = backend.templates.ListTemplates(request, timeout=SECONDS)
    return [template.name for template in page.templates], page.next_page_token


def delete(**fields: Any) -> template_service_pb2.DeleteTemplateRequest:
    return template_service_pb2.DeleteTemplateRequest(**{"name": OURS, **fields})


def put_there(backend: Backend) -> None:
    assert backend.made is not None
    backend.made.held["local:debian-12-standard_12.7-1_amd64"] = 7


def test_build_get_validate_and_delete_one(backend: Backend) -> None:
    operation = build(backend)
    assert metadata(operation).target == OURS
    made = backend.done(operation, template_pb2.Template)
    assert (made.name, made.state, made.origin) == (OURS, READY, template_pb2.Template.ORIGIN_BUILT)
    assert (made.debian_release, made.content_version, made.current) == (12, "v1", True)
    assert (made.volume_id, made.size_bytes) == ("local:ours-12", 1000)
    assert made.uid and made.etag
    assert get(backend) == made
    seen = backend.templates.ValidateTemplate(template_service_pb2.ValidateTemplateRequest(name=OURS), timeout=SECONDS)
    assert (seen.valid, list(seen.conditions), seen.template) == (True, [], made)
    backend.done(backend.templates.DeleteTemplate(delete(etag=made.etag), timeout=SECONDS))
    request = template_service_pb2.GetTemplateRequest(name=OURS)
    assert refused(backend.templates.GetTemplate, request).code is grpc.StatusCode.NOT_FOUND


def test_one_that_vanished_is_not_valid(backend: Backend) -> None:
    backend.done(build(backend), template_pb2.Template)
    assert backend.made is not None
    backend.made.held.clear()
    seen = backend.templates.ValidateTemplate(template_service_pb2.ValidateTemplateRequest(name=OURS), timeout=SECONDS)
    assert not seen.valid
    assert [(each.type, each.action) for each in seen.conditions] == [("TemplateMissing", "build it")]


def test_found_ones_are_listed_with_those_built(backend: Backend) -> None:
    put_there(backend)
    backend.done(build(backend), template_pb2.Template)
    found = get(backend, FOUND)
    assert (found.origin, found.uid, found.etag, found.current) == (template_pb2.Template.ORIGIN_FOUND, "", "", False)
    assert (found.state, found.size_bytes, found.create_time.seconds) == (READY, 7, 5)
    assert names(backend) == ([FOUND, OURS], "")
    first, token = names(backend, page_size=1)
    assert first == [FOUND] and names(backend, page_size=1, page_token=token) == ([OURS], "")
    assert names(backend, filter="state = DEGRADED") == ([], "")
    answer = refused(backend.templates.DeleteTemplate, delete(name=FOUND))
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "PRECONDITION_FAILED")


def test_a_repeated_request_is_one_build(backend: Backend) -> None:
    id = "5f0c1d9c-8a4e-4f11-9a9e-2b7f3f6f8d01"
    first = build(backend, request_id=id)
    assert build(backend, request_id=id).name == first.name
    backend.done(first, template_pb2.Template)
    assert build(backend, request_id=id).done


def test_progress_is_seen(backend: Backend) -> None:
    assert backend.made is not None
    gate = Gate("build", "ensure", "after")
    backend.made.hook = gate
    operation = build(backend)
    try:
        gate.reached()
        request = operations_pb2.GetOperationRequest(name=operation.name)
        seen = metadata(backend.operations.GetOperation(request, timeout=SECONDS))
    finally:
        gate.open()
    assert seen.progress_percent == 12 and seen.steps[0].detail == "fetching"
    backend.done(operation, template_pb2.Template)


def test_a_plan(backend: Backend) -> None:
    answer = build(backend, validate_only=True)
    assert answer.done and not answer.name
    assert list(metadata(answer).plan.steps) == ["build", "upload"]
    assert names(backend) == ([], "")


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("BuildTemplate", template_service_pb2.BuildTemplateRequest(parent=BACKEND, debian_release=11), "debian_release"),
        ("BuildTemplate", template_service_pb2.BuildTemplateRequest(parent="x"), "parent"),
        ("BuildTemplate", template_service_pb2.BuildTemplateRequest(parent=BACKEND, request_id="x"), "request_id"),
        ("GetTemplate", template_service_pb2.GetTemplateRequest(name=f"{BACKEND}/fileServers/x"), "name"),
        ("ListTemplates", template_service_pb2.ListTemplatesRequest(parent=BACKEND, page_size=-1), "page_size"),
        ("ListTemplates", template_service_pb2.ListTemplatesRequest(parent=BACKEND, filter="size = 1"), "filter"),
        ("ValidateTemplate", template_service_pb2.ValidateTemplateRequest(name=f"{BACKEND}/templates/"), "name"),
        ("DeleteTemplate", delete(name=""), "name"),
    ],
)
def test_what_is_refused(backend: Backend, method: str, request_: Any, field: str) -> None:
    answer = refused(getattr(backend.templates, method), request_)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.metadata.get("field") == field


def test_a_mode_without_templates(backend: Backend) -> None:
    backend.made = None
    backend.reopen()
    answer = refused(backend.templates.BuildTemplate, template_service_pb2.BuildTemplateRequest(parent=BACKEND))
    assert (answer.code, answer.reason) == (grpc.StatusCode.UNIMPLEMENTED, "FEATURE_NOT_AVAILABLE")
    assert names(backend) == ([], "")
    request = template_service_pb2.GetTemplateRequest(name=OURS)
    assert refused(backend.templates.GetTemplate, request).code is grpc.StatusCode.NOT_FOUND
