"""The step that makes, keeps and removes the container itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from services.core.errors import LimitReached, PreconditionFailed, ProxmoxFailed, PvesmbError
from services.core.steps import Claim, Claims, Work
from services.lxc.known import Known, forget, known
from services.lxc.settings import LxcSettings, deployment
from services.lxc.space import require_space
from services.lxc.whereabouts import locate
from services.proxmox import containers, nodes, tasks
from services.proxmox.containers import Config, Guest
from services.proxmox.failures import Kind, kind_of, may_have_happened
from services.proxmox.ids import is_free, pick_id
from services.proxmox.preflight import held_privileges
from services.proxmox.session import Api, Value
from services.proxmox.volumes import grow_root
from services.samba.instance import Server

#: Unpacking a template onto a slow storage takes its minutes.
CREATE_TIMEOUT = 900.0
DESTROY_TIMEOUT = 300.0
#: For a call whose answer was lost to show what it has done.
LOST_SECONDS = 10.0
_RACES = 50
#: After which a container may be there, or come. None is no answer of the node's.
_UNDECIDED = (
    None,
    Kind.UNREACHABLE,
    Kind.TIMEOUT,
    Kind.DROPPED,
    Kind.NOT_PROXMOX,
    Kind.UNTRUSTED,
    Kind.TASK_LOST,
)


class ContainerStep:
    """The container exists, is ours, and has the options that the file server wants. `template` chooses what it is made
    from, as a volume id; `key` gives the SSH key that may log in, as a line; `lost_seconds` is how long a call whose answer
    was lost has to show what it has done; `forgotten` is told the uid of a file server whose container is gone."""

    name = "container"
    server_only = True

    def __init__(
        self,
        settings: LxcSettings,
        api: Api,
        template: Callable[[Server], str],
        key: Callable[[str], str],
        lost_seconds: float = LOST_SECONDS,
        forgotten: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._forgotten = forgotten
        self._lost_seconds = lost_seconds
        self._settings = settings
        self._api = api
        self._template = template
        self._key = key

    def ensure(self, work: Work) -> None:
        uid = work.server.uid
        found = known(work.claims, uid)
        if found is None:
            self._create(work)
            return
        guest, config = self.look(work, found)
        if config is not None and config.owner == uid:
            self._note_made(work, guest)
            self._adapt(work, guest)
        elif found.made:
            raise gone(guest, config)
        else:
            self._forget(work.claims, uid)
            self._create(work)

    def look(self, work: Work, found: Known) -> tuple[Guest, Config | None]:
        """It and its configuration. A task that is making it, started by a process that ended perhaps, is waited for. One
        that was never made is not there either if a guest has the id that a pool's login may not see."""
        try:
            if not found.made:
                self._await_tasks(found.guest, there=True)
            return locate(self._api, work.claims, work.server.uid, found)
        except PvesmbError as error:
            if found.made or kind_of(error) is not Kind.PRIVILEGE or not self._sees_own():
                raise
            return found.guest, None

    def _sees_own(self) -> bool:
        """Whether what the login may not look at is surely not ours."""
        pool = self._settings.pool
        return bool(pool) and "VM.Audit" in held_privileges(self._api, f"/pool/{pool}")

    def _create(self, work: Work) -> None:
        server, placement = work.server, deployment(work.server.spec).placement
        node, template = self._settings.node_of(server.spec), self._template(server)
        self.check_room(server, node, None)
        for _ in range(_RACES):
            guest = Guest(node, self._claim_id(work, node, template, placement.vmid))
            try:
                self._make(work, guest, template)
            except PvesmbError as error:
                if kind_of(error) is not Kind.ID_TAKEN:
                    if self._surely_not_there(guest, error):
                        work.claims.release("guest", str(guest.vmid), server.uid)
                    raise
                work.claims.release("guest", str(guest.vmid), server.uid)
                if placement.vmid:
                    raise _taken(placement.vmid) from None
                continue
            self._note_made(work, guest)
            return
        raise LimitReached("every guest id that was free had been taken a moment later", help="Try again.")

    def _surely_not_there(self, guest: Guest, error: PvesmbError) -> bool:
        """Whether the node itself has refused, and holds nothing: then nobody has to wait for what may still come of it."""
        if kind_of(error) in _UNDECIDED:
            return False
        try:
            return containers.find(self._api, guest) is None
        except PvesmbError:
            return False

    def _claim_id(self, work: Work, node: str, template: str, wanted: int) -> int:
        def claim(vmid: int) -> bool:
            try:
                work.claims.put(Claim("guest", str(vmid), work.server.uid, {"node": node, "template": template}))
            except PreconditionFailed:
                return False
            return True

        if not wanted:
            return pick_id(self._api, claim)
        self.check_id(work.server)
        if not claim(wanted):
            raise _taken(wanted)
        return wanted

    def _make(self, work: Work, guest: Guest, template: str) -> None:
        """Makes it, and is not deceived by an answer that was lost: what counts is whether it is there, and ours."""
        new = self._settings.container(work.server, template, self._key(work.server.uid))
        try:
            upid = containers.create(self._api, guest, new)
            tasks.wait(self._api, upid, timeout=CREATE_TIMEOUT, cancelled=work.cancelled)
        except PvesmbError as error:
            if not (may_have_happened(error) or kind_of(error) is Kind.TASK_LOST):
                raise
            _, config = self.look(work, Known(guest, made=False))
            if config is None or config.owner != work.server.uid:
                raise

    def _await_tasks(self, guest: Guest, *, there: bool) -> None:
        """Until no task of ours works on this id any more, however they end, and something is `there`, or nothing is any
        more, or time is over."""
        end, pause = time.monotonic() + self._lost_seconds, 0.1
        while True:
            for upid in tasks.active(self._api, guest.node, guest.vmid):
                try:
                    tasks.wait(self._api, upid, timeout=CREATE_TIMEOUT)
                except PvesmbError as error:
                    if may_have_happened(error):
                        raise
            config = containers.find(self._api, guest)
            if there == (config is not None and config.lock != "create") or time.monotonic() > end:
                return
            time.sleep(pause)
            pause = min(pause * 2, 2.0)

    def _note_made(self, work: Work, guest: Guest) -> None:
        work.claims.put(Claim("container", str(guest.vmid), work.server.uid))

    def check_room(self, server: Server, node: str, now: Config | None) -> None:
        """Refuses what the node could never run, as far as the token may know its size: Proxmox VE makes such a container,
        which then does not start, or takes memory from everybody. `node` is where it shall be or is, `now` the container as
        it is, if there is one: what it has already is not weighed again."""
        new = self._settings.container(server, "", "")
        had = (int(now.raw.get("cores") or 0), int(now.raw.get("memory") or 0)) if now is not None else (0, 0)
        if new.cores > had[0] or new.memory_mib > had[1]:
            size = nodes.size(self._api, node)
            if size is not None and (new.cores > size.cores or new.memory_mib > size.memory_mib):
                raise PreconditionFailed(
                    f"the node has {size.cores} cores and {size.memory_mib} MiB of memory; "
                    f"wanted are {new.cores} and {new.memory_mib}",
                    help="Ask for less, or choose a larger node.",
                )
        wanted, have = new.rootfs.size_bytes, now.mounts["rootfs"] if now is not None else None
        if have is None:
            require_space(self._api, self._settings, node, new.rootfs.storage, wanted)
        elif deployment(server.spec).placement.system_disk_bytes > have.size_bytes:
            require_space(self._api, self._settings, node, have.storage, wanted - have.size_bytes)

    def check_id(self, server: Server) -> None:
        """Refuses a guest id that was asked for and is another guest's."""
        wanted = deployment(server.spec).placement.vmid
        if wanted and not is_free(self._api, wanted):
            raise _taken(wanted)

    # What it is like

    def _adapt(self, work: Work, guest: Guest) -> None:
        config = self.planned(guest)
        changes, delete = self.differences(work.server, config)
        self.check_room(work.server, guest.node, config)
        if changes or delete:
            containers.configure(self._api, guest, changes, delete=delete, digest=config.digest)
            if waiting := containers.pending(self._api, guest) & {*changes, *delete}:
                work.note(f"container {guest.vmid} takes on {', '.join(sorted(waiting))} when it starts next")
        wanted = deployment(work.server.spec).placement.system_disk_bytes
        if wanted and (upid := grow_root(self._api, guest, wanted)) is not None:
            tasks.wait(self._api, upid, timeout=CREATE_TIMEOUT, cancelled=work.cancelled)

    def planned(self, guest: Guest) -> Config:
        """Its options with those that wait for its next start, which need not be set again."""
        return containers.read_config(self._api, guest, next_start=True)

    def differences(self, server: Server, config: Config) -> tuple[dict[str, Value], list[str]]:
        """What has to be set, and what taken out, so that its `planned` options are as the file server wants them."""
        new = self._settings.container(server, "", "")
        changes: dict[str, Value] = {}
        delete = []
        for name, value in new.options().items():
            now = str(config.raw.get(name) or "").strip()
            if value is None and now not in ("", "0"):
                delete.append(name)
            elif value is not None and (now or "0") != str(int(value) if isinstance(value, bool) else value):
                changes[name] = value
        if (nic := _nic(str(config.raw.get("net0", "")), new.nic.text())) is not None:
            changes["net0"] = nic
        return changes, delete

    # The end

    def remove(self, work: Work) -> None:
        uid = work.server.uid
        if (found := known(work.claims, uid)) is None:
            return
        guest, config = self.look(work, found)
        if config is not None and config.owner == uid:
            if config.raw.get("protection"):
                containers.configure(self._api, guest, {}, delete=["protection"], digest=config.digest)
            self._destroy(work, guest)
        elif config is not None and found.made:
            work.note(f"{guest.subject} does not carry our uid any more and was left alone")
        self._forget(work.claims, uid)

    def _forget(self, claims: Claims, uid: str) -> None:
        self._forgotten(uid)
        forget(claims, uid)

    def _destroy(self, work: Work, guest: Guest) -> None:
        try:
            tasks.wait(self._api, containers.destroy(self._api, guest), timeout=DESTROY_TIMEOUT)
        except PvesmbError as error:
            if not (may_have_happened(error) or kind_of(error) in (Kind.TASK_LOST, Kind.NO_GUEST)):
                raise
            self._await_tasks(guest, there=False)
        left = containers.find(self._api, guest)
        if left is not None and left.owner == work.server.uid:
            raise ProxmoxFailed(f"{guest.subject} was to be destroyed and is still there")


