"""Whether a storage has room for what is about to be put on it."""

from __future__ import annotations

from services.core.errors import PreconditionFailed, StorageFull
from services.lxc.settings import LxcSettings
from services.proxmox.session import Api
from services.proxmox.storage import list_storages


def require_space(api: Api, settings: LxcSettings, node: str, storage: str, size: int) -> None:
    """Refuses a volume that is larger than what the storage has free, where sizes shall hold."""
    if not settings.overcommit:
        help = "Free space, choose another storage or a smaller size, or allow `overcommit` in the configuration."
        require_free(api, node, storage, size, help)


def require_free(api: Api, node: str, storage: str, size: int, help: str) -> None:
    """Refuses what does not fit; `help` says what can be done then."""
    there = next((each for each in list_storages(api, node) if each.name == storage), None)
    if there is None:
        raise PreconditionFailed(
            f"storage {storage} is not on node {node}, or the login may not see it",
            help="Choose one that `pvesm status` shows, and grant Datastore.Audit on it.",
        )
    if there.active and there.available < size:
        raise StorageFull(
            f"storage {storage} has {there.available} bytes free; {size} are wanted",
            help=help,
            metadata={"storage": storage},
        )
