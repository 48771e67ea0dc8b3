"""A file server that bad calls are aimed at, and what is seen of the whole from outside before and after each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pvesmb
import pytest

from tests.e2e.deployment import Deployment
from tests.e2e.words import Server, group_rule, password, user_rule, users
from tests.figures import Figures


@dataclass(frozen=True)
class Scene:
    """A file server with one of everything: users ann and ben, group crew, shares docs, crew and straße."""

    deployment: Deployment
    server: Server

    @property
    def client(self) -> pvesmb.Client:
        return self.deployment.client

    def look(self) -> dict[str, Any]:
        """What a refused call must leave as it is: files, mounts, and the store with its claims."""
        tables = {table: sorted(self.deployment.rows(f"SELECT * FROM {table}")) for table in ("claims", "secrets")}
        resources = self.deployment.rows("SELECT name, uid, spec, state, operation FROM resources")
        return {
            **tables,
            "resources": sorted(resources),
            "outside": self.deployment.look(),
            "smb.conf": self.deployment.place(self.server, self.deployment.conf(self.server)).read_text(),
        }

    def serves(self) -> None:
        """The file server as its clients, Samba's tools and the process table have it."""
        conf = self.deployment.conf(self.server)
        assert self.server.smb("ann", "docs", "ls").ok
        assert self.server.smb("ben", "crew", "ls").ok
        assert self.deployment.tool(self.server, "testparm", "-s", conf).returncode == 0
        assert self.deployment.registry_of(self.server.uid) == {"crew", "docs", "straße"}
        assert self.deployment.accounts_of(self.server.uid) == {"ann", "ben"}
        uids = {uid for (uid,) in self.deployment.rows("SELECT uid FROM resources WHERE kind = 'fileServers'")}
        assert self.deployment.hosted() == uids


@dataclass(frozen=True)
class Bad:
    """A call that must be refused: what is bad about it, and the exact error. `field` is the path of the field, or the
    resource that a precondition is about; empty where the error names none."""

    what: str
    act: Callable[[Scene], Any]
    reason: str
    field: str = ""
    code: type[pvesmb.PvesmbError] = pvesmb.InvalidArgument

    def refused(self, scene: Scene) -> None:
        before = scene.look()
        with pytest.raises(pvesmb.PvesmbError) as raised:
            answer = self.act(scene)
            if isinstance(answer, pvesmb.OperationHandle):
                answer.result(timeout=60)
        error = raised.value
        found = (type(error), error.reason, [v.field for v in error.field_violations][:1])
        assert found == (self.code, self.reason, [self.field] if self.field else []), f"{self.what}: {error}"
        assert error.help, f"{self.what}: an error says what to do"
        assert scene.look() == before, self.what


def make(deployment: Deployment) -> Scene:
    server = deployment.new_server(
        users=users("ann", "ben"),
        groups={"crew": pvesmb.Group(members=["ben"])},
        shares={
            "docs": pvesmb.Share(access=[user_rule("ann")]),
            "crew": pvesmb.Share(access=[group_rule("crew")]),
            "straße": pvesmb.Share(access=[user_rule("ann")]),
        },
    )
    return Scene(deployment, server)


def refuse_all(scene: Scene, figures: Figures, what: str, table: Sequence[Bad]) -> None:
    for bad in table:
        bad.refused(scene)
    scene.serves()
    figures.put("input", what, len(table))


def create_server(scene: Scene, id: str = "", **more: Any) -> Any:
    """With first contents or other fields; under a new id where none is given."""
    contents = {kind: more.pop(kind) for kind in ("shares", "users", "groups") if kind in more}
    spec = more.pop("spec", None) or scene.deployment.spec(**more)
    id = id or scene.deployment.new_id()
    return scene.client.file_servers.create(scene.deployment.backend, id, spec, **contents)


def create_share(scene: Scene, id: str = "bad", request_id: str | None = None, **fields: Any) -> Any:
    share = pvesmb.Share(**{"access": [user_rule("ann")], **fields})
    return scene.client.shares.create(scene.server.name, id, share, request_id=request_id)


def create_user(scene: Scene, id: str = "bad", **fields: Any) -> Any:
    return scene.client.users.create(scene.server.name, id, pvesmb.User(**{"password": password("bad"), **fields}))


def create_group(scene: Scene, id: str = "bad", **fields: Any) -> Any:
    return scene.client.groups.create(scene.server.name, id, pvesmb.Group(**fields))


def get_server(scene: Scene, name: str) -> Any:
    return scene.client.file_servers.get(name)


def get_share(scene: Scene, name: str) -> Any:
    return scene.client.shares.get(name)
