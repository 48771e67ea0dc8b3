"""Which suites run, and the shares of each kind that they run on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.e2e.conformance import expected, targets
from tests.e2e.conformance.tally import Tally
from tests.e2e.conformance.targets import Target
from tests.e2e.deployment import Deployment
from tests.figures import Figures


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    full = metafunc.config.getoption("--full")
    for name, kind in expected.kinds().items():
        if f"{name}_suite" in metafunc.fixturenames:
            metafunc.parametrize(f"{name}_suite", kind.suites if full else kind.short)


@pytest.fixture(scope="module")
def default_target(_shared: Deployment) -> Iterator[Target]:
    with targets.default(_shared) as target:
        yield target


@pytest.fixture(scope="module")
def open_target(_shared: Deployment) -> Iterator[Target]:
    with targets.opened(_shared) as target:
        yield target


@pytest.fixture(scope="module")
def windows_target(new: Callable[..., Deployment]) -> Iterator[Target]:
    """The site's options are a matter of the backend: one of its own."""
    settings = {"share_options": targets.WINDOWS_LIKE}
    with closing(new(settings)) as deployment, targets.windows_like(deployment) as target:
        yield target


@pytest.fixture(scope="module")
def tally(mode: str, figures: Figures, full: bool) -> Iterator[Tally]:
    """Takes the outcomes; only those of a full run make figures."""
    kept = Tally(mode=mode)
    yield kept
    if full:
        kept.into(figures)
