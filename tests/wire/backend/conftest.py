"""The backend, ended whatever the test did."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pvesmb.v1 import share_pb2, user_pb2

from tests.wire.backend.backend import Backend, Gate


@contextmanager
def running() -> Iterator[Backend]:
    made = Backend(Path(tempfile.mkdtemp(prefix="pvesmb-")))
    try:
        yield made
    finally:
        if isinstance(made.mode.hook, Gate):
            made.mode.hook.open()
        made.close()
        shutil.rmtree(made.place)


@pytest.fixture
def backend() -> Iterator[Backend]:
    """An empty one, of the test's own."""
    with running() as made:
        yield made


@pytest.fixture(scope="package")
def standing() -> Iterator[Backend]:
    """One for all tests of calls that are refused, with `fs`, the user `anna`, the group `team` and the share `Data`."""
    with running() as made:
        made.ready("anna")
        made.done(made.create_group("team", "anna"), user_pb2.Group)
        made.done(made.create_share("Data"), share_pb2.Share)
        yield made


@pytest.fixture
def unchanged(standing: Backend) -> Iterator[Backend]:
    """The standing one; that the test did not change it is checked afterwards."""
    before = standing.operation_names(), standing.get_server(), standing.get_share("Data"), standing.get_user("anna")
    yield standing
    after = standing.operation_names(), standing.get_server(), standing.get_share("Data"), standing.get_user("anna")
    assert after == before
