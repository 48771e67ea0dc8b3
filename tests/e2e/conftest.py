"""The product, started for the tests of a module, in each mode that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import pytest

from tests.conftest import figures_of
from tests.e2e import namespace
from tests.e2e import node as nodes
from tests.e2e.deployment import Deployment
from tests.e2e.lxc import LxcDeployment
from tests.e2e.native import NativeDeployment
from tests.e2e.node import TestNode
from tests.figures import Figures

#: Every test that asks for a deployment runs in each, unless it says by `modes.only` which mode it is about.
PRODUCTS: Mapping[str, type[Deployment]] = {"native": NativeDeployment, "lxc": LxcDeployment}
MODES = tuple(PRODUCTS)

#: Makes a product of a mode, not started; takes what `Deployment` takes. Who makes one closes it.
New = Callable[..., Deployment]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Before anything runs: threads that were started earlier would stay behind."""
    if session.items and not session.config.option.collectonly:
        namespace.enter()


def pytest_unconfigure() -> None:
    namespace.leave()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """What takes its time in a mode is for long runs. One mode after the other: what tests of a mode share is started
    once."""
    for item in items:
        if any(_mode_of(item) in marker.args for marker in item.iter_markers("long_in")):
            item.add_marker(pytest.mark.full)
    yield
    items.sort(key=lambda item: MODES.index(_mode_of(item)))


def _mode_of(item: pytest.Item) -> str:
    """Other tests have parameters of this name too."""
    params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    mode = params.get("mode")
    return mode if mode in MODES else MODES[0]


@pytest.fixture(scope="session", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def figures(mode: str, pytestconfig: pytest.Config) -> Figures:
    """What another mode than the first has seen are lines of its own."""
    taken = figures_of(pytestconfig)
    return taken if mode == MODES[0] else taken.of(f"{mode} mode")


@pytest.fixture(scope="session")
def new(mode: str, request: pytest.FixtureRequest) -> New:
    if mode == "native":
        return NativeDeployment
    return partial(LxcDeployment, request.getfixturevalue("node"))


@pytest.fixture(scope="session")
def node() -> Iterator[TestNode]:
    """A node for all of them that need one."""
    with nodes.started() as node:
        yield node


@pytest.fixture(scope="session")
def _shared(new: New) -> Iterator[Deployment]:
    with closing(new()) as deployment:
        yield deployment


@pytest.fixture
def deployment(_shared: Deployment) -> Deployment:
    """One that all tests share which do not ask for another; it runs at the beginning of each."""
    _shared.running()
    return _shared


@pytest.fixture
def deploy(new: New) -> Iterator[New]:
    """Starts some with further settings, which end with the test."""
    with ExitStack() as stack:

        def started(*, deadly: bool = False, **settings: Any) -> Deployment:
            made = stack.enter_context(closing(new(settings, deadly=deadly)))
            made.running()
            return made

        yield started
