"""The native backend: `python -m services.native --config FILE`. Composition only."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Callable, Sequence

from pvesmb.v1 import backend_pb2

from services.core.domain.conditions import reported
from services.core.domain.resource import Condition
from services.core.steps import Mode
from services.kit import config, logging
from services.native.config import NativeConfig
from services.native.fork_server import ForkServer
from services.native.host import LocalHost
from services.native.mode import NativeMode
from services.native.supervisor import Supervisor
from services.samba.apply import PROGRAM
from services.wire.backend import open_base, serve_mode

SMBD_CONDITIONS = frozenset({"SmbdDown", "SmbdRestarted"})


def main(argv: Sequence[str] | None = None, *, wrap: Callable[[Mode], Mode] = lambda mode: mode) -> int:
    """Runs until SIGTERM. `wrap` lets a test put something around the mode that the worker runs."""
    parser = argparse.ArgumentParser(prog="services.native", description=__doc__)
    parser.add_argument("--config", metavar="FILE", help="TOML file; keys and defaults: services/native/config.py")
    parser.add_argument(
        "--stop-servers", action="store_true", help="only stop every smbd and unmount every volume, and end"
    )
    arguments = parser.parse_args(argv)
    settings = config.load(NativeConfig, arguments.config, "PVESMB_NATIVE_")
    logging.setup("native", settings.log_level)
    os.umask(0o022)
    # smbd acts as the user who is connected, who must get through to the shares; what is secret has modes of its own.
    for directory in (settings.state_dir, settings.data_root):
        os.makedirs(directory, mode=0o755, exist_ok=True)
    return stop_servers(settings) if arguments.stop_servers else run(settings, wrap)


def stop_servers(settings: NativeConfig) -> int:
    """Ends what a service that was killed has left running."""
    base = open_base("native", settings)
    supervisor = Supervisor(settings.settings(), LocalHost(), lambda *_: None)
    native = NativeMode(settings.settings(), supervisor, base.probe_secret)
    with base.store.snapshot() as tx:
        native.stop_servers(tx.servers())
    supervisor.close()
    base.store.close()
    return 0


def run(settings: NativeConfig, wrap: Callable[[Mode], Mode]) -> int:
    base = open_base("native", settings)
    fork_server = ForkServer(PROGRAM)
    host = LocalHost(fork_server=fork_server)

    def on_event(uid: str, condition: Condition | None) -> None:
        with base.store.transaction() as tx:
            if (server := tx.by_uid(uid, lock=True)) is not None:
                tx.save(reported(server, SMBD_CONDITIONS, condition))

    supervisor = Supervisor(settings.settings(), host, on_event)
    native = NativeMode(settings.settings(), supervisor, base.probe_secret, host)

    def close() -> None:
        native.close()
        fork_server.close()

    supervisor.open()
    node = settings.node or socket.gethostname()
    return serve_mode("native", settings, base, native, backend_pb2.Backend.MODE_NATIVE, node=node, wrap=wrap, close=close)


if __name__ == "__main__":
    sys.exit(config.run(main))
