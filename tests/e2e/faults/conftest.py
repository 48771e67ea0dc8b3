"""What the tests of bad input share."""

from __future__ import annotations

import pytest

from tests.e2e.deployment import Deployment
from tests.e2e.faults import scene as scenes
from tests.e2e.faults.scene import Scene


@pytest.fixture(scope="session")
def _scene(_shared: Deployment) -> Scene:
    _shared.running()
    return scenes.make(_shared)


@pytest.fixture
def scene(deployment: Deployment, _scene: Scene) -> Scene:
    """The file server that bad calls are aimed at, which none of them may change."""
    return _scene
