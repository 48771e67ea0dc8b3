"""The stand-in node: `python -m services.localnode --config FILE`. Composition only."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from logging import getLogger
from pathlib import Path

from services.kit import config, logging
from services.localnode.btrfs import SubvolumeVolumes
from services.localnode.calls.create import undo_interrupted
from services.localnode.calls.power import release_stopped
from services.localnode.config import LocalNodeConfig
from services.localnode.guests.lxc import LxcContainers
from services.localnode.guests.ports import Containers
from services.localnode.login import Logins
from services.localnode.machine import close_machine, open_machine
from services.localnode.node import Node
from services.localnode.server import Server
from services.localnode.state import State, Store
from services.localnode.tasks import Tasks
from services.localnode.tls import server_context
from services.localnode.volumes import ImageVolumes

log = getLogger(__name__)


def compose(settings: LocalNodeConfig, containers: Containers) -> tuple[Node, Server]:
    """The node and its listener, with what an earlier run left: its state, and guests that still run."""
    directory = settings.directory
    state = State(directory / "state.json")
    with state.change() as facts:
        for name, storage in settings.all_storages().items():
            facts.storages.setdefault(name, Store(storage.path, storage.content, storage.kind))
    node = Node(
        name=settings.node,
        state=state,
        tasks=Tasks(directory / "tasks", settings.node),
        containers=containers,
        logins=Logins(state, _password(settings.root_password_file)),
        volumes={"dir": ImageVolumes(), "btrfs": SubvolumeVolumes()},
        mounts=directory / "mounts",
    )
    undo_interrupted(node)
    release_stopped(node)
    server = Server((settings.host, settings.port), server_context(directory / "pki"), node, directory / "uploads")
    (directory / "port").write_text(f"{server.port}\n")
    return node, server


def main(argv: Sequence[str] | None = None) -> int:
    """Runs until SIGTERM; guests keep running."""
    parser = argparse.ArgumentParser(prog="services.localnode", description=__doc__)
    parser.add_argument("--config", metavar="FILE", help="TOML file; keys and defaults: services/localnode/config.py")
    parser.add_argument("--clean", action="store_true", help="end every guest, unmount everything, and end")
    arguments = parser.parse_args(argv)
    settings = config.load(LocalNodeConfig, arguments.config, "PVESMB_LOCALNODE_")
    logging.setup("localnode")
    if arguments.clean:
        close_machine(settings.directory, settings.all_storages())
        return 0
    open_machine(settings.directory, settings.all_storages())
    containers = LxcContainers(settings.directory / "lxc", Path(settings.network_namespace or "/proc/1/ns/net"))
    node, server = compose(settings, containers)
    log.warning("this is a stand-in for a Proxmox VE node, for development and tests, not for production")
    log.info("listening on https://%s:%d", settings.host, server.port)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stopping.wait()
    server.shutdown()
    node.tasks.close()
    server.server_close()
    return 0


def _password(file: str) -> str:
    return Path(file).read_text().rstrip("\n") if file else ""


if __name__ == "__main__":
    sys.exit(config.run(main))
