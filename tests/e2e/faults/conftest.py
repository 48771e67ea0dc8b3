"""What the tests of bad input share."""

from __future__ import annotations

import pytest

from tests.e2e.faults import scene as scenes
from tests.e2e.faults.scene import Scene
from tests.e2e.native import NativeDeployment


@pytest.fixture(scope="session")
def _scene(_shared: NativeDeployment) -> Scene:
    _shared.running()
    return scenes.make(_shared)


@pytest.fixture
def scene(deployment: NativeDeployment, _scene: Scene) -> Scene:
    """The file server that bad calls are aimed at, which none of them may change."""
    return _scene
