"""What the stack does for one mode: what its backend needs around it, its configuration, its first file server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pvesmb

from packaging.stack.node import CLONE, NODE, LocalNode, open_network
from packaging.stack.places import Places
from services.proxmox import containers, tasks
from services.proxmox.containers import Guest
from services.proxmox.session import Api

#: Templates that were built, for every stack and the tests of this clone.
TEMPLATES = CLONE / ".make" / "templates"
NAMES = ("native", "lxc")
#: Guests may not be in the machine's own network namespace: this one is taken where none is named.
NETNS = "pvesmb"


class Mode(Protocol):
    """Also the backend's id, and the name of its program."""

    @property
    def name(self) -> str: ...

    @property
    def netns(self) -> str:
        """The network namespace where none is asked for; empty: that of the machine."""

    def prepare(self) -> None:
        """What needs the machine's own network, from where Debian's mirrors are reached."""

    def open(self) -> None:
        """Starts what the backend needs."""

    def look(self) -> None:
        """Restarts what of it has died."""

    def settings(self) -> Mapping[str, object]:
        """Keys of the backend's configuration that are the mode's own."""

    def before_the_first(self, client: pvesmb.Client) -> None:
        """What file servers are made from."""

    def deployment(self, port: int) -> pvesmb.FileServer:
        """The first file server; a mode with one address for all needs the port."""

    def finish(self, config: Path) -> None:
        """Ends everything, also what processes have left that were killed. `config` is that of the backend."""


@dataclass(frozen=True)
class Native:
    """smbd on this machine."""

    places: Places
    name: str = "native"
    netns: str = ""

    def prepare(self) -> None: ...

    def open(self) -> None: ...

    def look(self) -> None: ...

    def settings(self) -> Mapping[str, object]:
        view = self.places.view
        place = {"state_dir": str(view / "native"), "data_root": str(view / "data")}
        return {**place, "default_address": "127.0.0.1", "stop_servers_on_exit": True}

    def before_the_first(self, client: pvesmb.Client) -> None: ...

    def deployment(self, port: int) -> pvesmb.FileServer:
        return pvesmb.FileServer(native=pvesmb.NativeDeployment(listen_addresses=["127.0.0.1"], port=port))

    def finish(self, config: Path) -> None:
        if config.exists() and (self.places.view / "native" / "store.db").exists():
            command = [sys.executable, "-m", "services.native", "--config", str(config), "--stop-servers"]
            subprocess.run(command, cwd=CLONE, check=True)


@dataclass(frozen=True)
class Lxc:
    """smbd in containers of a stand-in node, all in one network namespace."""

    places: Places
    namespace: str
    name: str = "lxc"
    netns: str = NETNS
    _nodes: list[LocalNode] = field(default_factory=list)

    @property
    def node(self) -> LocalNode:
        if not self._nodes:
            self._nodes.append(LocalNode(self.places.view / "node", self.namespace))
        return self._nodes[0]

    def prepare(self) -> None:
        command = [sys.executable, "-m", "services.lxc.template", "--out", str(TEMPLATES)]
        subprocess.run(command, cwd=CLONE, check=True, stdout=subprocess.DEVNULL)

    def open(self) -> None:
        open_network(self.namespace)
        self.node.start()
        with closing(self.node.root()) as root:
            boot(root)

    def look(self) -> None:
        self.node.look()

    def settings(self) -> Mapping[str, object]:
        state = self.places.view / "lxc"
        # The backend finds a template of this content there, and only brings it to the node.
        kept = state / "templates"
        kept.mkdir(parents=True, exist_ok=True)
        for file in TEMPLATES.glob("*"):
            if not (kept / file.name).exists():
                shutil.copy(file, kept)
        return {**self.node.settings(), "state_dir": str(state)}

    def before_the_first(self, client: pvesmb.Client) -> None:
        client.templates.build("backends/lxc").result(timeout=600)

    def deployment(self, port: int) -> pvesmb.FileServer:
        return pvesmb.FileServer(lxc=pvesmb.LxcDeployment())

    def finish(self, config: Path) -> None:
        self.node.stop()
        self.node.clean()


def boot(api: Api) -> None:
    """As a node that starts: brings up the guests that start with it."""
    for listed in containers.list_containers(api, NODE):
        guest = Guest(NODE, listed.vmid)
        if not listed.running and str(containers.read_config(api, guest).raw.get("onboot", 0)) == "1":
            tasks.wait(api, containers.start(api, guest), timeout=60)


def of(name: str, places: Places, namespace: str) -> Mode:
    return Lxc(places, namespace) if name == "lxc" else Native(places)


def listed(node: LocalNode) -> Iterator[str]:
    """The containers of the node, as `pct list` shows them, with their volumes."""
    with closing(node.root()) as root:
        yield f"{'VMID':<10} {'STATUS':<10} {'NAME':<16} VOLUMES"
        for each in containers.list_containers(root, NODE):
            mounts = containers.read_config(root, Guest(NODE, each.vmid)).mounts
            volumes = " ".join(f"{key}={mount.volume}" for key, mount in sorted(mounts.items()))
            yield f"{each.vmid:<10} {'running' if each.running else 'stopped':<10} {each.name:<16} {volumes}"
