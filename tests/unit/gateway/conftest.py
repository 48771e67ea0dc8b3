"""Directories for Unix sockets, whose paths must be short."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pvesmb-"))
    yield directory
    shutil.rmtree(directory)
