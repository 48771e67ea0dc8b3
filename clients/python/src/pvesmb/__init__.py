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
    from pvesmb._client import Client, Listing
    from pvesmb._config import Settings, find
    from pvesmb._errors import (
        Aborted,
        AlreadyExists,
        Cancelled,
        DeadlineExceeded,
        FailedPrecondition,
        Internal,
        InvalidArgument,
        NotFound,
        PermissionDenied,
        PvesmbError,
        ResourceExhausted,
        Unauthenticated,
        Unavailable,
        Unimplemented,
    )
    from pvesmb._operations import OperationHandle
    from pvesmb.v1.backend_pb2 import Backend
    from pvesmb.v1.common_pb2 import Condition, Plan
    from pvesmb.v1.file_server_pb2 import FileServer, NativeDeployment, SmbSettings
    from pvesmb.v1.operation_metadata_pb2 import OperationMetadata
    from pvesmb.v1.share_pb2 import AccessRule, DirectoryStorage, FileCreation, Share, VolumeStorage
    from pvesmb.v1.user_pb2 import Group, User

__version__ = "0.1.0"

_HOMES = {
    "pvesmb._client": ["Client", "Listing"],
    "pvesmb._config": ["Settings", "find"],
    "pvesmb._errors": [
        "Aborted",
        "AlreadyExists",
        "Cancelled",
        "DeadlineExceeded",
        "FailedPrecondition",
        "Internal",
        "InvalidArgument",
        "NotFound",
        "PermissionDenied",
        "PvesmbError",
        "ResourceExhausted",
        "Unauthenticated",
        "Unavailable",
        "Unimplemented",
    ],
    "pvesmb._operations": ["OperationHandle"],
    "pvesmb.v1.backend_pb2": ["Backend"],
    "pvesmb.v1.common_pb2": ["Condition", "Plan"],
    "pvesmb.v1.file_server_pb2": ["FileServer", "NativeDeployment", "SmbSettings"],
    "pvesmb.v1.operation_metadata_pb2": ["OperationMetadata"],
    "pvesmb.v1.share_pb2": ["AccessRule", "DirectoryStorage", "FileCreation", "Share", "VolumeStorage"],
    "pvesmb.v1.user_pb2": ["Group", "User"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Aborted",
    "AccessRule",
    "AlreadyExists",
    "Backend",
    "Cancelled",
    "Client",
    "Condition",
    "DeadlineExceeded",
    "DirectoryStorage",
    "FailedPrecondition",
    "FileCreation",
    "FileServer",
    "Group",
    "Internal",
    "InvalidArgument",
    "Listing",
    "NativeDeployment",
    "NotFound",
    "OperationHandle",
    "OperationMetadata",
    "PermissionDenied",
    "Plan",
    "PvesmbError",
    "ResourceExhausted",
    "Settings",
    "Share",
    "SmbSettings",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "User",
    "VolumeStorage",
    "find",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)
