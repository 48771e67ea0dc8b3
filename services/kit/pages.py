"""What all lists share: the size of a page, and opaque tokens (AIP-158)."""

from __future__ import annotations

import base64
import hashlib
import json

from services.core.errors import InvalidField, PageTokenInvalid

DEFAULT_PAGE = 50
MAX_PAGE = 1000


def page_size(wanted: int) -> int:
    """The size to use: 0 is the default, too much is clamped, less than nothing is an error."""
    if wanted < 0:
        raise InvalidField.of("page_size", "must not be negative")
    return min(wanted or DEFAULT_PAGE, MAX_PAGE)


def encode(scope: str, *place: str) -> str:
    """A token for the place where a list goes on. `scope` binds it to one list and filter."""
    return base64.urlsafe_b64encode(json.dumps([_digest(scope), *place]).encode()).decode()


def decode(token: str, scope: str, parts: int = 1) -> list[str]:
    """The place of so many parts that a token of this list stands for; `PageTokenInvalid` if it is not one."""
    place: list[str]
    try:
        digest, *place = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
    except (ValueError, TypeError, RecursionError):
        digest, place = None, []
    fits = digest == _digest(scope) and len(place) == parts
    if not fits or not all(isinstance(part, str) and part.isprintable() for part in place):
        raise invalid()
    return place


def invalid() -> PageTokenInvalid:
    """The error of a token that is not one of its list."""
    return PageTokenInvalid("the page token is not one of this list and filter")


def _digest(scope: str) -> str:
    return hashlib.sha256(scope.encode()).hexdigest()[:16]
