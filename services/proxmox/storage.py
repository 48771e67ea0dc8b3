"""Storages of a node and what lies on them: templates and volumes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.core.errors import PvesmbError
from services.proxmox.failures import Kind, kind_of
from services.proxmox.session import Api, Value
from services.proxmox.tasks import Upid

_UPLOAD_TIMEOUT = 900.0
_READ_TIMEOUT = 30.0


@dataclass(frozen=True)
class Storage:
    """A storage as one node sees it; sizes in bytes, 0 while it is not active."""

    name: str
    type: str
    content: frozenset[str]
    active: bool
    total: int
    available: int


@dataclass(frozen=True)
class Stored:
    """A volume, template or image. `vmid` is the guest that it belongs to, 0 for none; `ctime` is when it was made, in
    seconds since the epoch, 0 where the storage does not say."""

    volid: str
    size: int
    content: str
    vmid: int = 0
    ctime: int = 0

    @property
    def storage(self) -> str:
        return self.volid.partition(":")[0]


def list_storages(api: Api, node: str) -> list[Storage]:
    """Those on which the login may do anything: Proxmox leaves out the others without a word."""
    got = api.call("GET", ("nodes", node, "storage"), timeout=_READ_TIMEOUT)
    return [
        Storage(
            str(each["storage"]),
            str(each.get("type", "")),
            frozenset(filter(None, str(each.get("content", "")).split(","))),
            bool(int(each.get("active") or 0)) and bool(int(each.get("enabled", 1) or 0)),
            int(each.get("total") or 0),
            int(each.get("avail") or 0),
        )
        for each in got
    ]


def list_stored(api: Api, node: str, storage: str, *, content: str = "", vmid: int = 0) -> list[Stored]:
    """What lies there, of one kind (`vztmpl`, `rootdir`) or of one guest if asked so."""
    params = {"content": content or None, "vmid": vmid or None}
    path = ("nodes", node, "storage", storage, "content")
    needs = f"Datastore.Audit on /storage/{storage}"
    got = api.call("GET", path, params, subject=f"storage {storage}", needs=needs, timeout=_READ_TIMEOUT)
    return [
        Stored(
            str(each["volid"]),
            int(each.get("size") or 0),
            str(each.get("content", "")),
            int(each.get("vmid") or 0),
            int(each.get("ctime") or 0),
        )
        for each in got
    ]


def upload_template(api: Api, node: str, storage: str, path: str) -> Upid:
    """Sends a container template under its own file name, which replaces one of that name. The node checks its SHA-256
    before it puts it in place. The file is streamed: it need not fit into memory."""
    with open(path, "rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        params: dict[str, Value] = {
            "content": "vztmpl",
            "checksum": checksum,
            "checksum-algorithm": "sha256",
            "filename": file,
        }
        where = ("nodes", node, "storage", storage, "upload")
        needs = f"Datastore.AllocateTemplate on /storage/{storage}"
        subject = f"upload to storage {storage}"
        return Upid.parse(api.call("POST", where, params, subject=subject, needs=needs, timeout=_UPLOAD_TIMEOUT))


def delete_stored(api: Api, node: str, volid: str) -> Upid | None:
    """Deletes a template or volume; a missing one is no error. It takes Datastore.Allocate, which the least login does not
    have: volumes of a guest go with `volumes.destroy_detached` or with the guest."""
    storage = volid.partition(":")[0]
    path = ("nodes", node, "storage", storage, "content", volid)
    needs = f"Datastore.Allocate on /storage/{storage}"
    try:
        got = api.call("DELETE", path, subject=f"deletion of {volid}", needs=needs)
    except PvesmbError as error:
        if kind_of(error) is not Kind.NO_VOLUME:
            raise
        return None
    return Upid.parse(got) if got else None
