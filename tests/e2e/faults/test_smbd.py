"""smbd is killed while a share is made, changed or removed: it is served in the end, or gone, as its operation says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pvesmb
import pytest

from tests.e2e.deadly import Moment
from tests.e2e.deployment import Deployment
from tests.e2e.waiting import until
from tests.e2e.words import Server, user_rule, users
from tests.figures import Figures

NEW = [
    Moment("process", "ensure", "after", victim="smbd"),
    Moment("apply", "ensure", "before", victim="smbd"),
    Moment("apply", "ensure", "inside", 0, 0.05, victim="smbd"),
    Moment("confirm", "ensure", "before", victim="smbd"),
    Moment("confirm", "ensure", "after", victim="smbd"),
]
SHARE = [
    Moment("apply", "ensure", "before", victim="smbd"),
    *(Moment("apply", "ensure", "inside", 0, seconds, victim="smbd") for seconds in (0.0, 0.03, 0.06, 0.1)),
    Moment("confirm", "ensure", "before", victim="smbd"),
    Moment("confirm", "ensure", "after", victim="smbd"),
]
GONE = [
    Moment("apply", "remove", "before", victim="smbd"),
    *(Moment("apply", "remove", "inside", 0, seconds, victim="smbd") for seconds in (0.0, 0.05)),
    Moment("apply", "remove", "after", victim="smbd"),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    moments = {"a_file_server_is_made": NEW, "a_share_is_made": SHARE, "a_share_is_removed": GONE}
    of_test = moments[metafunc.function.__name__.removeprefix("test_while_")]
    chosen = of_test if metafunc.config.getoption("--full") else of_test[2:4]
    metafunc.parametrize("moment", chosen, ids=lambda m: f"{m.when}-{m.step}-{m.seconds:g}")


@pytest.fixture(scope="module")
def mortal(new: Callable[..., Deployment]) -> Iterator[Deployment]:
    with closing(new(deadly=True)) as deployment:
        deployment.running()
        yield deployment


@pytest.fixture
def server(mortal: Deployment) -> Iterator[Server]:
    """A new one each time: smbd is restarted after pauses that grow while it dies young."""
    made = mortal.new_server(users=users("ann"), shares={"docs": pvesmb.Share(access=[user_rule("ann")])})
    yield made
    mortal.client.file_servers.delete(made.name, force=True, delete_data=True).result(timeout=60)
    assert mortal.traces(made.id, made.resource) == []


def struck(deployment: Deployment, figures: Figures) -> None:
    """smbd was killed indeed."""
    until((deployment.state / "struck").exists, "the death of smbd")
    (deployment.state / "struck").unlink()
    figures.count("faults", "smbd killed while a file server or a share is made or removed")


def served(server: Server, share: str) -> bool:
    return server.smb("ann", share, "ls").ok


def test_while_a_file_server_is_made(mortal: Deployment, moment: Moment, figures: Figures) -> None:
    moment.write(mortal.state)
    id, spec, share = mortal.new_id(), mortal.spec(), pvesmb.Share(access=[user_rule("ann")])
    create = mortal.client.file_servers.create
    handle = create(mortal.backend, id, spec, shares={"docs": share}, users=users("ann"))
    error = handle.exception(timeout=100)
    struck(mortal, figures)
    if error is not None:
        assert error.reason in ("SAMBA_UNAVAILABLE", "NOT_CONFIRMED") and error.help
        assert mortal.traces(id, spec) == []
        return
    made = Server(handle.result())
    until(lambda: served(made, "docs"), "smbd")
    mortal.client.file_servers.delete(made.name, force=True, delete_data=True).result(timeout=60)
    assert mortal.traces(id, spec) == []


def test_while_a_share_is_made(mortal: Deployment, server: Server, moment: Moment, figures: Figures) -> None:
    moment.write(mortal.state)
    handle = mortal.client.shares.create(server.name, "new", pvesmb.Share(access=[user_rule("ann")]))
    error = handle.exception(timeout=100)
    struck(mortal, figures)
    until(lambda: served(server, "docs"), "smbd")
    listed, stored = mortal.registry_of(server.uid), mortal.stored(server)
    if error is not None:
        assert error.reason in ("SAMBA_UNAVAILABLE", "NOT_CONFIRMED") and error.help
        assert "new" not in listed and stored == 1
        assert server.smb("ann", "new", "ls").status == "NT_STATUS_BAD_NETWORK_NAME"
        return
    assert "new" in listed and stored == 2
    until(lambda: served(server, "new"), "the share")
    mortal.client.shares.delete(server.share("new"), delete_data=True).result(timeout=60)


def test_while_a_share_is_removed(mortal: Deployment, server: Server, moment: Moment, figures: Figures) -> None:
    mortal.client.shares.create(server.name, "old", pvesmb.Share(access=[user_rule("ann")])).result(timeout=60)
    moment.write(mortal.state)
    mortal.client.shares.delete(server.share("old"), delete_data=True).result(timeout=100)
    struck(mortal, figures)
    until(lambda: served(server, "docs"), "smbd")
    assert server.smb("ann", "old", "ls").status == "NT_STATUS_BAD_NETWORK_NAME"
    assert mortal.stored(server) == 1
