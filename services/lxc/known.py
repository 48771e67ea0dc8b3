"""What we know of a file server's container: kept as claims, which outlive the process and go with the container.

| kind | value | facts |
|---|---|---|
| `guest` | the guest id | `node`, `template`: claimed before the container is made |
| `container` | the guest id | that it was made: from now on it is never made anew |
| `moved` | uid of the file server | `node`: where the container is by now, if it was migrated |
| `host-key` | uid of the file server | `key`: the SSH host key seen at first contact |
| `endpoint` | uid of the file server | `addresses`: where clients reach it |
| `volume` | guest id and mount point | of a share: its volume, claimed before it is made |
| `volume-made` | guest id and mount point | of a share: that it was made: from now on it is never made anew |
| `volume-kept` | guest id and volume | of a file server: a share's volume that outlived its share |
| `volume-doomed` | guest id and volume | of a file server: one that is destroyed as soon as the container lets go of it |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.errors import HostUnreachable
from services.core.steps import Claim, Claims
from services.proxmox.containers import Guest

_OF_THE_CONTAINER = ("moved", "host-key", "endpoint", "volume-kept", "volume-doomed", "container", "guest")


@dataclass(frozen=True)
class Known:
    """`made`: it was there once."""

    guest: Guest
    made: bool


def known(claims: Claims, uid: str) -> Known | None:
    mine = {claim.kind: claim for claim in claims.of(uid)}
    if (claim := mine.get("guest")) is None:
        return None
    node = mine.get("moved", claim).facts["node"]
    return Known(Guest(str(node), int(claim.value)), "container" in mine)


def note_node(claims: Claims, uid: str, node: str) -> None:
    """If we end in between, it is found again."""
    claims.release("moved", uid, uid)
    claims.put(Claim("moved", uid, uid, {"node": node}))


def guest_of(claims: Claims, uid: str) -> Guest:
    """The container of a file server that has one."""
    found = known(claims, uid)
    if found is None or not found.made:
        raise HostUnreachable("the file server has no container yet", help="Wait for the operation that makes it.")
    return found.guest


def addresses(claims: Claims, uid: str) -> Sequence[str]:
    """Where it was last seen, the one that we use ourselves first; empty before."""
    claim = claims.get("endpoint", uid)
    return tuple(claim.facts["addresses"]) if claim is not None else ()


def note_addresses(claims: Claims, uid: str, seen: Sequence[str]) -> None:
    if tuple(seen) != tuple(addresses(claims, uid)):
        claims.release("endpoint", uid, uid)
        claims.put(Claim("endpoint", uid, uid, {"addresses": list(seen)}))


def host_key(claims: Claims, uid: str) -> str | None:
    claim = claims.get("host-key", uid)
    return str(claim.facts["key"]) if claim is not None else None


def pin_host_key(claims: Claims, uid: str, key: str) -> None:
    claims.put(Claim("host-key", uid, uid, {"key": key}))


def forget(claims: Claims, uid: str) -> None:
    """The container is gone: nothing is known of it any more. The guest id goes last."""
    mine = claims.of(uid)
    for kind in _OF_THE_CONTAINER:
        for claim in mine:
            if claim.kind == kind:
                claims.release(kind, claim.value, uid)