def gone(guest: Guest, config: Config | None) -> PreconditionFailed:
    """A container that was there is not made anew: an empty one in its place would look as if the files were lost."""
    if config is None:
        return PreconditionFailed(
            f"{guest.subject} was removed on the node, with the files of its shares",
            help="Restore it from a backup under the same id, or delete the file server.",
        )
    return PreconditionFailed(
        f"{guest.subject} is not ours any more: its tag or the uid in its notes is missing, or it is another guest",
        help="Put tag and notes back as they were, or restore the container from a backup, or delete the file server.",
    )


def _nic(now: str, wanted: str) -> str | None:
    """The interface as it shall be, with the hardware address that it has; None if it is so."""
    have, want = _parts(now), _parts(wanted)
    kept = {key: value for key, value in have.items() if key in ("hwaddr", "type")}
    if {key: value for key, value in have.items() if key not in kept} == want:
        return None
    return ",".join(f"{key}={value}" for key, value in {**want, **kept}.items())


def _parts(text: str) -> Mapping[str, str]:
    parts = dict(part.partition("=")[::2] for part in text.split(",") if part)
    return {key: value for key, value in parts.items() if value not in ("", "manual")}


def _taken(vmid: int) -> PreconditionFailed:
    return PreconditionFailed(
        f"guest id {vmid} is taken by another guest", help="Choose another, or leave it out to have one chosen."
    )
