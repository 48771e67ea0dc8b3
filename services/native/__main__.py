"""The native backend: `python -m services.native --config FILE`. Composition only."""

from __future__ import annotations

import argparse
import os
import socket
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import getLogger

import grpc
from pvesmb.v1 import backend_pb2

from services.core.claims import StoredClaims
from services.core.clock import SystemClock
from services.core.control import Control
from services.core.domain.conditions import reported
from services.core.domain.resource import Condition, Resource, Severity
from services.core.errors import HostNotPrepared
from services.core.runs import Tools
from services.core.steps import Mode, Work
from services.core.store import Store
from services.core.version import VERSION
from services.core.worker import Worker
from services.kit import config, logging, metrics
from services.kit.remember import Remembered
from services.kit.server import serve
from services.kit.telemetry import PrometheusTelemetry
from services.kit.vault import FileVault
from services.native.config import NativeConfig
from services.native.fork_server import ForkServer
from services.native.host import LocalHost
from services.native.mode import NativeMode
from services.native.supervisor import Supervisor
from services.samba.apply import PROGRAM
from services.wire.operations import Operations, OperationsServicer
from services.wire.register import register
from services.wire.servicers import Service

log = getLogger(__name__)

#: The preflight starts programs; what it finds changes when an administrator installs something.
PREFLIGHT_SECONDS = 60.0
SMBD_CONDITIONS = frozenset({"SmbdDown", "SmbdRestarted"})


@dataclass(frozen=True)
class NativeFacts:
    """What this backend says about itself."""

    native: NativeMode
    node: str
    problems: Callable[[], Sequence[Condition]]
    version: Callable[[], str]
    mode: backend_pb2.Backend.Mode.ValueType = backend_pb2.Backend.MODE_NATIVE

    @property
    def features(self) -> Sequence[str]:
        return self.native.features

    def samba_version(self) -> str:
        return self.version()

    def conditions(self) -> Sequence[Condition]:
        return self.problems()

    def endpoints(self, server: Resource[object]) -> Sequence[tuple[str, int]]:
        return self.native.reachable(server)  # type: ignore[arg-type]


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
    vault = FileVault.open_file(f"{settings.state_dir}/secret.key")
    store = Store(settings.url)
    supervisor = Supervisor(settings.settings(), LocalHost(), lambda *_: None)
    native = NativeMode(settings.settings(), supervisor, lambda uid: vault.derive(f"probe:{uid}"))
    with store.snapshot() as tx:
        native.stop_servers(tx.servers())
    supervisor.close()
    store.close()
    return 0


def run(settings: NativeConfig, wrap: Callable[[Mode], Mode]) -> int:
    registry = metrics.make_registry("native")
    clock = SystemClock()
    vault = FileVault.open_file(f"{settings.state_dir}/secret.key")
    store = Store(settings.url)
    with store.transaction() as tx:
        tx.belong_to(settings.backend_id)
    fork_server = ForkServer(PROGRAM)
    host = LocalHost(fork_server=fork_server)

    def on_event(uid: str, condition: Condition | None) -> None:
        with store.transaction() as tx:
            if (server := tx.by_uid(uid, lock=True)) is not None:
                tx.save(reported(server, SMBD_CONDITIONS, condition))

    supervisor = Supervisor(settings.settings(), host, on_event)
    native = NativeMode(settings.settings(), supervisor, lambda uid: vault.derive(f"probe:{uid}"), host)
    telemetry = PrometheusTelemetry(registry)
    tools = Tools(store, wrap(native), vault, clock, telemetry, owner=uuid.uuid4().hex)
    worker = Worker(tools, threads=settings.worker_threads, drift_seconds=settings.drift_seconds)
    control = Control(store, native, vault, clock, worker, settings.backend_id)
    problems = Remembered(native.preflight, PREFLIGHT_SECONDS)
    version = Remembered(native.samba_version, PREFLIGHT_SECONDS)
    facts = NativeFacts(native, settings.node or socket.gethostname(), problems, version)
    messages = Operations(settings.backend_id, native.reachable)
    service = Service(control, vault, messages, VERSION, facts)
    operations = OperationsServicer(store, worker, messages, waiters=settings.wait_slots)

    def serving(server: grpc.Server) -> Sequence[str]:
        return register(server, service, operations)

    def resume() -> None:
        with store.snapshot() as tx:
            rows = [(server, tx.contents(server.name)) for server in tx.servers()]
        resume_all(native.resume, [Work(server, True, [], contents, StoredClaims(store)) for server, contents in rows])

    def node_is_prepared() -> None:
        if bad := [problem for problem in problems() if problem.severity is Severity.ERROR]:
            raise HostNotPrepared("; ".join(problem.message for problem in bad))

    def stop() -> None:
        worker.stop()
        native.close()
        fork_server.close()
        store.close()

    supervisor.open()
    resume()
    worker.start()
    return serve(
        "native",
        settings,
        register=serving,
        checks={"node": node_is_prepared, "store": lambda: _answers(store)},
        registry=registry,
        on_drain=operations.wake,
        on_stop=stop,
    )


def resume_all(resume: Callable[[Work], None], works: Sequence[Work]) -> None:
    """Each file server by itself: the others start if one cannot, which the drift check will find."""
    for work in works:
        try:
            resume(work)
        except Exception:
            log.exception("a file server could not be resumed", extra={"file_server": str(work.server.name)})


def _answers(store: Store) -> None:
    with store.snapshot() as tx:
        tx.pending_count()


if __name__ == "__main__":
    sys.exit(config.run(main))
