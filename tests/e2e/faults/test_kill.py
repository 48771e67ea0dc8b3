"""`kill -9` of the backend at every step of a create, of the undoing of one, and of a delete.

Afterwards there is the wanted state, or nothing. What is there is seen from outside: by clients, Samba's own tools, files,
processes, mounts, claims.
"""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import zip_longest
from typing import Any

import pvesmb
import pytest

from tests.e2e.conftest import MODES, PRODUCTS
from tests.e2e.deadly import Moment
from tests.e2e.deployment import Deployment
from tests.e2e.waiting import until
from tests.e2e.words import MIB, Server, group_rule, user_rule, users
from tests.figures import Figures

PENDING = pvesmb.OperationMetadata.Step.STATE_PENDING
Begun = tuple[str, pvesmb.FileServer, pvesmb.OperationHandle[pvesmb.FileServer]]

INSIDE_FORWARD = {
    "native": [
        Moment("volume", "ensure", "inside"),
        Moment("config", "ensure", "inside", 0, 0.08),
        Moment("process", "ensure", "inside", 0, 0.01),
        *(Moment("apply", "ensure", "inside", 0, seconds) for seconds in (0.0, 0.12, 0.25)),
    ],
    "lxc": [
        *(Moment("container", "ensure", "inside", command, 0.02) for command in (0, 2, 3, 4)),
        *(Moment("volume", "ensure", "inside", command, 0.05) for command in (1, 2)),
        Moment("start", "ensure", "inside", 1, 0.1),
        *(Moment("apply", "ensure", "inside", 0, seconds) for seconds in (0.0, 0.12, 0.25)),
    ],
}
INSIDE_BACKWARD = {
    "native": [Moment("volume", "remove", "inside"), Moment("apply", "remove", "inside", 0, 0.1)],
    "lxc": [
        *(Moment("container", "remove", "inside", command, 0.05) for command in (0, 2, 3)),
    ],
}
#: Settings under which a create fails late; native mode has a share for that.
HOPELESS: Mapping[str, Mapping[str, Any]] = {"native": {}, "lxc": {"share_options": {"vfs objects": "nosuch"}}}
#: Of so many kills at steps one is done where there is no time for all.
EVERY = {"native": 1, "lxc": 12}


def forward(mode: str) -> list[Moment]:
    """At each border between two steps, and while a command of a step runs."""
    steps = PRODUCTS[mode].steps
    return [
        *(Moment(step, "ensure", "before") for step in steps),
        Moment(steps[-1], "ensure", "after"),
        *INSIDE_FORWARD[mode],
    ]


def backward(mode: str) -> list[Moment]:
    steps = PRODUCTS[mode].steps
    return [
        *(Moment(step, "remove", "before") for step in reversed(steps)),
        Moment(steps[0], "remove", "after"),
        *INSIDE_BACKWARD[mode],
    ]


def named(moment: Moment) -> str:
    return f"{moment.when}-{moment.step}" + (f"-{moment.command}-{moment.seconds:g}" if moment.when == "inside" else "")


def by_mode(ways: Callable[[str], Iterable[tuple[Moment | None, Moment | None]]]) -> pytest.MarkDecorator:
    """The moments of each mode; in a mode that takes its time, most of them only where there is time for all."""
    rows = []
    for mode in MODES:
        for number, way in enumerate(ways(mode)):
            id = "-".join([mode, *(named(moment) for moment in way if moment)])
            rows.append(pytest.param(mode, way, id=id, marks=[pytest.mark.full] if number % EVERY[mode] else []))
    return pytest.mark.parametrize(("mode", "moments"), rows, indirect=["mode"], scope="session")


@pytest.fixture(scope="module")
def _mortal(new: Callable[..., Deployment]) -> Iterator[Deployment]:
    with closing(new(deadly=True)) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def _hopeless(mode: str, new: Callable[..., Deployment]) -> Iterator[Deployment]:
    with closing(new(HOPELESS[mode], deadly=True)) as deployment:
        yield deployment


@pytest.fixture
def hopeless(_hopeless: Deployment) -> Deployment:
    (_hopeless.state / "moment.json").unlink(missing_ok=True)
    _hopeless.running()
    return _hopeless


