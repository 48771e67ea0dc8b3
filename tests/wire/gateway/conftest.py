"""The stack, ended whatever the test did."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.wire.gateway.stack import Stack


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[Stack]:
    made = Stack(Path(tempfile.mkdtemp(prefix="pvesmb-")))
    yield made
    await made.stop()
    shutil.rmtree(made.place)
