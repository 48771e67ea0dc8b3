"""The product as these tests see it, whatever the mode: what they may do to it, and what they can see from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

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


class Deployment(Protocol):
    """One backend behind one gateway, with a client of it. Whoever has one may stop and start its parts at will; `running`
    puts that right for the next test."""

    @property
    def backend(self) -> str:
        """`backends/{backend}`."""

    @property
    def client(self) -> pvesmb.Client:
        """Speaks to the gateway."""

    @property
    def state(self) -> Path:
        """All that the processes write."""

    def start(self) -> None:
        """Starts the backend and returns when it serves."""

    def stop(self) -> int:
        """SIGTERM to the backend; its exit status."""

    def kill(self) -> None:
        """SIGKILL to the backend."""

    def running(self) -> None:
        """Starts what does not run."""

    def close(self) -> None:
        """Ends and removes everything."""

    def spec(self, **fields: object) -> pvesmb.FileServer:
        """A new file server of this mode, at an address of its own."""

    def new_server(
        self,
        *,
        shares: Mapping[str, pvesmb.Share] | None = None,
        users: Mapping[str, pvesmb.User] | None = None,
        groups: Mapping[str, pvesmb.Group] | None = None,
        **fields: object,
    ) -> Server:
        """Makes one, under a new id; `fields` are those of the file server."""

    def traces(self, id: str, resource: pvesmb.FileServer) -> Sequence[str]:
        """Everything that a file server of this id and spec has left outside the store and in it: processes, directories,
        mounts, listeners, claims. Empty when nothing is left."""

    def metrics(self) -> Mapping[str, str]:
        """The text of /metrics of each process."""
