"""The backend, ended whatever the test did."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.backend.backend import Backend, Gate


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = Backend(Path(tempfile.mkdtemp(prefix="pvesmb-")))
    yield made
    if isinstance(made.mode.hook, Gate):
        made.mode.hook.open()
    made.close()
    shutil.rmtree(made.place)
