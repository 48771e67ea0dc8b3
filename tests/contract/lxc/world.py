"""What the steps of LXC mode are given in these tests, and how one looks at the node afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from urllib.parse import parse_qs

from fakepve import FakePve
from fakepve.lxc import FakeCt

from services.core.domain.file_server import FileServerSpec
from services.core.domain.guest import GuestNetwork, GuestPlacement, LxcDeployment
from services.core.domain.names import Kind, Name
from services.core.domain.operation import Verb
from services.core.domain.resource import Resource, State
from services.core.domain.share import HostPathStorage, ShareSpec, Storage, VolumeStorage
from services.core.errors import PvesmbError
from services.core.ports import Completed
from services.core.steps import Change, Contents, Work
from services.lxc.container_step import ContainerStep
from services.lxc.settings import LxcSettings
from services.lxc.steps import StartStep
from services.lxc.volume_step import VolumeStep
from services.proxmox.session import Api
from services.samba.instance import Server
from tests.contract.fake_node import TEMPLATE
from tests.fakes import MemoryClaims

GIB = 2**30
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMvWmVCbQPrVx2kM1hW3l0Jb1ZQp4x4JqYV1a5sT0000 pvesmb"
NETWORK = GuestNetwork(ipv4_address="10.99.0.30/24", ipv6_address="none")
SETTINGS = LxcSettings("pve1", pool="smbgw", storage="local-lvm", volume_storage="local-lvm")
_UIDS = count(1)


def server(placement: GuestPlacement | None = None, *, swap: int = 0, network: GuestNetwork = NETWORK) -> Server:
    """A file server that is in no container yet."""
    number = next(_UIDS)
    spec = FileServerSpec(lxc=LxcDeployment(placement or GuestPlacement(), network, swap))
    name = Name("lxc", f"fs{number}", Kind.FILE_SERVER, "")
    return Resource(name, f"5f0c-{number:08d}", spec, State.CREATING, 1, 0, 0.0, 0.0)


def with_placement(server: Server, **changes: Any) -> Server:
    """The same file server, wanted otherwise."""
    assert server.spec.lxc is not None
    placement = replace(server.spec.lxc.placement, **changes)
    return replace(server, spec=replace(server.spec, lxc=replace(server.spec.lxc, placement=placement)))


def with_lxc(server: Server, **changes: Any) -> Server:
    assert server.spec.lxc is not None
    return replace(server, spec=replace(server.spec, lxc=replace(server.spec.lxc, **changes)))


def share(server: Server, id: str = "docs", storage: Storage | None = None) -> Resource[ShareSpec]:
    number = next(_UIDS)
    spec = ShareSpec(storage=storage or VolumeStorage(GIB))
    name = Name(server.name.backend, server.name.file_server, Kind.SHARE, id)
    place = {"path": f"/srv/pvesmb/{number:012x}"}
    return Resource(name, f"5a0e-{number:08d}", spec, State.CREATING, 1, 0, 0.0, 0.0, place)


def host_share(server: Server, path: str) -> Resource[ShareSpec]:
    return share(server, "host", HostPathStorage(path))


def sized(share: Resource[ShareSpec], size: int) -> Resource[ShareSpec]:
    return replace(share, spec=replace(share.spec, storage=VolumeStorage(size)))


@dataclass
class Inside:
    """The container from within: which commands it was given, and how each ends."""

    returncode: int = 0
    commands: list[Sequence[str]] = field(default_factory=list)

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0) -> Completed:
        self.commands.append(argv)
        return Completed(self.returncode, b"", b"find: it is busy\n" if self.returncode else b"")

    def read_file(self, path: str) -> bytes:
        raise FileNotFoundError(path)

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        raise PermissionError(path)

    def remove(self, path: str) -> None:
        raise PermissionError(path)


@dataclass
class Bench:
    """One file server's steps against a node, with everything that they remember."""

    fake: FakePve
    api: Api
    server: Server
    claims: MemoryClaims = field(default_factory=MemoryClaims)
    settings: LxcSettings = SETTINGS
    root: Api | None = None
    shares: list[Resource[ShareSpec]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    host: Inside = field(default_factory=Inside)
    cancelled: Callable[[], bool] = lambda: False

    @property
    def container(self) -> ContainerStep:
        return ContainerStep(self.settings, self.api, lambda _: TEMPLATE, lambda _: KEY, lost_seconds=0.3)

    @property
    def volumes(self) -> VolumeStep:
        return VolumeStep(self.settings, self.api, self.root, lambda _: self.host)

    def work(self, *changes: Change, whole: bool = True, **options: Any) -> Work:
        contents = Contents(shares=tuple(self.shares))
        return Work(
            self.server,
            whole,
            list(changes),
            contents,
            self.claims,
            options,
            note=self.notes.append,
            cancelled=self.cancelled,
        )

    def ensure(self) -> None:
        """As far as the node is concerned."""
        work = self.work()
        for step in (self.container, self.volumes, StartStep(self.api)):
            step.ensure(work)

    def make(self) -> FakeCt:
        """The container, without starting it."""
        self.container.ensure(self.work())
        return self.ct

    def remove(self) -> None:
        work = self.work(*(Change(each, Verb.DELETE) for each in self.shares))
        self.volumes.remove(work)
        self.container.remove(work)

    def add(self, share: Resource[ShareSpec]) -> Change:
        """As a batch of one share."""
        self.shares = [*(each for each in self.shares if each.uid != share.uid), share]
        change = Change(share, Verb.CREATE)
        self.volumes.ensure(self.work(change, whole=False))
        return change

    def drop(self, share: Resource[ShareSpec], **options: Any) -> Change:
        self.shares = [each for each in self.shares if each.uid != share.uid]
        change = Change(share, Verb.DELETE, options)
        self.volumes.remove(self.work(change, whole=False))
        return change

    @property
    def vmid(self) -> int:
        return next(int(claim.value) for claim in self.claims.of(self.server.uid) if claim.kind == "guest")

    @property
    def ct(self) -> FakeCt:
        found = self.fake.ct(self.vmid)
        assert found is not None
        return found

    def kinds(self) -> list[str]:
        """What is claimed, by kind."""
        return sorted(claim.kind for claim in self.claims.rows.values())


def foreign(fake: FakePve, vmid: int, **more: Any) -> FakeCt:
    """Somebody else's container; in no pool, so that our login may not see it."""
    ct: FakeCt = fake.add_ct(vmid, f"foreign-{vmid}", **more)
    return ct


def tagged(uid: str) -> dict[str, str]:
    """The tags of a container of this file server."""
    return {"tags": f"pvesmb;pvesmb-{uid}"}


def noted(uid: str) -> dict[str, str]:
    """Its notes."""
    return {"description": f"whatever\n\npvesmb-uid: {uid}"}


def mutations(fake: FakePve, vmid: int) -> list[tuple[str, str]]:
    """What was asked to be changed on this guest."""
    part = f"/lxc/{vmid}"
    return [
        (method, path)
        for method, path, _ in fake.requests
        if method != "GET" and (path.endswith(part) or f"{part}/" in path)
    ]


def sent(fake: FakePve, method: str, end: str) -> list[Mapping[str, list[str]]]:
    """The forms of all calls of this kind."""
    return [
        parse_qs(body.decode(), keep_blank_values=True)
        for how, path, body in fake.requests
        if how == method and path.endswith(end)
    ]


def spoken(error: PvesmbError) -> str:
    """All that a caller, a log or the store gets of an error."""
    return repr([error.message, error.help, dict(error.metadata), error.violations, repr(error), str(error)])


def mounts(bench: Bench) -> dict[str, str]:
    """Mount points and unused volumes, with the volume's id or path."""
    return {
        key: str(value).partition(",")[0]
        for key, value in sorted(bench.ct.config.items())
        if key.startswith(("mp", "unused"))
    }


def restart(bench: Bench) -> None:
    """Stopped and started by somebody; then the drift check looks."""
    bench.ct.status = "stopped"
    bench.ensure()
    bench.ensure()
