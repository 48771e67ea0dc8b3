"""`kill -9` of the backend at every step of a create, of the undoing of one, and of a delete.

Afterwards there is the wanted state, or nothing. What is there is seen from outside: by clients, Samba's own tools, files,
processes, mounts, claims.
"""

from __future__ import annotations

import signal
import stat
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import zip_longest
from pathlib import Path

import pvesmb
import pytest

from tests.e2e.deadly import Moment
from tests.e2e.deployment import MIB, Server, group_rule, user_rule, users
from tests.e2e.native import NativeDeployment
from tests.e2e.waiting import until
from tests.figures import Figures

Begun = tuple[str, pvesmb.FileServer, pvesmb.OperationHandle[pvesmb.FileServer]]

STEPS = ["address", "instance", "volume", "config", "process", "apply", "confirm"]
#: At each border between two steps, and while a command of a step runs.
FORWARD = [
    *(Moment(step, "ensure", "before") for step in STEPS),
    Moment(STEPS[-1], "ensure", "after"),
    Moment("volume", "ensure", "inside"),
    Moment("config", "ensure", "inside", 0, 0.08),
    Moment("process", "ensure", "inside", 0, 0.01),
    *(Moment("apply", "ensure", "inside", 0, seconds) for seconds in (0.0, 0.12, 0.25)),
]
BACKWARD = [
    *(Moment(step, "remove", "before") for step in reversed(STEPS)),
    Moment(STEPS[0], "remove", "after"),
    Moment("volume", "remove", "inside"),
    Moment("apply", "remove", "inside", 0, 0.1),
]


def named(moment: Moment) -> str:
    return f"{moment.when}-{moment.step}" + (f"-{moment.seconds:g}" if moment.when == "inside" else "")


@pytest.fixture(scope="module")
def _mortal() -> Iterator[NativeDeployment]:
    with closing(NativeDeployment(module="tests.e2e.deadly")) as deployment:
        yield deployment


@pytest.fixture
def mortal(_mortal: NativeDeployment) -> NativeDeployment:
    (_mortal.state / "moment.json").unlink(missing_ok=True)
    _mortal.running()
    return _mortal


def comes_back(deployment: NativeDeployment, figures: Figures) -> None:
    """Waits for the death, and starts it again."""
    assert deployment.native.wait() == -signal.SIGKILL
    figures.count("faults", "`kill -9` of the service at the borders of steps and within them")
    deployment.start()


def begin(deployment: NativeDeployment, **more: pvesmb.Share) -> Begun:
    """A create with something of everything."""
    id, spec = deployment.new_id(), deployment.spec()
    shares = {
        "docs": pvesmb.Share(access=[user_rule("ann")]),
        "vault": pvesmb.Share(volume=pvesmb.VolumeStorage(size_bytes=512 * MIB), access=[group_rule("crew")]),
    }
    groups = {"crew": pvesmb.Group(members=["ben"])}
    handle = deployment.client.file_servers.create(
        deployment.backend, id, spec, shares={**shares, **more}, users=users("ann", "ben"), groups=groups
    )
    return id, spec, handle


def assert_wanted(deployment: NativeDeployment, server: Server) -> None:
    """All that `begin` asks for is there, once."""
    assert server.smb("ann", "docs", "mkdir a; ls").ok
    assert server.smb("ben", "vault", "mkdir b; ls").ok
    assert server.smb("ben", "docs", "ls").status == server.smb("ann", "vault", "ls").status == "NT_STATUS_ACCESS_DENIED"
    listed = deployment.tool(server, "net", "-s", deployment.conf(server), "conf", "listshares").stdout.split()
    assert sorted(name for name in listed if "probe" not in name) == ["docs", "vault"]
    accounts = deployment.tool(server, "pdbedit", "-s", deployment.conf(server), "-L").stdout
    assert sorted(line.partition(":")[0] for line in accounts.splitlines() if "pvesmb-" not in line) == ["ann", "ben"]
    assert deployment.tool(server, "testparm", "-s", deployment.conf(server)).returncode == 0
    [base] = deployment.instances()
    assert stat.S_IMODE(Path(base, "private").stat().st_mode) == 0o700
    assert len(list(Path(deployment.native_dir, "volumes").iterdir())) == 1
    claims = {kind for (kind,) in deployment.rows("SELECT kind FROM claims")}
    assert claims == {"address", "instance", "directory", "volume"}
    assert deployment.rows("SELECT key FROM secrets") == []
    assert all(r.state == pvesmb.ResourceState.RESOURCE_STATE_READY for r in deployment.client.shares.list(server.name))


