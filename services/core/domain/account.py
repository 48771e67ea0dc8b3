"""The desired state of users and groups. Field meanings: `protos/pvesmb/v1/user.proto`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core.domain import checks
from services.core.errors import InvalidField

MAX_MEMBERS = 1000


@dataclass(frozen=True)
class UserSpec:
    """What the caller wants of a user. The password is not part of it: it is used once and not kept."""

    full_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    disabled: bool = False

    def __post_init__(self) -> None:
        # The name stands in the GECOS field of passwd(5), where a colon ends it and a comma divides it.
        checks.one_line("full_name", self.full_name, 128, forbidden=":,%")
        checks.labels("labels", self.labels)


@dataclass(frozen=True)
class GroupSpec:
    """What the caller wants of a group."""

    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks.one_line("description", self.description, 256)
        checks.labels("labels", self.labels)
        if len(self.members) > MAX_MEMBERS:
            raise InvalidField.of("members", f"must be at most {MAX_MEMBERS} users")
        if len(set(self.members)) != len(self.members):
            raise InvalidField.of("members", "must not name a user twice")


def check_password(field: str, password: str) -> None:
    """Refuses what Samba could not take; never says what was given."""
    if not 1 <= len(password) <= 127:
        raise InvalidField.of(field, "must be 1 to 127 characters long")
    if not password.isprintable():
        raise InvalidField.of(field, "must not contain control characters")
