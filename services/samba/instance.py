"""What the Samba steps must be told about a file server by its mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.core.domain.file_server import FileServerSpec
from services.core.domain.resource import Resource
from services.core.ports import Host
from services.samba.layout import Layout

#: Group that all users of a file server are in; its members own new files together.
USERS_GROUP = "pvesmb-users"
#: Account that a guest acts as.
GUEST_USER = "pvesmb-guest"
#: Account with rights on nothing but the probe share: it asks the running server whether it serves a share.
PROBE_USER = "pvesmb-probe"

Server = Resource[FileServerSpec]


class Instances(Protocol):
    """How a mode reaches the Samba instance of a file server. `server.assigned` holds `users_gid`, `guest_uid` and
    `probe_uid`; a user's and a group's `assigned` hold `unix_id`, a share's holds `path`."""

    def host(self, server: Server) -> Host:
        """Where its commands run."""

    def layout(self, server: Server) -> Layout:
        """Where its things are on that host."""

    def endpoints(self, server: Server) -> Sequence[tuple[str, int]]:
        """Addresses and ports where it listens, as clients reach them."""

    def probe_password(self, server: Server) -> str:
        """The password of PROBE_USER; the same at each call."""

    def roots(self, server: Server) -> Sequence[str]:
        """Directories of the host below which share directories may lie."""
