"""Resources, work and claims for tests of native mode."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from services.core.domain.file_server import FileServerSpec, NativeDeployment
from services.core.domain.names import Kind, Name
from services.core.domain.operation import Verb
from services.core.domain.resource import Resource, State
from services.core.domain.share import DirectoryStorage, ShareSpec, VolumeStorage
from services.core.steps import Change, Claims, Contents, Work
from services.samba.instance import Server
from tests.fakes import MemoryClaims

MIB = 1024**2


def resource(name: Name, spec: Any, state: State, **assigned: Any) -> Resource[Any]:
    return Resource(name, str(uuid.uuid4()), spec, state, 1, 0, 0.0, 0.0, assigned)


def server(id: str = "one", *, addresses: Sequence[str] = (), port: int = 0, state: State = State.READY) -> Server:
    spec = FileServerSpec(native=NativeDeployment(tuple(addresses), port))
    return resource(Name("node1", id), spec, state, users_gid=500_000, guest_uid=500_001, probe_uid=500_002)


def volume(server: Server, path: str, mib: int = 512, id: str = "v") -> Resource[ShareSpec]:
    spec = ShareSpec(storage=VolumeStorage(mib * MIB))
    return resource(server.name.child(Kind.SHARE, id), spec, State.CREATING, path=path)


def directory(server: Server, path: str, id: str = "d") -> Resource[ShareSpec]:
    spec = ShareSpec(storage=DirectoryStorage(path))
    return resource(server.name.child(Kind.SHARE, id), spec, State.CREATING, path=path)


def work(
    server: Server,
    claims: Claims | None = None,
    *,
    shares: Sequence[Resource[ShareSpec]] = (),
    verb: Verb = Verb.CREATE,
    whole: bool = False,
    options: dict[str, Any] | None = None,
    contents: Sequence[Resource[ShareSpec]] = (),
) -> Work:
    changes = [Change(share, verb, options or {}) for share in shares]
    return Work(server, whole, changes, Contents(shares=tuple(contents)), claims or MemoryClaims(), options or {})
