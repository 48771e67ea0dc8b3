"""The step that gives shares their volumes, and directories of the node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from services.core.domain.names import Kind
from services.core.domain.operation import Verb
from services.core.domain.resource import Resource
from services.core.domain.share import HostPathStorage, ShareSpec, VolumeStorage
from services.core.errors import FeatureNotAvailable, PathUnsuitable, PreconditionFailed, PvesmbError
from services.core.ports import Host
from services.core.steps import Change, Claim, Claims, Drift, Work
from services.lxc.container_step import gone
from services.lxc.known import guest_of
from services.lxc.settings import LxcSettings
from services.lxc.space import require_space
from services.lxc.whereabouts import guest_now
from services.proxmox import tasks
from services.proxmox.containers import Config, Guest, configure, find, read_config
from services.proxmox.mounts import HostPath, NewVolume
from services.proxmox.session import Api
from services.proxmox.volumes import (
    add_host_path,
    add_volume,
    destroy_detached,
    detach_volume,
    grow_volume,
    mounted_at,
)
from services.samba.apply import DELETE_TIMEOUT
from services.samba.instance import Server

Share = Resource[ShareSpec]
GROW_TIMEOUT = 600.0
NEEDS_ROOT = (
    "needs a password login of root@pam in the backend's configuration: "
    "Proxmox VE lets no API token bring a directory of the node into a container"
)


class VolumeStep:
    """Each share has its volume, mounted at its path, in its size. A running container takes on a volume at once, but lets
    go of it only at its next start (Proxmox VE 8 and 9 keep the deletion of `mpN` pending): a deleted share's volume is
    destroyed then, its files go at once. `root` is a session of root@pam, which alone may bring in directories of the node;
    `host` reaches the container."""

    name = "volume"
    server_only = False

    def __init__(self, settings: LxcSettings, api: Api, root: Api | None, host: Callable[[Server], Host]) -> None:
        self._settings = settings
        self._api = api
        self._root = root
        self._host = host

    def ensure(self, work: Work) -> None:
        if work.whole:
            guest = guest_of(work.claims, work.server.uid)
        else:
            guest, config = guest_now(self._api, work.claims, work.server.uid)
            if config is None or config.owner != work.server.uid:
                raise gone(guest, config)
        done = set()
        for change in work.live(Kind.SHARE):
            done.add(change.resource.uid)
            _each(change, lambda c: self._ensure(work, guest, c.resource))
        if not work.whole:
            return
        for share in work.contents.shares:
            if share.uid not in done:
                try:
                    self._ensure(work, guest, share)
                except PvesmbError as error:
                    # The file server serves its other shares nevertheless; the drift check reports this one.
                    work.note(f"{share.name}: {error.message}")
        self._sweep(work, guest)

    def _ensure(self, work: Work, guest: Guest, share: Share) -> None:
        path, storage = str(share.assigned["path"]), share.spec.storage
        config = read_config(self._api, guest)
        mounted = mounted_at(config, path)
        if isinstance(storage, HostPathStorage):
            if mounted is None:
                self._bring_in(guest, config, HostPath(storage.path, path))
            return
        assert isinstance(storage, VolumeStorage)
        if mounted is None:
            self._make(work, guest, config, share, storage)
        work.claims.put(Claim("volume-made", _place(guest, path), share.uid))
        if mounted is not None and (more := storage.size_bytes - mounted[1].size_bytes) > 0:
            require_space(self._api, self._settings, guest.node, mounted[1].storage, more)
            if (upid := grow_volume(self._api, guest, path, storage.size_bytes)) is not None:
                tasks.wait(self._api, upid, timeout=GROW_TIMEOUT, cancelled=work.cancelled)

    def _make(self, work: Work, guest: Guest, config: Config, share: Share, storage: VolumeStorage) -> None:
        """Never a second time: an empty volume in the place of one that is gone would look as if the files were lost."""
        path, where = str(share.assigned["path"]), storage.storage or self._settings.volume_storage
        if work.claims.get("volume-made", _place(guest, path)) is not None:
            raise PreconditionFailed(
                f"the volume of {share.name} was taken out of {guest.subject} on the node",
                help=f"Put it back with mp={path}, or delete the share.",
            )
        work.claims.put(Claim("volume", _place(guest, path), share.uid))
        require_space(self._api, self._settings, guest.node, where, storage.size_bytes)
        with unprotected(self._api, guest, config):
            add_volume(self._api, guest, NewVolume(where, storage.size_bytes, path, storage.backup))

    def _bring_in(self, guest: Guest, config: Config, new: HostPath) -> None:
        if self._root is None:
            raise FeatureNotAvailable.of("host_path", NEEDS_ROOT)
        with unprotected(self._api, guest, config):
            add_host_path(self._root, guest, new)

    def remove(self, work: Work) -> None:
        if not work.whole:
            guest, _ = guest_now(self._api, work.claims, work.server.uid)
            for change in work.live(Kind.SHARE):
                _each(change, lambda c: self._remove(work, guest, c))
            return
        # All volumes go with the container.
        for change in work.live(Kind.SHARE):
            _release(work.claims, change.resource)

    def _remove(self, work: Work, guest: Guest, change: Change) -> None:
        share, owner = change.resource, work.server.uid
        path, api = str(share.assigned["path"]), self._api
        deletes = any({**work.options, **change.options}.get(option) for option in ("delete_data", "rollback"))
        config = find(api, guest)
        mounted = mounted_at(config, path) if config is not None and config.owner == owner else None
        if config is not None and mounted is not None:
            volume = mounted[1].volume
            if isinstance(share.spec.storage, HostPathStorage):
                with unprotected(api, guest, config):
                    detach_volume(self._root or api, guest, path)
                change.notes.append(f"{volume} and what is in it stay on the node")
            else:
                kind = "volume-doomed" if deletes else "volume-kept"
                work.claims.put(Claim(kind, f"{guest.vmid}:{volume}", owner))
                try:
                    with unprotected(api, guest, config):
                        detached = detach_volume(api, guest, path)
                except PvesmbError:
                    work.claims.release(kind, f"{guest.vmid}:{volume}", owner)
                    raise
                if deletes and detached:
                    self._destroy(work.claims, owner, guest, volume)
                elif deletes:
                    if not {**work.options, **change.options}.get("rollback"):
                        self._empty(work.server, path)
                    change.notes.append(f"volume {volume} is destroyed when {guest.subject} has been restarted")
                else:
                    change.notes.append(f"the files of {share.name} are kept in volume {volume} of {guest.subject}")
        _release(work.claims, share)

    def _empty(self, server: Server, path: str) -> None:
        """Takes the files away from a volume that nobody is served any more."""
        done = self._host(server).run(["find", path, "-xdev", "-mindepth", "1", "-delete"], timeout=DELETE_TIMEOUT)
        if done.returncode:
            told = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise PathUnsuitable(f"the files in {path} could not be deleted: {' '.join(told)}")

    def _sweep(self, work: Work, guest: Guest) -> None:
        """Destroys the volumes of deleted shares that the container has let go of."""
        for volume in self._loose(work.claims, work.server.uid, read_config(self._api, guest)):
            self._destroy(work.claims, work.server.uid, guest, volume)

    def _loose(self, claims: Claims, owner: str, config: Config) -> list[str]:
        doomed = [c.value.partition(":")[2] for c in claims.of(owner) if c.kind == "volume-doomed"]
        held = {mount.volume for key, mount in config.mounts.items() if not key.startswith("unused")}
        return [volume for volume in doomed if volume not in held]

    def _destroy(self, claims: Claims, owner: str, guest: Guest, volume: str) -> None:
        with unprotected(self._api, guest, read_config(self._api, guest)):
            destroy_detached(self._api, guest, volume)
        claims.release("volume-doomed", f"{guest.vmid}:{volume}", owner)

    # What it is like

    def drifts(self, work: Work, config: Config) -> list[Drift]:
        """Volumes that are missing or too small, and those that can be destroyed now."""
        found = []
        for share in work.contents.shares:
            mounted = mounted_at(config, str(share.assigned["path"]))
            storage = share.spec.storage
            if mounted is None:
                found.append(Drift(share.name, "its volume is not mounted"))
            elif isinstance(storage, VolumeStorage) and mounted[1].size_bytes < storage.size_bytes:
                found.append(Drift(share.name, "its volume is smaller than wanted"))
        loose = self._loose(work.claims, work.server.uid, config)
        return found + [Drift(work.server.name, f"volume {volume} of a deleted share is still there") for volume in loose]

    def effects(self, work: Work, node: str, config: Config | None) -> list[str]:
        """What `ensure` or `remove` would do on this node, for a plan; raises what `ensure` would for want of space."""
        said = []
        for change in work.live(Kind.SHARE):
            storage, path = change.resource.spec.storage, str(change.resource.assigned["path"])
            mounted = mounted_at(config, path) if config is not None else None
            if isinstance(storage, HostPathStorage):
                gone = change.verb is Verb.DELETE
                said.append(f"{storage.path} of the node is {'taken out' if gone else f'brought in at {path}'}")
            elif not isinstance(storage, VolumeStorage):
                continue
            elif change.verb is Verb.DELETE:
                deletes = {**work.options, **change.options}.get("delete_data")
                name = mounted[1].volume if mounted else f"at {path}"
                said.append(f"volume {name} is {'destroyed' if deletes else 'kept'} when the container has been restarted")
            else:
                where = mounted[1].storage if mounted else storage.storage or self._settings.volume_storage
                now = mounted[1].size_bytes if mounted else 0
                if storage.size_bytes > now:
                    require_space(self._api, self._settings, node, where, storage.size_bytes - now)
                    new = NewVolume(where, storage.size_bytes, path, storage.backup)
                    said.append(f"volume grows to {storage.size_bytes} bytes" if mounted else f"volume mpN={new.text()}")
        return said


@contextmanager
def unprotected(api: Api, guest: Guest, config: Config) -> Iterator[None]:
    """Proxmox VE lets nobody change the volumes of a protected container, even add one: the protection is taken off for so
    long. One that stays off because we ended meanwhile is put back by the container's own step."""
    if not config.raw.get("protection"):
        yield
        return
    configure(api, guest, {}, delete=["protection"])
    try:
        yield
    finally:
        configure(api, guest, {"protection": True})


def kept_volumes(claims: Claims, uid: str) -> Sequence[str]:
    """Volumes with files of deleted shares, which would go with the container."""
    return [claim.value.partition(":")[2] for claim in claims.of(uid) if claim.kind == "volume-kept"]


def _place(guest: Guest, path: str) -> str:
    return f"{guest.vmid}:{path}"


def _release(claims: Claims, share: Share) -> None:
    for claim in claims.of(share.uid):
        if claim.kind in ("volume-made", "volume"):
            claims.release(claim.kind, claim.value, share.uid)


def _each(change: Change, act: Callable[[Change], None]) -> None:
    """One share's error is its own."""
    try:
        act(change)
    except PvesmbError as error:
        change.error = error
