"""A gateway in memory, and clients of it whose pauses take no time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pvesmb
import pytest
from pvesmb._channel import Pace

from tests.wire.client.memory_gateway import MemoryGateway

SERVER = "backends/native/fileServers/files"


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory whose path is short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="pvesmb-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def gateway(place: Path) -> Iterator[MemoryGateway]:
    made = MemoryGateway(place / "g.sock")
    yield made
    made.stop()


@pytest.fixture
def naps() -> list[float]:
    """The pauses that the client has made."""
    return []


@pytest.fixture
def client(gateway: MemoryGateway, naps: list[float]) -> Iterator[pvesmb.Client]:
    with pvesmb.Client(gateway.target, pace=Pace(sleep=naps.append, progress_slice=0.05)) as made:
        yield made


@pytest.fixture
def files(gateway: MemoryGateway) -> str:
    """The name of a file server that is there."""
    gateway.add("FileServer", SERVER, description="Files")
    return SERVER
