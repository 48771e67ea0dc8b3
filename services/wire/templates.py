"""The servicer of templates, the same for every mode."""

from __future__ import annotations

from typing import Any

import grpc
from pvesmb.v1 import template_pb2, template_service_pb2, template_service_pb2_grpc

from services.core.domain.names import Kind
from services.core.domain.resource import Resource, Severity
from services.core.domain.template import TemplateSpec
from services.kit import pages
from services.wire import conversions, lists
from services.wire.servicers import Service


class TemplateServicer(template_service_pb2_grpc.TemplateServiceServicer):
    """Templates: those that were built, and those that were found."""

    def __init__(self, service: Service) -> None:
        self._s = service

    def BuildTemplate(self, request: template_service_pb2.BuildTemplateRequest, context: grpc.ServicerContext) -> Any:
        self._s.parent_backend(request.parent)
        call = self._s.call(request)
        return self._s.answer(self._s.control.build_template(call, request.debian_release, rebuild=request.rebuild))

    def GetTemplate(self, request: template_service_pb2.GetTemplateRequest, context: grpc.ServicerContext) -> Any:
        return self._message(self._s.control.get_template(self._s.name(request.name, Kind.TEMPLATE)))

    def ListTemplates(self, request: template_service_pb2.ListTemplatesRequest, context: grpc.ServicerContext) -> Any:
        size = pages.page_size(request.page_size)
        self._s.parent_backend(request.parent)
        scope = f"{request.parent}/{Kind.TEMPLATE.value}?{request.filter}"
        rows, place = lists.fill(
            lambda after, limit: self._s.control.templates(after=after, limit=limit),
            lambda template: template.name.key,
            lists.parse_filter(request.filter),
            lists.after(request.page_token, scope),
            size,
        )
        return template_service_pb2.ListTemplatesResponse(
            templates=[self._message(row) for row in rows],
            next_page_token=lists.Position(scope, place).token() if place else "",
        )

    def ValidateTemplate(self, request: template_service_pb2.ValidateTemplateRequest, context: grpc.ServicerContext) -> Any:
        template, conditions = self._s.control.validate_template(self._s.name(request.name, Kind.TEMPLATE))
        return template_service_pb2.ValidateTemplateResponse(
            template=self._message(template),
            valid=all(condition.severity is not Severity.ERROR for condition in conditions),
            conditions=[conversions.condition_message(condition) for condition in conditions],
        )

    def DeleteTemplate(self, request: template_service_pb2.DeleteTemplateRequest, context: grpc.ServicerContext) -> Any:
        name = self._s.name(request.name, Kind.TEMPLATE)
        return self._s.answer(self._s.control.delete_template(self._s.call(request, request.etag), name))

    def _message(self, template: Resource[TemplateSpec]) -> template_pb2.Template:
        return conversions.template_message(template, current=self._s.control.is_current(template))
