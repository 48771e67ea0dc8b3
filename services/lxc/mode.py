"""LXC mode: what the worker, the Samba steps and the service ask about file servers in containers."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Name
from services.core.domain.operation import Verb
from services.core.domain.resource import Condition, Resource, Severity, State
from services.core.domain.share import DirectoryStorage, HostPathStorage, ShareSpec, VolumeStorage
from services.core.errors import FeatureNotAvailable, HostUnreachable, InvalidField, PathNotAllowed, PreconditionFailed
from services.core.ports import Host
from services.core.steps import Claims, Drift, Plan, Step, Work
from services.lxc.container_step import ContainerStep, gone
from services.lxc.known import addresses, known, note_addresses
from services.lxc.settings import LAYOUT, SHARES_ROOT, LxcSettings, deployment, new_share_path
from services.lxc.steps import AddressStep, Inside, PrepareStep, ProcessStep, StartStep
from services.lxc.templates import missing_template
from services.lxc.volume_step import NEEDS_ROOT, VolumeStep, kept_volumes
from services.lxc.whereabouts import locate
from services.proxmox import containers
from services.proxmox.preflight import preflight
from services.proxmox.session import Api
from services.samba import config
from services.samba import observe as samba_observe
from services.samba import plan as samba_plan
from services.samba.instance import Server
from services.samba.layout import Layout
from services.samba.options import check_options
from services.samba.steps import ApplyStep, ConfigStep, ConfirmStep

SMB_PORT = 445
#: What of a container cannot be changed once it is made.
_FIXED = ("node", "vmid", "pool", "storage", "template")


class Guests(Protocol):
    """How we get into containers."""

    def public_key(self, uid: str) -> str:
        """The line of the SSH key that may log into the container of the file server with this uid."""

    def host(self, uid: str, address: str) -> Host:
        """A host that runs commands in the container at this address."""

    def forget(self, uid: str) -> None:
        """Its container is gone."""


class LxcMode:
    """`Mode` of the worker and `Instances` of the Samba steps. `template` chooses what a file server is made from, as a
    volume id; `probe_secret(uid)` gives the password of a file server's probe account; `root` is a session of root@pam, if
    the administrator has given one."""

    def __init__(
        self,
        settings: LxcSettings,
        api: Api,
        claims: Claims,
        guests: Guests,
        template: Callable[[Server], str],
        probe_secret: Callable[[str], str],
        root: Api | None = None,
    ) -> None:
        self._settings = settings
        self._api = api
        self._claims = claims
        self._guests = guests
        self._template = template
        self._probe_secret = probe_secret
        self._root = root
        self._container = ContainerStep(settings, api, template, guests.public_key, forgotten=guests.forget)
        self._volumes = VolumeStep(settings, api, root, self.host)
        self._address = AddressStep(api)
        self._process = ProcessStep(lambda work: self.host(work.server))
        self._steps: tuple[Step, ...] = (
            self._container,
            self._volumes,
            StartStep(api),
            self._address,
            PrepareStep(lambda work: self.host(work.server)),
            Inside(ConfigStep(self)),
            self._process,
            Inside(ApplyStep(self, settings.site_share_options)),
            ConfirmStep(self),
        )

    # Instances

    def host(self, server: Server) -> Host:
        found = addresses(self._claims, server.uid)
        if not found:
            raise HostUnreachable("the container's address is not known yet", help="Wait for the operation that makes it.")
        return self._guests.host(server.uid, found[0])

    def layout(self, server: Server) -> Layout:
        return LAYOUT

    def endpoints(self, server: Server) -> Sequence[tuple[str, int]]:
        """The one that we use ourselves: others may lie where only clients can reach them."""
        return self.reachable(server)[:1]

    def probe_password(self, server: Server) -> str:
        return self._probe_secret(server.uid)

    def roots(self, server: Server) -> Sequence[str]:
        return (SHARES_ROOT,)

    def reachable(self, server: Server) -> Sequence[tuple[str, int]]:
        return [(address, SMB_PORT) for address in addresses(self._claims, server.uid)]

    # Mode

    @property
    def steps(self) -> Sequence[Step]:
        return self._steps

    def observe(self, work: Work) -> Sequence[Drift]:
        name, found = work.server.name, known(work.claims, work.server.uid)
        if found is None:
            return [Drift(name, "it has no container")]
        guest, container = locate(self._api, work.claims, work.server.uid, found)
        if container is None or container.owner != work.server.uid:
            return [Drift(name, gone(guest, container).message)]
        drifts = self._volumes.drifts(work, container)
        changes, delete = self._container.differences(work.server, self._container.planned(guest))
        drifts += [Drift(name, f"option {option} of the container was changed") for option in (*changes, *delete)]
        if not containers.read_status(self._api, guest).running:
            return [*drifts, Drift(name, f"{guest.subject} does not run")]
        if not (seen := self._address.look(work, guest)):
            return [*drifts, Drift(name, "it has not the address that it should have")]
        # One that DHCP has changed, or that came late, is no fault: clients are told the new one.
        note_addresses(work.claims, work.server.uid, seen)
        told = {drift.resource for drift in drifts}
        samba = samba_observe.observe(self, work, self._settings.site_share_options)
        return [*drifts, *(drift for drift in samba if drift.resource not in told or drift.resource == name)]

    def plan(self, work: Work) -> Plan:
        """See `Mode.plan`. Fails as the steps would where space, the template or the guest id is missing."""
        server, found = work.server, known(work.claims, work.server.uid)
        removes = server.state is State.DELETING if work.whole else all(c.verb is Verb.DELETE for c in work.changes)
        steps = [step.name for step in self._steps if work.whole or not step.server_only]
        if removes:
            steps.reverse()
        node, container = self._settings.node_of(server.spec), None
        if found is not None:
            guest, container = locate(self._api, work.claims, server.uid, found)
            node = guest.node
            if found.made and not removes and (container is None or container.owner != server.uid):
                raise gone(guest, container)
        effects = self._effects(work, removes)
        if work.whole and removes:
            return Plan(tuple(steps), effects=(*effects, "all sessions end"))
        effects += self._volumes.effects(work, node, container)
        if container is None:
            return Plan(tuple(steps), _diff(config.render(server, LAYOUT, (), {})), tuple(effects))
        samba = samba_plan.plan(self, work, self._settings.site_share_options)
        return Plan(tuple(steps), samba.smb_conf_diff, (*effects, *samba.effects))

    def _effects(self, work: Work, removes: bool) -> list[str]:
        """What is asked of Proxmox VE about the container itself."""
        if not work.whole:
            return []
        found = known(work.claims, work.server.uid)
        if removes:
            return [f"{found.guest.subject} is destroyed with its volumes"] if found is not None else []
        if found is not None:
            planned = self._container.planned(found.guest)
            self._container.check_room(work.server, found.guest.node, planned)
            changes, delete = self._container.differences(work.server, planned)
            said = [f"{option} becomes {value}" for option, value in changes.items()]
            return [f"{found.guest.subject}: {each}" for each in (*said, *(f"{option} is unset" for option in delete))]
        node = self._settings.node_of(work.server.spec)
        template = self._template(work.server)
        self._container.check_room(work.server, node, None)
        self._container.check_id(work.server)
        asked = self._settings.container(work.server, template, "").params()
        told = [f"{name}={value}" for name, value in asked.items() if value is not None and name != "description"]
        return [f"a container is made on node {node}: {' '.join(told)}"]

    # What the API asks before it accepts

    @property
    def id_first(self) -> int:
        return self._settings.id_first

    @property
    def id_count(self) -> int:
        return self._settings.id_count

    @property
    def features(self) -> Sequence[str]:
        return ("volumes", "host_path") if self._root is not None and self._settings.host_path_roots else ("volumes",)

    def check_server(self, spec: FileServerSpec, old: FileServerSpec | None = None) -> None:
        """Refuses another mode's settings, and changes of what a container keeps for life."""
        if spec.native is not None:
            raise InvalidField.of("native", "must be unset: the mode of this backend is lxc")
        if old is None:
            return
        now, before = deployment(spec).placement, deployment(old).placement
        for field in _FIXED:
            if getattr(now, field) != getattr(before, field):
                raise InvalidField.of(f"lxc.placement.{field}", "cannot be changed; make a new file server")
        if now.system_disk_bytes < before.system_disk_bytes:
            raise InvalidField.of("lxc.placement.system_disk_bytes", "cannot shrink")

    def check_removal(self, server: Server, shares: Sequence[Resource[ShareSpec]]) -> None:
        """Volumes go with their container: they are not removed unless that was said."""
        held = [share.name.last for share in shares if isinstance(share.spec.storage, VolumeStorage)]
        held += kept_volumes(self._claims, server.uid)
        if held:
            raise PreconditionFailed(
                f"the volumes of {', '.join(held[:10])} would go with the container, and delete_data is not set",
                help="Set delete_data, or back the container up first (vzdump) and then set it.",
            )

    def complete_share(self, spec: ShareSpec) -> ShareSpec:
        """A share that says nothing gets a volume: its size is its quota."""
        if spec.storage == DirectoryStorage():
            return replace(spec, storage=VolumeStorage(self._settings.volume_size_bytes))
        return spec

    def check_share(self, server: Server, id: str, spec: ShareSpec) -> None:
        check_options(spec.smb_options)
        storage = spec.storage
        if isinstance(storage, DirectoryStorage):
            raise FeatureNotAvailable.of("directory", "would lie on the container's own disk; use volume or host_path")
        if isinstance(storage, HostPathStorage):
            self._check_host_path(storage.path)

    def _check_host_path(self, path: str) -> None:
        if self._root is None:
            raise FeatureNotAvailable.of("host_path", NEEDS_ROOT)
        roots = self._settings.host_path_roots
        if not any(posixpath.commonpath([root, path]) == root and path != root for root in roots):
            message = f"{path} is not below {' or '.join(roots) or 'any host_path_roots'}"
            raise PathNotAllowed(message, metadata={"path": path})

    def share_path(self, server: Name, id: str, spec: ShareSpec) -> str:
        return new_share_path()

    # What the process does

    def preflight(self) -> Sequence[Condition]:
        found = preflight(self._api, self._settings.needs())
        if any(condition.severity is Severity.ERROR for condition in found):
            return found
        return [*found, *missing_template(self._settings, self._api)]

    def samba_version(self) -> str:
        """Each container has its own."""
        return ""

    def resume(self, work: Work) -> None:
        """Nothing: containers run on without us; one that does not is found by the first drift check."""


def _diff(after: str) -> str:
    lines = difflib.unified_diff([], after.splitlines(keepends=True), "smb.conf (now)", "smb.conf (wanted)")
    return "".join(lines)
