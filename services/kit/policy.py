"""Which role each method needs: one closed table, which a test compares with the descriptors of the contract.

The gateway and the backends use the same one, so that a backend that is reached directly is as strict. A method that is not
in the table is refused as unknown; None stands for "everybody, without credentials".
"""

from __future__ import annotations

from collections.abc import Mapping

from services.core.errors import MethodUnknown, RoleNotSufficient, Unauthenticated
from services.kit.identity import Identity, Role

_VIEWER, _OPERATOR, _ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN

ROLES: Mapping[str, Role | None] = {
    "/pvesmb.v1.BackendService/ListBackends": _VIEWER,
    "/pvesmb.v1.BackendService/GetBackend": _VIEWER,
    "/pvesmb.v1.FileServerService/CreateFileServer": _ADMIN,
    "/pvesmb.v1.FileServerService/GetFileServer": _VIEWER,
    "/pvesmb.v1.FileServerService/ListFileServers": _VIEWER,
    "/pvesmb.v1.FileServerService/UpdateFileServer": _ADMIN,
    "/pvesmb.v1.FileServerService/DeleteFileServer": _ADMIN,
    "/pvesmb.v1.ShareService/CreateShare": _OPERATOR,
    "/pvesmb.v1.ShareService/GetShare": _VIEWER,
    "/pvesmb.v1.ShareService/ListShares": _VIEWER,
    "/pvesmb.v1.ShareService/UpdateShare": _OPERATOR,
    "/pvesmb.v1.ShareService/DeleteShare": _OPERATOR,
    "/pvesmb.v1.UserService/CreateUser": _OPERATOR,
    "/pvesmb.v1.UserService/GetUser": _VIEWER,
    "/pvesmb.v1.UserService/ListUsers": _VIEWER,
    "/pvesmb.v1.UserService/UpdateUser": _OPERATOR,
    "/pvesmb.v1.UserService/DeleteUser": _OPERATOR,
    "/pvesmb.v1.UserService/ResetPassword": _OPERATOR,
    "/pvesmb.v1.GroupService/CreateGroup": _OPERATOR,
    "/pvesmb.v1.GroupService/GetGroup": _VIEWER,
    "/pvesmb.v1.GroupService/ListGroups": _VIEWER,
    "/pvesmb.v1.GroupService/UpdateGroup": _OPERATOR,
    "/pvesmb.v1.GroupService/DeleteGroup": _OPERATOR,
    "/pvesmb.v1.TemplateService/BuildTemplate": _ADMIN,
    "/pvesmb.v1.TemplateService/GetTemplate": _VIEWER,
    "/pvesmb.v1.TemplateService/ListTemplates": _VIEWER,
    "/pvesmb.v1.TemplateService/ValidateTemplate": _VIEWER,
    "/pvesmb.v1.TemplateService/DeleteTemplate": _ADMIN,
    "/google.longrunning.Operations/ListOperations": _VIEWER,
    "/google.longrunning.Operations/GetOperation": _VIEWER,
    "/google.longrunning.Operations/WaitOperation": _VIEWER,
    "/google.longrunning.Operations/CancelOperation": _OPERATOR,
    "/google.longrunning.Operations/DeleteOperation": _OPERATOR,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _VIEWER,
    # Probes of supervisors have no credentials, and learn nothing but whether we serve.
    "/grpc.health.v1.Health/Check": None,
    "/grpc.health.v1.Health/Watch": None,
    "/grpc.health.v1.Health/List": None,
}


def authorize(roles: Mapping[str, Role | None], method: str, identity: Identity | None) -> None:
    """Returns if the caller may call the method; else raises, unauthenticated callers first."""
    needed = roles.get(method)
    if needed is None and method in roles:
        return
    if identity is None:
        raise Unauthenticated("no client certificate and no bearer token was given")
    if needed is None:
        raise MethodUnknown(f"{method[:200]} is not a method of this server")
    if identity.role < needed:
        role = needed.name.lower()
        raise RoleNotSufficient(f"{method} needs the role {role}", metadata={"role": role, "method": method})


def mutates(roles: Mapping[str, Role | None], method: str) -> bool:
    """Whether calls of the method belong into the audit log."""
    needed = roles.get(method)
    return needed is not None and needed > Role.VIEWER
