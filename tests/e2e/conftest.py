"""The product, started for the tests of a module, in each mode that there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.e2e.deployment import Deployment
from tests.e2e.native import NativeDeployment

#: Tests that ask for more than a `Deployment` has name the mode that they are about in their annotations.
MODES: Mapping[str, Callable[[], Deployment]] = {"native": NativeDeployment}


@pytest.fixture(scope="session", params=sorted(MODES))
def _shared(request: pytest.FixtureRequest) -> Iterator[Deployment]:
    with closing(MODES[request.param]()) as deployment:
        yield deployment


@pytest.fixture
def deployment(_shared: Deployment) -> Deployment:
    """One that all tests share which do not ask for another; it runs at the beginning of each."""
    _shared.running()
    return _shared


@pytest.fixture
def deploy() -> Iterator[Callable[..., NativeDeployment]]:
    """Starts native ones with further settings, which end with the test."""
    with ExitStack() as stack:

        def started(module: str = "services.native", **settings: Any) -> NativeDeployment:
            made = stack.enter_context(closing(NativeDeployment(settings, module)))
            made.running()
            return made

        yield started
