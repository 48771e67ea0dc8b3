"""Tests that are about one mode."""

from __future__ import annotations

import pytest


def only(mode: str) -> pytest.MarkDecorator:
    """For a test, or a module by `pytestmark`, that needs what this mode alone has."""
    return pytest.mark.parametrize("mode", [mode], indirect=True, scope="session")
