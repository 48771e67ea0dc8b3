"""Words of these tests: users, rules, passwords, and a file server as its clients reach it."""

from __future__ import annotations

from dataclasses import dataclass

import pvesmb

from tests.e2e import smb

RO, RW = pvesmb.AccessRule.ACCESS_LEVEL_READ, pvesmb.AccessRule.ACCESS_LEVEL_READ_WRITE
ADMIN, DENY = pvesmb.AccessRule.ACCESS_LEVEL_ADMIN, pvesmb.AccessRule.ACCESS_LEVEL_DENY
MIB = 1024**2

#: No other text on this machine looks like it: a search for it finds passwords and nothing else.
CANARY = "Kanarien-vogel"


def password(user: str, number: int = 1) -> str:
    """The password of a user in these tests."""
    return f"{CANARY}.{user}.{number}"


def users(*names: str) -> dict[str, pvesmb.User]:
    """First users."""
    return {name: pvesmb.User(password=password(name)) for name in names}


def user_rule(user: str, level: pvesmb.AccessRule.AccessLevel.ValueType = RW) -> pvesmb.AccessRule:
    return pvesmb.AccessRule(user=user, level=level)


def group_rule(group: str, level: pvesmb.AccessRule.AccessLevel.ValueType = RW) -> pvesmb.AccessRule:
    return pvesmb.AccessRule(group=group, level=level)


@dataclass(frozen=True)
class Server:
    """A file server that was made, as its clients reach it."""

    resource: pvesmb.FileServer

    @property
    def name(self) -> str:
        return self.resource.name

    @property
    def id(self) -> str:
        return self.resource.name.rpartition("/")[2]

    @property
    def uid(self) -> str:
        return self.resource.uid

    @property
    def endpoint(self) -> tuple[str, int]:
        first = self.resource.endpoints[0]
        return first.address, first.port

    def share(self, id: str) -> str:
        return f"{self.name}/shares/{id}"

    def user(self, id: str) -> str:
        return f"{self.name}/users/{id}"

    def group(self, id: str) -> str:
        return f"{self.name}/groups/{id}"

    def smb(self, user: str, share: str, command: str, *options: str, number: int = 1, directory: str = "/") -> smb.Told:
        """smbclient as a user with his password of that number; an empty user is a guest."""
        secret = password(user, number) if user else ""
        return smb.smbclient(self.endpoint, share, user, secret, command, *options, directory=directory)
