"""Makes the domain's objects for tests of Samba."""

from __future__ import annotations

import uuid
from typing import Any

from services.core.domain.account import GroupSpec, UserSpec
from services.core.domain.file_server import FileServerSpec, SmbSettings
from services.core.domain.names import Kind, Name
from services.core.domain.resource import Resource, State
from services.core.domain.share import AccessLevel, AccessRule, PrincipalKind, ShareSpec

SERVER = Name("test", "files")


def resource(name: Name, spec: Any, generation: int = 1, observed: int = 0, **assigned: Any) -> Resource[Any]:
    """The uid follows from the name, as if it were the same resource in each test."""
    uid = str(uuid.uuid5(uuid.NAMESPACE_URL, str(name)))
    return Resource(name, uid, spec, State.CREATING, generation, observed, 0.0, 0.0, assigned)


def server(spec: FileServerSpec | None = None, **smb: Any) -> Resource[FileServerSpec]:
    spec = spec or FileServerSpec(smb=SmbSettings(**smb))
    return resource(SERVER, spec, users_gid=900000, guest_uid=900001, probe_uid=900002)


def share(id: str, path: str, spec: ShareSpec | None = None, generation: int = 1, **fields: Any) -> Resource[ShareSpec]:
    return resource(SERVER.child(Kind.SHARE, id), spec or ShareSpec(**fields), generation, path=path)


def user(id: str, unix_id: int, **fields: Any) -> Resource[UserSpec]:
    return resource(SERVER.child(Kind.USER, id), UserSpec(**fields), unix_id=unix_id)


def group(id: str, unix_id: int, *members: str) -> Resource[GroupSpec]:
    return resource(SERVER.child(Kind.GROUP, id), GroupSpec(members=members), unix_id=unix_id)


def rule(text: str) -> AccessRule:
    """`alice:read`, `@team:read-write`, `*:deny`."""
    who, _, level = text.partition(":")
    if who == "*":
        return AccessRule(PrincipalKind.EVERYONE, "", AccessLevel(level))
    kind = PrincipalKind.GROUP if who.startswith("@") else PrincipalKind.USER
    return AccessRule(kind, who.lstrip("@"), AccessLevel(level))


def rules(*texts: str) -> tuple[AccessRule, ...]:
    return tuple(rule(text) for text in texts)
