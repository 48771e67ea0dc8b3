"""Guest ids: found free, claimed by us, and still not ours until the create call has won."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from services.core.errors import LimitReached, PvesmbError
from services.proxmox.failures import Kind, kind_of
from services.proxmox.session import Api

_HIGHEST_ID = 999_999_999
_READ_TIMEOUT = 30.0


def next_id(api: Api) -> int:
    """The lowest free id of the cluster; nothing is reserved."""
    return int(api.call("GET", ("cluster", "nextid"), timeout=_READ_TIMEOUT))


def is_free(api: Api, vmid: int) -> bool:
    """Whether no guest of the cluster has this id, as far as the login may know: it is told of foreign guests too."""
    try:
        api.call("GET", ("cluster", "nextid"), {"vmid": vmid}, timeout=_READ_TIMEOUT)
    except PvesmbError as error:
        if kind_of(error) is not Kind.ID_TAKEN:
            raise
        return False
    return True


def free_ids(api: Api, tries: int = 200) -> Iterator[int]:
    """Free ids from the lowest up, each asked for when it is wanted."""
    vmid = next_id(api)
    for _ in range(tries):
        if vmid > _HIGHEST_ID:
            return
        if is_free(api, vmid):
            yield vmid
        vmid += 1


def pick_id(api: Api, claim: Callable[[int], bool]) -> int:
    """The first free id that `claim` takes. A claim is ours only: a foreign guest may still take the id before our create,
    which then fails with `ID_TAKEN`, and one picks again."""
    for vmid in free_ids(api):
        if claim(vmid):
            return vmid
    raise LimitReached("no free guest id was found", help="See which ids are in use, and try again.")
