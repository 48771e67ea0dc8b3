"""File servers and shares of each kind, made through the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pvesmb

from tests.e2e.conformance.smbtorture import HIDEUNREAD_SHARE, NOPERM_SHARE, OTHER_USER, SECOND_SHARE, USER
from tests.e2e.deployment import Deployment
from tests.e2e.words import Server, user_rule, users

#: What the safe defaults forbid, allowed: sessions without encryption, SMB 2.1, guests.
OPEN = pvesmb.SmbSettings(
    encryption=pvesmb.Demand.DEMAND_OFF, min_protocol=pvesmb.SmbSettings.DIALECT_SMB2_10, allow_guests=True
)
#: Options of the site that keep permissions and streams as Windows has them: "Permissions" in docs/ARCHITECTURE.md.
WINDOWS_LIKE = {
    "vfs objects": "acl_xattr streams_xattr",
    "acl_xattr:ignore system acls": "yes",
    "acl_xattr:default acl style": "everyone",
}


@dataclass(frozen=True)
class Target:
    """A file server of a kind. Every suite gets a share of its own, so that none meets what another has left."""

    deployment: Deployment
    server: Server
    template: pvesmb.Share
    mode: int = 0

    def share(self, suite: str) -> str:
        self.deployment.client.shares.create(self.server.name, suite, self.template).result(timeout=60)
        if self.mode:
            self.deployment.files(self.server, suite).chmod(self.mode)
        return suite


@contextmanager
def default(deployment: Deployment) -> Iterator[Target]:
    """Everything as the product makes it."""
    with _target(deployment, pvesmb.SmbSettings(), _share()) as target:
        yield target


@contextmanager
def opened(deployment: Deployment) -> Iterator[Target]:
    """The same, but OPEN."""
    with _target(deployment, OPEN, _share(guest_access=pvesmb.GuestAccess.GUEST_ACCESS_READ_WRITE)) as target:
        yield target


@contextmanager
def windows_like(deployment: Deployment) -> Iterator[Target]:
    """OPEN, on a backend whose site options are WINDOWS_LIKE, and with locks that local programs do not see."""
    share = _share(
        guest_access=pvesmb.GuestAccess.GUEST_ACCESS_READ_WRITE,
        smb_options={"kernel share modes": "no", "posix locking": "no"},
    )
    with _target(deployment, OPEN, share, 0o2777) as target:
        yield target


def _share(**fields: Any) -> pvesmb.Share:
    return pvesmb.Share(access=[user_rule(USER), user_rule(OTHER_USER)], **fields)


@contextmanager
def _target(deployment: Deployment, smb: pvesmb.SmbSettings, template: pvesmb.Share, mode: int = 0) -> Iterator[Target]:
    """Directories have the mode, if one is given: by their spec, or by hand where a volume is all that there is."""
    deployment.running()
    hiding, closed = pvesmb.Share(), pvesmb.Share(access=template.access)
    if deployment.directories:
        closed.directory.mode = "0000"
        if mode:
            template.directory.mode = f"{mode:o}"
    hiding.CopyFrom(template)
    hiding.smb_options["hide unreadable"] = "yes"
    server = deployment.new_server(
        smb=smb,
        users=users(USER, OTHER_USER),
        shares={SECOND_SHARE: template, HIDEUNREAD_SHARE: hiding, NOPERM_SHARE: closed},
    )
    by_hand = {NOPERM_SHARE: 0, **({SECOND_SHARE: mode, HIDEUNREAD_SHARE: mode} if mode else {})}
    for share, bits in by_hand.items() if not deployment.directories else ():
        deployment.files(server, share).chmod(bits)
    yield Target(deployment, server, template, 0 if deployment.directories else mode)
    deployment.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)