@pytest.mark.parametrize(
    "making, removing", list(zip_longest(FORWARD, BACKWARD)), ids=lambda moment: named(moment) if moment else "-"
)
def test_create_and_delete(mortal: NativeDeployment, making: Moment, removing: Moment | None, figures: Figures) -> None:
    making.write(mortal.state)
    id, spec, handle = begin(mortal)
    comes_back(mortal, figures)
    server = Server(handle.result(timeout=60))
    assert_wanted(mortal, server)
    if removing is not None:
        removing.write(mortal.state)
    removal = mortal.client.file_servers.delete(server.name, force=True, delete_data=True)
    if removing is not None:
        comes_back(mortal, figures)
    removal.result(timeout=60)
    assert mortal.traces(id, spec) == []


@pytest.mark.parametrize("moment", BACKWARD, ids=named)
def test_undo(mortal: NativeDeployment, moment: Moment, figures: Figures) -> None:
    """The create fails late: one of its shares lies behind a symbolic link."""
    link = mortal.data / "link"
    if not link.is_symlink():
        (mortal.data / "elsewhere").mkdir(exist_ok=True)
        link.symlink_to(mortal.data / "elsewhere")
    moment.write(mortal.state)
    bad = pvesmb.Share(directory=pvesmb.DirectoryStorage(path=f"{link}/inside"), access=[user_rule("ann")])
    id, spec, handle = begin(mortal, bad=bad)
    comes_back(mortal, figures)
    error = handle.exception(timeout=60)
    assert error is not None and error.reason in ("PATH_NOT_ALLOWED", "PATH_UNSUITABLE"), error
    assert mortal.traces(id, spec) == []
    with pytest.raises(pvesmb.NotFound):
        mortal.client.file_servers.get(f"{mortal.backend}/fileServers/{id}")


def test_ten_file_servers(mortal: NativeDeployment) -> None:
    begun = []
    for _ in range(10):
        id, spec = mortal.new_id(), mortal.spec()
        share = pvesmb.Share(access=[user_rule("ann")])
        handle = mortal.client.file_servers.create(mortal.backend, id, spec, shares={"docs": share}, users=users("ann"))
        begun.append((id, spec, handle))
    until(lambda: any(handle.done() for _, _, handle in begun), "the first of them")
    assert not all(handle.done() for _, _, handle in begun)
    mortal.kill()
    mortal.start()
    for _, _, handle in begun:
        server = Server(handle.result(timeout=60))
        assert server.smb("ann", "docs", "mkdir a").ok
    removals = [mortal.client.file_servers.delete(h.result().name, force=True, delete_data=True) for _, _, h in begun]
    for removal in removals:
        removal.result(timeout=60)
    for id, spec, _ in begun:
        assert mortal.traces(id, spec) == []


def test_ten_shares(mortal: NativeDeployment, figures: Figures) -> None:
    """The first is applied alone, the others wait meanwhile and make a batch: that is killed."""
    id, spec = mortal.new_id(), mortal.spec()
    server = Server(mortal.client.file_servers.create(mortal.backend, id, spec, users=users("ann")).result(timeout=60))
    Moment("apply", "ensure", "inside", 1, 0.1).write(mortal.state)
    with ThreadPoolExecutor(10) as pool:
        handles = [pool.submit(create_share, mortal, server, f"s{i}") for i in range(10)]
        comes_back(mortal, figures)
        for i, handle in enumerate(handles):
            handle.result().result(timeout=60)
            assert server.smb("ann", f"s{i}", "mkdir a").ok
    mortal.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)
    assert mortal.traces(id, spec) == []


def create_share(mortal: NativeDeployment, server: Server, id: str) -> pvesmb.OperationHandle[pvesmb.Share]:
    """Asks until the backend answers; the same request, so that it is done once."""
    request_id, share = str(uuid.uuid4()), pvesmb.Share(access=[user_rule("ann")])

    def ask() -> pvesmb.OperationHandle[pvesmb.Share] | None:
        try:
            return mortal.client.shares.create(server.name, id, share, request_id=request_id)
        except pvesmb.Unavailable:
            return None

    return until(ask, f"the acceptance of {id}", 60)
