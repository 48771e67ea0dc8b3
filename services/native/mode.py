"""Native mode: what the worker, the Samba steps and the service ask about file servers on this node."""

from __future__ import annotations

import ipaddress
import json
import os
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import replace

from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind, Name
from services.core.domain.operation import Verb
from services.core.domain.resource import Condition, Resource, State
from services.core.domain.share import DirectoryStorage, HostPathStorage, ShareSpec, VolumeStorage
from services.core.errors import FeatureNotAvailable, InvalidField, PathNotAllowed
from services.core.ports import Host
from services.core.steps import Drift, Plan, Step, Work
from services.native import preflight, smbd
from services.native.host import LocalHost
from services.native.settings import NativeSettings
from services.native.steps import AddressStep, InstanceStep, ProcessStep, make_directories
from services.native.supervisor import Supervisor
from services.native.volume_step import VolumeStep
from services.native.volumes import Volumes
from services.samba import config
from services.samba import observe as samba_observe
from services.samba import plan as samba_plan
from services.samba.instance import Server
from services.samba.layout import Layout
from services.samba.options import check_options
from services.samba.steps import ApplyStep, ConfigStep, ConfirmStep


class NativeMode:
    """`Mode` of the worker and `Instances` of the Samba steps. `probe_secret(uid)` gives the password of a file server's
    probe account, always the same."""

    def __init__(
        self,
        settings: NativeSettings,
        supervisor: Supervisor,
        probe_secret: Callable[[str], str],
        host: Host | None = None,
    ) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._probe_secret = probe_secret
        self._host = host or LocalHost()
        self._volumes = Volumes(self._host, settings.image_dir)
        self._addresses = AddressStep(settings)
        self._volume_step = VolumeStep(settings, self._volumes)
        self._process_step = ProcessStep(settings, self._host, supervisor, config.needs_restart)
        self._steps: tuple[Step, ...] = (
            self._addresses,
            InstanceStep(settings, self._host),
            self._volume_step,
            ConfigStep(self),
            self._process_step,
            ApplyStep(self, settings.site_share_options),
            ConfirmStep(self),
        )

    # Instances

    def host(self, server: Server) -> Host:
        return self._host

    def layout(self, server: Server) -> Layout:
        return self._settings.layout(server.uid)

    def endpoints(self, server: Server) -> Sequence[tuple[str, int]]:
        return self._settings.endpoints(server.spec)

    def probe_password(self, server: Server) -> str:
        return self._probe_secret(server.uid)

    def reachable(self, server: Server) -> Sequence[tuple[str, int]]:
        """Where clients reach it: for a wildcard, the node's own addresses of that family."""
        shown: list[tuple[str, int]] = []
        for address, port in self.endpoints(server):
            ip = ipaddress.ip_address(address)
            shown += [(own, port) for own in self._own_addresses(ip.version)] if ip.is_unspecified else [(address, port)]
        return shown

    def _own_addresses(self, version: int) -> list[str]:
        listed = json.loads(self._host.run(["ip", "-j", f"-{version}", "address", "show", "up"]).stdout or b"[]")
        found = [info["local"] for link in listed for info in link["addr_info"] if info["scope"] == "global"]
        return found or ["127.0.0.1" if version == 4 else "::1"]

    def roots(self, server: Server) -> Sequence[str]:
        return self._settings.roots

    # Mode

    @property
    def steps(self) -> Sequence[Step]:
        return self._steps

    def observe(self, work: Work) -> Sequence[Drift]:
        if not self._supervisor.running(work.server):
            return [Drift(work.server.name, "its smbd does not run, or does not listen where it should")]
        found = self._volume_step.drifts(work.contents.shares)
        told = {drift.resource for drift in found}
        samba = samba_observe.observe(self, work, self._settings.site_share_options)
        return [*found, *(drift for drift in samba if drift.resource not in told)]

    def plan(self, work: Work) -> Plan:
        """See `Mode.plan`. Fails as the steps would where an address is taken or space is missing."""
        server = work.server
        removes = server.state is State.DELETING if work.whole else all(c.verb is Verb.DELETE for c in work.changes)
        steps = [step.name for step in self._steps if work.whole or not step.server_only]
        base, effects = self._settings.instance_dir(server.uid), []
        if removes:
            steps.reverse()
        if work.whole and removes:
            effects += ["smbd is stopped; all sessions end", f"directory {base} is removed"]
        elif work.whole:
            self._addresses.check(server, work.claims)
            text = config.render(server, self.layout(server), self.endpoints(server), {})
            if not os.path.isdir(base):
                effects.append(f"directory {base} is made")
            elif self._process_step.would_restart(server, text.encode()):
                effects.append("smbd is restarted; all sessions end")
        for change in work.live(Kind.SHARE):
            if change.verb is not Verb.DELETE and not removes:
                self._check_links(change.resource.assigned["path"])
        effects += self._volume_step.effects(work)
        samba = samba_plan.plan(self, work, self._settings.site_share_options)
        return Plan(tuple(steps), samba.smb_conf_diff, (*effects, *samba.effects))

    def _check_links(self, path: str) -> None:
        """Refuses what the agent would refuse when it makes the directory."""
        for root in self._settings.roots:
            if path.startswith(root.rstrip("/") + "/"):
                if os.path.realpath(path) != os.path.join(os.path.realpath(root), os.path.relpath(path, root)):
                    raise PathNotAllowed(f"{path} leads through a symbolic link", metadata={"path": path})
                return

    # What the API asks before it accepts

    @property
    def id_first(self) -> int:
        return self._settings.id_first

    @property
    def id_count(self) -> int:
        return self._settings.id_count

    @property
    def features(self) -> tuple[str, ...]:
        """Optional features that this node can serve."""
        volumes = os.path.exists("/dev/loop-control") and all(
            preflight.has(program) for program in preflight.VOLUME_PROGRAMS
        )
        return ("volumes",) if volumes else ()

    def check_server(self, spec: FileServerSpec, old: FileServerSpec | None = None) -> None:
        """Refuses what only a guest has."""
        if spec.lxc is not None:
            raise InvalidField.of("lxc", "must be unset: the mode of this backend is native")

    def check_removal(self, server: Server, shares: Sequence[Resource[ShareSpec]]) -> None:
        """Files of shares stay where they are without their file server."""

    def complete_share(self, spec: ShareSpec) -> ShareSpec:
        return spec

    def check_share(self, server: Resource[FileServerSpec], id: str, spec: ShareSpec) -> None:
        """Refuses storage that this node cannot give; paths are relative to the share."""
        check_options(spec.smb_options)
        if isinstance(spec.storage, HostPathStorage):
            raise FeatureNotAvailable.of("host_path", "is for guests; here a directory of the node is `directory.path`")
        if isinstance(spec.storage, VolumeStorage):
            if spec.storage.storage:
                raise InvalidField.of("volume.storage", "must be empty in native mode")
            if "volumes" not in self.features:
                raise FeatureNotAvailable.of("volume", "needs mkfs.xfs and loop devices on this node")
        elif isinstance(spec.storage, DirectoryStorage) and spec.storage.path:
            path = spec.storage.path
            if any(_inside(a, b) for a, b in ((path, self._settings.state_dir), (self._settings.state_dir, path))):
                raise PathNotAllowed(f"{path} would lay open the backend's own state", metadata={"path": path})
            if not any(posixpath.commonpath([root, path]) == root and path != root for root in self._settings.roots):
                raise PathNotAllowed(f"{path} is not below {' or '.join(self._settings.roots)}", metadata={"path": path})

    def share_path(self, server: Name, id: str, spec: ShareSpec) -> str:
        """Where the files of a share will be. A volume is mounted where the directory would be."""
        if isinstance(spec.storage, DirectoryStorage) and spec.storage.path:
            return spec.storage.path
        return f"{self._settings.server_root(server)}/{id}"

    # What the process does

    def preflight(self) -> list[Condition]:
        """What is missing on this node."""
        return preflight.preflight(self._settings, self._host)

    def samba_version(self) -> str:
        return smbd.version(self._host)

    def resume(self, work: Work) -> None:
        """When the service starts: makes and mounts what a reboot has taken, and takes over or starts smbd."""
        if work.server.state in (State.CREATING, State.DELETING):
            return
        make_directories(self._settings, work.server.uid)
        self._volume_step.ensure(replace(work, whole=True, changes=[]))
        self._supervisor.watch(work.server)

    def stop_servers(self, servers: Sequence[Server]) -> None:
        """Stops their smbd and unmounts the volumes. They start again with the service."""
        for server in servers:
            self._supervisor.stop(server)
        self._volumes.unmount_all()

    def close(self) -> None:
        """When the service ends: leaves the file servers running, unless the settings say otherwise."""
        if self._settings.stop_servers_on_exit:
            self._supervisor.stop_all()
            self._volumes.unmount_all()
        self._supervisor.close()


def _inside(path: str, directory: str) -> bool:
    """Whether the path is the directory, or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
