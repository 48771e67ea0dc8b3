"""What every backend is, whatever its mode: a store, a worker, and the contract over them. Composed here once."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc
from prometheus_client import CollectorRegistry
from pvesmb.v1 import backend_pb2
from pydantic import Field, model_validator

from services.core.claims import StoredClaims
from services.core.clock import SystemClock
from services.core.control import Control
from services.core.control.calls import ModeRules, TemplateRules
from services.core.domain.file_server import FileServerSpec
from services.core.domain.resource import Condition, Resource, Severity
from services.core.errors import HostNotPrepared
from services.core.runs import Tools
from services.core.steps import Mode, Work
from services.core.store import Store
from services.core.version import VERSION
from services.core.worker import Worker
from services.kit import metrics
from services.kit.config import ServerConfig
from services.kit.remember import Remembered
from services.kit.server import serve
from services.kit.telemetry import PrometheusTelemetry
from services.kit.vault import FileVault
from services.wire.operations import Operations, OperationsServicer
from services.wire.register import register
from services.wire.servicers import Service

log = logging.getLogger(__name__)

#: Threads of the pool that long polls leave to every other call.
SPARE_WORKERS = 16
#: The preflight asks a machine; what it finds changes when an administrator does something.
PREFLIGHT_SECONDS = 60.0
BACKEND_ID = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"


class BackendConfig(ServerConfig):
    """Keys that the configuration of every backend has."""

    backend_id: str = Field(pattern=BACKEND_ID, description="id at the gateway")
    node: str = Field(default="", description="name of this Proxmox VE node; default: the host name")
    state_dir: str = Field(
        default="/var/lib/pvesmb", description="everything of ours: store, keys, and what the mode keeps"
    )
    store_url: str = Field(default="", description="postgresql+psycopg://…; default: SQLite in state_dir")
    id_first: int = Field(default=500_000, ge=1000, description="first numeric id for users of file servers")
    id_count: int = Field(default=100_000, ge=3, description="how many numeric ids there are; none is used twice")
    share_options: dict[str, str] = Field(default={}, description="smb.conf options that every share gets")
    worker_threads: int = Field(default=4, ge=1, le=64, description="file servers worked on at once")
    drift_seconds: float = Field(default=300.0, ge=1, description="time between two drift checks")
    wait_slots: int = Field(default=64, ge=1, description="WaitOperation calls that may wait at once")

    @model_validator(mode="after")
    def _check_wait_slots(self) -> BackendConfig:
        if self.wait_slots > self.max_workers - SPARE_WORKERS:
            raise ValueError(
                f"wait_slots: at most max_workers - {SPARE_WORKERS}, which is {self.max_workers - SPARE_WORKERS}"
            )
        return self

    @property
    def database(self) -> str:
        return self.store_url or f"sqlite:///{self.state_dir}/store.db"


class BackendMode(ModeRules, Protocol):
    """What a backend asks of its mode besides."""

    @property
    def features(self) -> Sequence[str]:
        """Optional features that it can serve."""

    def reachable(self, server: Resource[FileServerSpec]) -> Sequence[tuple[str, int]]:
        """Where clients reach a file server."""

    def preflight(self) -> Sequence[Condition]:
        """What is missing for it to work."""

    def samba_version(self) -> str:
        """Empty if it differs from file server to file server."""

    def resume(self, work: Work) -> None:
        """When the service starts: brings back what a reboot has taken from a file server."""


@dataclass(frozen=True)
class Base:
    """What a mode can be given before it is there."""

    store: Store
    vault: FileVault
    registry: CollectorRegistry
    claims: StoredClaims

    def probe_secret(self, uid: str) -> str:
        """The password of a file server's probe account, always the same."""
        return self.vault.derive(f"probe:{uid}")


@dataclass(frozen=True)
class Facts:
    """What a backend says about itself."""

    rules: BackendMode
    mode: backend_pb2.Backend.Mode.ValueType
    node: str
    problems: Callable[[], Sequence[Condition]]
    version: Callable[[], str]

    @property
    def features(self) -> Sequence[str]:
        return self.rules.features

    def samba_version(self) -> str:
        return self.version()

    def conditions(self) -> Sequence[Condition]:
        return self.problems()

    def endpoints(self, server: Resource[object]) -> Sequence[tuple[str, int]]:
        return self.rules.reachable(server)  # type: ignore[arg-type]


def open_base(name: str, settings: BackendConfig) -> Base:
    """The store with its keys, which belongs to this backend from now on."""
    vault = FileVault.open_file(f"{settings.state_dir}/secret.key")
    store = Store(settings.database)
    with store.transaction() as tx:
        tx.belong_to(settings.backend_id)
    return Base(store, vault, metrics.make_registry(name), StoredClaims(store))


def serve_mode(
    name: str,
    settings: BackendConfig,
    base: Base,
    rules: BackendMode,
    mode: backend_pb2.Backend.Mode.ValueType,
    *,
    node: str,
    wrap: Callable[[Mode], Mode],
    close: Callable[[], None],
    templates: TemplateRules | None = None,
) -> int:
    """Serves the contract until SIGTERM; `close` ends what the mode has opened, `templates` makes guests' images.
    `wrap` lets a test put something around the modes that the worker runs."""
    store, vault, clock = base.store, base.vault, SystemClock()
    telemetry, owner = PrometheusTelemetry(base.registry), uuid.uuid4().hex
    made = wrap(templates) if templates is not None else None
    tools = Tools(store, wrap(rules), vault, clock, telemetry, owner, templates=made)
    worker = Worker(tools, threads=settings.worker_threads, drift_seconds=settings.drift_seconds)
    control = Control(store, rules, vault, clock, worker, settings.backend_id, templates)
    problems = Remembered(rules.preflight, PREFLIGHT_SECONDS)
    facts = Facts(rules, mode, node, problems, Remembered(rules.samba_version, PREFLIGHT_SECONDS))
    messages = Operations(settings.backend_id, rules.reachable, control.with_size)
    service = Service(control, vault, messages, VERSION, facts)
    operations = OperationsServicer(store, worker, messages, waiters=settings.wait_slots)

    def serving(server: grpc.Server) -> Sequence[str]:
        return register(server, service, operations)

    def node_is_prepared() -> None:
        if bad := [problem for problem in problems() if problem.severity is Severity.ERROR]:
            raise HostNotPrepared("; ".join(problem.message for problem in bad))

    def stop() -> None:
        worker.stop()
        close()
        store.close()

    resume_all(rules.resume, _everything(base))
    worker.start()
    return serve(
        name,
        settings,
        register=serving,
        checks={"node": node_is_prepared, "store": lambda: _answers(store)},
        registry=base.registry,
        on_drain=operations.wake,
        on_stop=stop,
    )


def _everything(base: Base) -> list[Work]:
    with base.store.snapshot() as tx:
        return [Work(server, True, [], tx.contents(server.name), base.claims) for server in tx.servers()]


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
