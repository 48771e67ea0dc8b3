"""Client of PVE SMB Gateway.

    with pvesmb.Client() as client:
        handle = client.shares.create("backends/native/fileServers/files", "projects", pvesmb.Share(comment="Projects"))
        for progress in handle:
            print(progress.progress_percent)
        share = handle.result(timeout=60)

The names are imported when they are first used, because gRPC takes its time to load.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvesmb._client import Client
    from pvesmb._config import Settings, Tls, find
    from pvesmb._errors import (
        Aborted,
        AlreadyExists,
        Cancelled,
        ConfigError,
        DeadlineExceeded,
        FailedPrecondition,
        GatewayNotFound,
        Internal,
        InvalidArgument,
        NotFound,
        OperationTimeout,
        PermissionDenied,
        PvesmbError,
        ResourceExhausted,
        Unauthenticated,
        Unavailable,
        Unimplemented,
        Violation,
    )
    from pvesmb._lists import Listing
    from pvesmb._operations import OperationHandle
    from pvesmb.v1.backend_pb2 import Backend
    from pvesmb.v1.common_pb2 import Condition, Demand, GuestAccess, Plan, ProxmoxCall, ResourceState
    from pvesmb.v1.file_server_pb2 import (
        ActiveDirectory,
        Endpoint,
        FileServer,
        GuestNetwork,
        GuestPlacement,
        HighAvailability,
        LxcDeployment,
        NativeDeployment,
        SmbSettings,
        VmDeployment,
    )
    from pvesmb.v1.operation_metadata_pb2 import OperationMetadata
    from pvesmb.v1.share_pb2 import (
        AccessRule,
        Audit,
        DirectoryStorage,
        FileCreation,
        HostPathStorage,
        PreviousVersions,
        Quota,
        RecycleBin,
        Share,
        TimeMachine,
        VolumeStorage,
    )
    from pvesmb.v1.template_pb2 import Template
    from pvesmb.v1.template_service_pb2 import ValidateTemplateResponse
    from pvesmb.v1.user_pb2 import Group, User

__version__ = "0.1.0"

_HOMES = {
    "pvesmb._client": ["Client"],
    "pvesmb._config": ["Settings", "Tls", "find"],
    "pvesmb._errors": [
        "Aborted",
        "AlreadyExists",
        "Cancelled",
        "ConfigError",
        "DeadlineExceeded",
        "FailedPrecondition",
        "GatewayNotFound",
        "Internal",
        "InvalidArgument",
        "NotFound",
        "OperationTimeout",
        "PermissionDenied",
        "PvesmbError",
        "ResourceExhausted",
        "Unauthenticated",
        "Unavailable",
        "Unimplemented",
        "Violation",
    ],
    "pvesmb._lists": ["Listing"],
    "pvesmb._operations": ["OperationHandle"],
    "pvesmb.v1.backend_pb2": ["Backend"],
    "pvesmb.v1.common_pb2": ["Condition", "Demand", "GuestAccess", "Plan", "ProxmoxCall", "ResourceState"],
    "pvesmb.v1.file_server_pb2": [
        "ActiveDirectory",
        "Endpoint",
        "FileServer",
        "GuestNetwork",
        "GuestPlacement",
        "HighAvailability",
        "LxcDeployment",
        "NativeDeployment",
        "SmbSettings",
        "VmDeployment",
    ],
    "pvesmb.v1.operation_metadata_pb2": ["OperationMetadata"],
    "pvesmb.v1.share_pb2": [
        "AccessRule",
        "Audit",
        "DirectoryStorage",
        "FileCreation",
        "HostPathStorage",
        "PreviousVersions",
        "Quota",
        "RecycleBin",
        "Share",
        "TimeMachine",
        "VolumeStorage",
    ],
    "pvesmb.v1.template_pb2": ["Template"],
    "pvesmb.v1.template_service_pb2": ["ValidateTemplateResponse"],
    "pvesmb.v1.user_pb2": ["Group", "User"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Aborted",
    "AccessRule",
    "ActiveDirectory",
    "AlreadyExists",
    "Audit",
    "Backend",
    "Cancelled",
    "Client",
    "Condition",
    "ConfigError",
    "DeadlineExceeded",
    "Demand",
    "DirectoryStorage",
    "Endpoint",
    "FailedPrecondition",
    "FileCreation",
    "FileServer",
    "GatewayNotFound",
    "Group",
    "GuestAccess",
    "GuestNetwork",
    "GuestPlacement",
    "HighAvailability",
    "HostPathStorage",
    "Internal",
    "InvalidArgument",
    "Listing",
    "LxcDeployment",
    "NativeDeployment",
    "NotFound",
    "OperationHandle",
    "OperationMetadata",
    "OperationTimeout",
    "PermissionDenied",
    "Plan",
    "PreviousVersions",
    "ProxmoxCall",
    "PvesmbError",
    "Quota",
    "RecycleBin",
    "ResourceExhausted",
    "ResourceState",
    "Settings",
    "Share",
    "SmbSettings",
    "Template",
    "TimeMachine",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "User",
    "ValidateTemplateResponse",
    "Violation",
    "VmDeployment",
    "VolumeStorage",
    "find",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
