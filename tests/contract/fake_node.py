"""fakepve as a node that gives us the least rights: who we are there, and what it has."""

from __future__ import annotations

from fakepve import FakePve

from services.proxmox.logins import Token

TOKEN = Token("smbgw@pve", "gw", "11111111-2222-3333-4444-555555555555")
TEMPLATE = "local:vztmpl/debian-12-smb_1_amd64.tar.zst"


def grant(pve: FakePve, path: str, *privileges: str) -> None:
    """To user and token: the fake adds their rights up where a real node intersects them."""
    for who in (TOKEN.user, f"{TOKEN.user}!{TOKEN.name}"):
        pve.grant(who, path, *privileges)


def revoke(pve: FakePve, path: str, privilege: str) -> None:
    assert pve.acl is not None
    for who in (TOKEN.user, f"{TOKEN.user}!{TOKEN.name}"):
        pve.acl[who] = [(where, set(has) - {privilege} if where == path else has) for where, has in pve.acl[who]]
