"""How much of the tests runs, and where their figures go.

`--full` runs what is too long for every day: `make faults` and `make conformance` ask for it. Tests note what they have
seen with `figures`; `--write DOCUMENT` puts it into the document, if every test ran and passed. `--seed` makes tests that
choose at random choose otherwise; they print it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.figures import Figures

_FIGURES = pytest.StashKey[Figures]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pvesmb")
    group.addoption("--full", action="store_true", help="also what is too long for every run")
    group.addoption("--write", type=Path, metavar="DOCUMENT", help="write the figures into this document")
    group.addoption("--seed", type=int, default=1, metavar="NUMBER", help="what random choices follow from (default: 1)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = Figures()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is marked `full`, unless there is time for it."""
    if config.getoption("--full"):
        return
    long = [item for item in items if item.get_closest_marker("full")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    document = session.config.getoption("--write")
    if document is None or exitstatus != pytest.ExitCode.OK:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and (reporter.stats.get("deselected") or reporter.stats.get("skipped")):
        reporter.write_line(f"{document} stays as it is: this was not all of it")
        return
    document.write_text(session.config.stash[_FIGURES].written_into(document.read_text()))


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether there is time for all of it."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """Takes what a test has counted or measured, for the document."""
    return figures_of(pytestconfig)


def figures_of(config: pytest.Config) -> Figures:
    return config.stash[_FIGURES]


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """What all random choices of a test follow from."""
    return int(request.config.getoption("--seed"))
