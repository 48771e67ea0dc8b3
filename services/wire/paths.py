"""Field paths of errors, seen from the request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from services.core.errors import InvalidField

T = TypeVar("T")


def at(prefix: str, make: Callable[[], T]) -> T:
    """Constructs, with the prefix put before the path of an invalid field."""
    try:
        return make()
    except InvalidField as error:
        raise error.below(prefix) from None
