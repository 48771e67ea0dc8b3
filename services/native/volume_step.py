"""The step that gives shares volumes of their own."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Sequence

from services.core.domain.names import Kind
from services.core.domain.operation import Verb
from services.core.domain.resource import Resource
from services.core.domain.share import ShareSpec, VolumeStorage
from services.core.errors import PathUnsuitable, PreconditionFailed, PvesmbError, StorageFull
from services.core.steps import Change, Claim, Claims, Drift, Work
from services.native.settings import NativeSettings
from services.native.volumes import Volumes, make_mount_point, remove_mount_point, rounded
from services.samba.agent import PARENT, mark, marker, opened

Share = Resource[ShareSpec]


class VolumeStep:
    """Each share that wants a volume has it mounted at its path, in its size. Deleting keeps the image file, and says
    where it is, unless the files are to be deleted too."""

    name = "volume"
    server_only = False

    def __init__(self, settings: NativeSettings, volumes: Volumes) -> None:
        self._settings = settings
        self._volumes = volumes

    def ensure(self, work: Work) -> None:
        done = set()
        for change in work.live(Kind.SHARE):
            done.add(change.resource.uid)
            if isinstance(change.resource.spec.storage, VolumeStorage):
                _each(change, lambda c: self._ensure(work, c.resource))
        if not work.whole:
            return
        for share in work.contents.shares:
            if share.uid not in done and isinstance(share.spec.storage, VolumeStorage):
                try:
                    self._ensure(work, share)
                except (PvesmbError, OSError) as error:
                    # The file server serves its other shares nevertheless; the drift check reports this one.
                    work.note(f"{share.name}: {_told(error).message}")

    def _ensure(self, work: Work, share: Share) -> None:
        volumes, uid, path = self._volumes, share.uid, str(share.assigned["path"])
        image, size = volumes.image(uid), _size(share)
        mount = volumes.mounted(path)
        existed = mount is None and os.path.lexists(path)
        claim = work.claims.put(Claim("volume", image, uid, {"path": path, "existed": existed}))
        if mount is None:
            self._prepare_path(work, share, path, existed=bool(claim.facts.get("existed")))
            if not volumes.exists(uid):
                volumes.make(uid, size, int(work.server.assigned["users_gid"]))
            elif not volumes.is_ours(uid):
                raise PathUnsuitable(f"{image} does not hold this share's volume", help="Move it away on the host.")
            work.claims.release("volume-empty", image, uid)
            volumes.mount(uid, path)
        elif mount.image != image:
            raise PathUnsuitable(f"{mount.device} is mounted on {path}", help=f"Unmount it: `umount {path}`.")
        self._resize(work.claims, share)

    def _prepare_path(self, work: Work, share: Share, path: str, *, existed: bool) -> None:
        parent, root = os.path.dirname(path), os.path.realpath(self._settings.data_root)
        if not os.path.isdir(root):
            raise PathUnsuitable(f"{root} is missing", help="Is its storage mounted? Else make the directory on the host.")
        if not os.path.lexists(parent) and share.observed_generation == 0:
            _make_parent(parent)
        if os.path.realpath(parent) != f"{root}/{work.server.name.file_server}" or not os.path.isdir(parent):
            raise PathUnsuitable(f"{parent} is missing or leads elsewhere", help="Is its storage mounted?")
        if os.path.lexists(path) and (not stat.S_ISDIR(os.lstat(path).st_mode) or os.listdir(path)):
            raise PathUnsuitable(
                f"{path} exists and is not an empty directory; a volume mounted on it would hide what is there",
                help="Move it away on the host, or give the share another id.",
            )
        if not existed:
            make_mount_point(path)

    def _resize(self, claims: Claims, share: Share) -> None:
        """Grows. A volume that is larger than wanted stays so if growing it was undone, because XFS cannot shrink; wanted
        smaller than it has ever been, it is refused."""
        volumes, uid, size = self._volumes, share.uid, _size(share)
        image, now = volumes.image(uid), volumes.size(uid)
        grown = claims.get("volume-grown", image)
        if rounded(size) > now:
            if grown is not None:
                claims.release("volume-grown", image, uid)
            claims.put(Claim("volume-grown", image, uid, {"from": now}))
        elif rounded(size) < now and (grown is None or rounded(size) < grown.facts["from"]):
            raise PreconditionFailed(
                f"the volume of {share.name} has {now} bytes and cannot shrink to {size}",
                help="Make a new share of the smaller size and move the files.",
            )
        volumes.grow(uid, str(share.assigned["path"]), size)

    def remove(self, work: Work) -> None:
        for change in work.live(Kind.SHARE):
            if isinstance(change.resource.spec.storage, VolumeStorage):
                _each(change, lambda c: self._remove(work, c))

    def _remove(self, work: Work, change: Change) -> None:
        volumes, share = self._volumes, change.resource
        uid, path, image = share.uid, str(share.assigned["path"]), volumes.image(share.uid)
        claim = work.claims.get("volume", image)
        if claim is None or claim.owner != uid:
            return
        wanted = {**work.options, **change.options}
        deletes = bool(wanted.get("delete_data")) or (
            bool(wanted.get("rollback")) and self._is_empty(work.claims, uid, path)
        )
        volumes.unmount(uid, path)
        if volumes.mounted(path) is None and not claim.facts.get("existed"):
            remove_mount_point(path)
            _remove_parent(os.path.dirname(path))
        if deletes:
            volumes.delete(uid)
        elif volumes.exists(uid):
            change.notes.append(f"the files of {share.name} are kept in {image} (`mount -o loop,ro` opens it)")
        for kind in ("volume-empty", "volume-grown", "volume"):
            work.claims.release(kind, image, uid)

    def _is_empty(self, claims: Claims, uid: str, path: str) -> bool:
        """Whether nothing would be lost. An interrupted creation may have left the image unmounted: then it is mounted once
        more to see. That it was empty is remembered, because an interrupted removal leaves no place to mount it on; it is
        looked into again wherever it is mounted, since it may have been used until now."""
        volumes, image = self._volumes, self._volumes.image(uid)
        if not volumes.exists(uid):
            return True
        mount = volumes.mounted(path)
        if mount is None:
            if claims.get("volume-empty", image) is not None:
                return True
            if not os.path.isdir(os.path.dirname(path)):
                return False
            if not os.path.isdir(path):
                make_mount_point(path)
            volumes.mount(uid, path)
        elif mount.image != image:
            return False
        if os.listdir(path):
            claims.release("volume-empty", image, uid)
            return False
        claims.put(Claim("volume-empty", image, uid))
        return True

    def drifts(self, shares: Sequence[Share]) -> list[Drift]:
        """Volumes that are not mounted, or too small."""
        found = []
        for share in shares:
            if isinstance(share.spec.storage, VolumeStorage):
                mount = self._volumes.mounted(str(share.assigned["path"]))
                if mount is None or mount.image != self._volumes.image(share.uid):
                    found.append(Drift(share.name, "its volume is not mounted"))
                elif self._volumes.size(share.uid) < rounded(_size(share)):
                    found.append(Drift(share.name, "its volume is smaller than wanted"))
        return found

    def effects(self, work: Work) -> list[str]:
        """What `ensure` or `remove` would do, for a plan; raises what `ensure` would raise for want of space."""
        said = []
        for change in work.live(Kind.SHARE):
            share = change.resource
            if not isinstance(share.spec.storage, VolumeStorage):
                continue
            image, size = self._volumes.image(share.uid), rounded(_size(share))
            exists = self._volumes.exists(share.uid)
            if change.verb is Verb.DELETE:
                deletes = {**work.options, **change.options}.get("delete_data")
                said.append(f"volume {image} is {'deleted' if deletes else 'unmounted and kept'}")
            elif not exists:
                self._volumes.check_space(size)
                said.append(f"volume {image} of {size} bytes is made and mounted on {share.assigned['path']}")
            elif (now := self._volumes.size(share.uid)) < size:
                self._volumes.check_space(size - now)
                said.append(f"volume {image} grows from {now} to {size} bytes")
        return said


def _size(share: Share) -> int:
    assert isinstance(share.spec.storage, VolumeStorage)
    return share.spec.storage.size_bytes


def _make_parent(path: str) -> None:
    """The directory above the default places of shares, with the mark by which it may be removed again."""
    os.mkdir(path)
    with opened(path) as fd:
        os.fchmod(fd, 0o755)
        mark(fd, PARENT)


def _remove_parent(path: str) -> None:
    """Removes it if it was made by us and is empty."""
    with contextlib.suppress(OSError):
        with opened(path) as fd:
            ours = marker(fd) == PARENT
        if ours:
            os.rmdir(path)


def _each(change: Change, act: Callable[[Change], None]) -> None:
    """One share's error is its own."""
    try:
        act(change)
    except (PvesmbError, OSError) as error:
        change.error = _told(error)


def _told(error: PvesmbError | OSError) -> PvesmbError:
    """An error of the system, such as that of a mount that has gone bad, told by its consequence."""
    if isinstance(error, PvesmbError):
        return error
    what = f"{error.filename or 'the volume'}: {os.strerror(error.errno or 0)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(what)
    return PathUnsuitable(what, help="See `dmesg` and the storage of the volumes on the host.")
