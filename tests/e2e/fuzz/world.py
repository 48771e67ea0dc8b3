"""What really exists while requests are made up: names, etags, tokens that lead deeper than invented ones would."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import pvesmb

from tests.e2e.deployment import Deployment
from tests.e2e.native import NativeDeployment
from tests.e2e.words import RW, password, user_rule

#: File servers of this id are there all the time, made anew when a request has deleted them.
SERVERS = ("fuzz-a", "fuzz-b")
SHARES, USERS, GROUPS = ("docs", "Büro 2", "x-1", "spare"), ("ann", "ben", "cleo", "spare"), ("staff", "team", "spare")
_KINDS = ("fileServers", "shares", "users", "groups")


@dataclass
class World:
    """Names of what there is, and what is to be had from it. `specs` are of file servers at addresses that are nobody
    else's."""

    backend: str
    data: str
    specs: tuple[pvesmb.FileServer, ...]
    names: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in _KINDS})
    operations: list[str] = field(default_factory=list)
    etags: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(a for spec in self.specs for a in (*spec.native.listen_addresses, spec.lxc.network.ipv4_address) if a)

    def server(self, id: str) -> str:
        return f"{self.backend}/fileServers/{id}"


def make(deployment: Deployment) -> World:
    """A world with its file servers, and beside their roots a symbolic link that leads out."""
    specs = tuple(deployment.spec() for _ in range(len(SERVERS) + 1))
    world = World(deployment.backend, str(deployment.state / "data"), specs)
    tend(deployment, world)
    outside = deployment.state / "outside"
    outside.mkdir(mode=0o700)
    (outside / "file").write_text("nobody has business here")
    if isinstance(deployment, NativeDeployment):
        (deployment.data / "link").symlink_to(outside)
    return world


def tend(deployment: Deployment, world: World) -> None:
    """Makes anew what requests have deleted, and looks at what there is now."""
    client = deployment.client
    for id, spec in zip(SERVERS, world.specs, strict=False):
        with contextlib.suppress(pvesmb.NotFound):
            client.file_servers.get(world.server(id))
            continue
        users = {user: pvesmb.User(password=password(user)) for user in USERS[:2]}
        groups = {GROUPS[0]: pvesmb.Group(members=USERS[:2])}
        shares = {share: pvesmb.Share(access=[user_rule(USERS[0], RW)]) for share in SHARES[:2]}
        with contextlib.suppress(pvesmb.Aborted, pvesmb.AlreadyExists, pvesmb.FailedPrecondition):
            # A request may have made one of this id just now, or one with this address.
            client.file_servers.create(world.backend, id, spec, users=users, groups=groups, shares=shares).wait(60)
    _look(client, world)


def _look(client: pvesmb.Client, world: World) -> None:
    servers = list(client.file_servers.list(world.backend))
    world.names = {kind: [] for kind in _KINDS} | {"fileServers": [server.name for server in servers]}
    world.etags, found = [server.etag for server in servers], list[pvesmb.Share | pvesmb.User | pvesmb.Group]()
    for server in servers:
        with contextlib.suppress(pvesmb.NotFound):
            found += [*client.shares.list(server.name), *client.users.list(server.name), *client.groups.list(server.name)]
    for resource in found:
        world.names[resource.name.split("/")[-2]].append(resource.name)
        world.etags.append(resource.etag)
    world.operations = [handle.name for handle, _ in zip(client.operations.list(world.backend), range(50), strict=False)]