@pytest.fixture
def mortal(_mortal: Deployment) -> Deployment:
    (_mortal.state / "moment.json").unlink(missing_ok=True)
    _mortal.running()
    return _mortal


def comes_back(deployment: Deployment, figures: Figures) -> None:
    """Waits for the death, and starts it again."""
    assert deployment.service.wait() == -signal.SIGKILL
    figures.count("faults", "`kill -9` of the service at the borders of steps and within them")
    deployment.start()


def begin(deployment: Deployment, **more: pvesmb.Share) -> Begun:
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


def assert_wanted(deployment: Deployment, server: Server) -> None:
    """All that `begin` asks for is there, once."""
    assert server.smb("ann", "docs", "mkdir a; ls").ok
    assert server.smb("ben", "vault", "mkdir b; ls").ok
    assert server.smb("ben", "docs", "ls").status == server.smb("ann", "vault", "ls").status == "NT_STATUS_ACCESS_DENIED"
    assert deployment.registry_of(server.uid) == {"docs", "vault"}
    assert deployment.accounts_of(server.uid) == {"ann", "ben"}
    assert deployment.tool(server, "testparm", "-s", deployment.conf(server)).returncode == 0
    assert deployment.flaws(server, volumes=1) == []
    assert deployment.rows("SELECT key FROM secrets") == []
    assert all(r.state == pvesmb.ResourceState.RESOURCE_STATE_READY for r in deployment.client.shares.list(server.name))


@by_mode(lambda mode: zip_longest(forward(mode), backward(mode)))
def test_create_and_delete(mortal: Deployment, moments: tuple[Moment | None, Moment | None], figures: Figures) -> None:
    making, removing = moments
    if making is not None:
        making.write(mortal.state)
    id, spec, handle = begin(mortal)
    if making is not None:
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


@by_mode(lambda mode: [(None, moment) for moment in backward(mode)])
def test_undo(hopeless: Deployment, moments: tuple[None, Moment], figures: Figures) -> None:
    """The create fails late: at its share, or because no share can be confirmed, which takes its time."""
    moments[1].write(hopeless.state)
    bad = {} if HOPELESS[hopeless.mode] else {"bad": hopeless.failing_share()}
    id, spec, handle = begin(hopeless, **bad)
    comes_back(hopeless, figures)
    error = handle.exception(timeout=60)
    assert error is not None and error.reason in ("NOT_CONFIRMED", "PATH_UNSUITABLE"), error
    assert hopeless.traces(id, spec) == []
    with pytest.raises(pvesmb.NotFound):
        hopeless.client.file_servers.get(f"{hopeless.backend}/fileServers/{id}")


@pytest.mark.long_in("lxc")
def test_ten_file_servers(mortal: Deployment) -> None:
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


def test_ten_shares(mortal: Deployment, figures: Figures) -> None:
    """The first is applied alone, the others wait meanwhile and make a batch: that is killed."""
    id, spec = mortal.new_id(), mortal.spec()
    server = Server(mortal.client.file_servers.create(mortal.backend, id, spec, users=users("ann")).result(timeout=60))
    Moment("apply", "ensure", "inside", 1, 0.1).write(mortal.state)
    first = create_share(mortal, server, "s0")
    until(lambda: any(step.state != PENDING for step in first.refresh().steps), "its beginning")
    with ThreadPoolExecutor(9) as pool:
        others = [pool.submit(create_share, mortal, server, f"s{i}") for i in range(1, 10)]
        comes_back(mortal, figures)
        for i, handle in enumerate([first, *(other.result() for other in others)]):
            handle.result(timeout=60)
            assert server.smb("ann", f"s{i}", "mkdir a").ok
    mortal.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)
    assert mortal.traces(id, spec) == []


def create_share(mortal: Deployment, server: Server, id: str) -> pvesmb.OperationHandle[pvesmb.Share]:
    """Asks until the backend answers; the same request, so that it is done once."""
    request_id, share = str(uuid.uuid4()), pvesmb.Share(access=[user_rule("ann")])

    def ask() -> pvesmb.OperationHandle[pvesmb.Share] | None:
        try:
            return mortal.client.shares.create(server.name, id, share, request_id=request_id)
        except pvesmb.Unavailable:
            return None

    return until(ask, f"the acceptance of {id}", 60)
