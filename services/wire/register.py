"""Adds the whole contract of a backend to a gRPC server."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.longrunning import operations_pb2_grpc
from pvesmb.v1 import (
    backend_service_pb2_grpc,
    file_server_service_pb2_grpc,
    group_service_pb2_grpc,
    share_service_pb2_grpc,
    template_service_pb2_grpc,
    user_service_pb2_grpc,
)

from services.wire.operations import OperationsServicer
from services.wire.servicers import (
    BackendServicer,
    FileServerServicer,
    GroupServicer,
    Service,
    ShareServicer,
    UserServicer,
)
from services.wire.templates import TemplateServicer

#: Full names of the services that every backend serves.
SERVICES = (
    "google.longrunning.Operations",
    "pvesmb.v1.BackendService",
    "pvesmb.v1.FileServerService",
    "pvesmb.v1.GroupService",
    "pvesmb.v1.ShareService",
    "pvesmb.v1.TemplateService",
    "pvesmb.v1.UserService",
)


def register(server: grpc.Server, service: Service, operations: OperationsServicer) -> Sequence[str]:
    """Adds the servicers; the names of their services."""
    operations_pb2_grpc.add_OperationsServicer_to_server(operations, server)
    backend_service_pb2_grpc.add_BackendServiceServicer_to_server(BackendServicer(service), server)
    file_server_service_pb2_grpc.add_FileServerServiceServicer_to_server(FileServerServicer(service), server)
    share_service_pb2_grpc.add_ShareServiceServicer_to_server(ShareServicer(service), server)
    user_service_pb2_grpc.add_UserServiceServicer_to_server(UserServicer(service), server)
    group_service_pb2_grpc.add_GroupServiceServicer_to_server(GroupServicer(service), server)
    template_service_pb2_grpc.add_TemplateServiceServicer_to_server(TemplateServicer(service), server)
    return SERVICES
