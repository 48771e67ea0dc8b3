"""Hand-written fakes of our own ports, for tests that need no machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind, Name
from services.core.domain.resource import Condition, Resource, Severity
from services.core.domain.share import ShareSpec
from services.core.domain.template import StoredTemplate, TemplateSpec
from services.core.errors import InvalidField, OperationCancelled, PreconditionFailed, PvesmbError
from services.core.steps import Claim, Drift, Plan, Step, Work


class FakeClock:
    """Time that stands still until it is moved."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time


class FakeVault:
    """Seals by turning the text round, so that a test sees whether clear text got into the store."""

    def seal(self, secret: str, context: str) -> bytes:
        return f"{context}:{secret[::-1]}".encode()

    def open(self, sealed: bytes, context: str) -> str:
        found, _, secret = sealed.decode().partition(":")
        assert found == context
        return secret[::-1]

    def derive(self, label: str) -> str:
        return hashlib.sha256(label.encode()).hexdigest()[:32]


@dataclass
class FakeTelemetry:
    """Keeps what it is told."""

    ended: list[tuple[str, str, str]] = field(default_factory=list)
    steps: list[tuple[str, str, bool]] = field(default_factory=list)
    waiting: int = 0
    drifts: list[tuple[int, int]] = field(default_factory=list)

    def operation_ended(self, verb: str, kind: str, outcome: str, seconds: float) -> None:
        self.ended.append((verb, kind, outcome))

    def step_ended(self, step: str, action: str, ok: bool, seconds: float) -> None:
        self.steps.append((step, action, ok))

    def queue_length(self, waiting: int) -> None:
        self.waiting = waiting

    def drift(self, found: int, repaired: int) -> None:
        self.drifts.append((found, repaired))


class Killed(BaseException):
    """Stands for `kill -9`: nothing catches it, nothing cleans up."""


@dataclass
class World:
    """What is outside: for each step, what exists under which name, and with which value."""

    things: dict[str, dict[str, Any]] = field(default_factory=dict)
    transactions: list[list[str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, step: str) -> dict[str, Any]:
        return self.things.setdefault(step, {})

    @property
    def empty(self) -> bool:
        return not any(self.things.values())


#: Called as (step, action, phase) with phase `before` or `after`; may raise.
Hook = Callable[[str, str, str], None]


@dataclass
class FakeStep:
    """Makes an entry in the world for the file server and for each change, and claims it first."""

    name: str
    server_only: bool
    world: World
    hook: Hook
    refuse: Callable[[str, Resource[Any]], PvesmbError | None]

    def ensure(self, work: Work) -> None:
        self.hook(self.name, "ensure", "before")
        made = self.world.of(self.name)
        if self.server_only:
            work.claims.put(Claim(self.name, str(work.server.name), work.server.uid))
            made[str(work.server.name)] = work.server.spec
        else:
            with self.world.lock:
                self.world.transactions.append([change.id for change in work.live()])
            for change in work.live():
                work.claims.put(Claim(self.name, str(change.resource.name), change.resource.uid))
                change.error = self.refuse(self.name, change.resource)
                if change.error is None:
                    made[str(change.resource.name)] = change.secret() or change.resource.spec
        self.hook(self.name, "ensure", "after")

    def remove(self, work: Work) -> None:
        self.hook(self.name, "remove", "before")
        made = self.world.of(self.name)
        if self.server_only:
            made.pop(str(work.server.name), None)
            work.claims.release(self.name, str(work.server.name), work.server.uid)
        else:
            for change in work.live():
                made.pop(str(change.resource.name), None)
                work.claims.release(self.name, str(change.resource.name), change.resource.uid)
        self.hook(self.name, "remove", "after")


class FakeMode:
    """A mode whose machines are dictionaries: `process` for file servers, then `apply` and `confirm` for contents."""

    id_first = 1000
    id_count = 1000

    def __init__(self) -> None:
        self.world = World()
        self.hook: Hook = lambda step, action, phase: None
        self.refuse: Callable[[str, Resource[Any]], PvesmbError | None] = lambda step, resource: None
        self.steps: Sequence[Step] = [
            FakeStep(name, server_only, self.world, self._hook, self._refuse)
            for name, server_only in (("process", True), ("apply", False), ("confirm", False))
        ]

    def _hook(self, step: str, action: str, phase: str) -> None:
        self.hook(step, action, phase)

    def _refuse(self, step: str, resource: Resource[Any]) -> PvesmbError | None:
        return self.refuse(step, resource)

    def observe(self, work: Work) -> Sequence[Drift]:
        applied = self.world.of("apply")
        return [Drift(r.name, "is not as desired") for r in work.contents.shares if applied.get(str(r.name)) != r.spec]

    def plan(self, work: Work) -> Plan:
        steps = tuple(step.name for step in self.steps if work.whole or not step.server_only)
        return Plan(steps, effects=tuple(change.id for change in work.changes))

    def endpoints(self, server: Resource[FileServerSpec]) -> Sequence[tuple[str, int]]:
        return [("127.0.0.1", 445)]

    def check_server(self, spec: FileServerSpec, old: FileServerSpec | None = None) -> None:
        pass

    def check_removal(self, server: Resource[FileServerSpec], shares: Sequence[Resource[ShareSpec]]) -> None:
        pass

    def complete_share(self, spec: ShareSpec) -> ShareSpec:
        return spec

    def check_share(self, server: Resource[FileServerSpec], id: str, spec: ShareSpec) -> None:
        pass

    def share_path(self, server: Name, id: str, spec: ShareSpec) -> str:
        return f"/data/{server.last}/{id}"


class FakeTemplates:
    """Makes templates in a dictionary: `held` is what lies on the storage, with its size."""

    def __init__(self, hook: Hook = lambda step, action, phase: None) -> None:
        self.held: dict[str, int] = {}
        self.telling: Sequence[tuple[float, str]] = ((0.25, "fetching"),)
        self.hook = hook
        self.steps: Sequence[Step] = [FakeBuild(self), FakeUpload(self)]

    def wanted(self, release: int) -> StoredTemplate:
        if release not in (0, 12, 13):
            raise InvalidField.of("debian_release", "choose one of 12, 13")
        return StoredTemplate(f"ours-{release or 12}", f"local:ours-{release or 12}", 0, 0.0, release or 12, "v1")

    def stored(self) -> Sequence[StoredTemplate]:
        return [
            StoredTemplate(
                place.removeprefix("local:"),
                place,
                size,
                5.0,
                12 if "ours" in place else 0,
                "v1" if "ours" in place else "",
            )
            for place, size in sorted(self.held.items())
        ]

    def look(self, template: Resource[TemplateSpec]) -> Sequence[Condition]:
        if template.assigned["place"] in self.held:
            return ()
        return [Condition("TemplateMissing", Severity.ERROR, "PROXMOX_FAILED", "is gone", "build it", 7.0)]

    def observe(self, work: Work) -> Sequence[Drift]:
        gone = work.server.assigned["place"] not in self.held
        return [Drift(work.server.name, "is gone")] if gone else []

    def plan(self, work: Work) -> Plan:
        return Plan(tuple(step.name for step in self.steps), effects=(str(work.server.assigned["place"]),))


@dataclass
class FakeBuild:
    """Tells how far it is."""

    templates: FakeTemplates
    name: str = "build"
    server_only: bool = True

    def ensure(self, work: Work) -> None:
        self.templates.hook(self.name, "ensure", "before")
        for done, text in self.templates.telling:
            work.progress(done, text)
        self.templates.hook(self.name, "ensure", "after")
        if work.cancelled():
            raise OperationCancelled("the build was cancelled")

    def remove(self, work: Work) -> None:
        self.templates.hook(self.name, "remove", "before")


@dataclass
class FakeUpload:
    templates: FakeTemplates
    name: str = "upload"
    server_only: bool = True

    def ensure(self, work: Work) -> None:
        place, uid = work.server.assigned["place"], work.server.uid
        self.templates.hook(self.name, "ensure", "before")
        work.claims.put(Claim("template", place, uid))
        self.templates.held[place] = 1000
        work.claims.put(Claim("template-content", place, uid, {"size": 1000}))
        self.templates.hook(self.name, "ensure", "after")

    def remove(self, work: Work) -> None:
        place, uid = work.server.assigned["place"], work.server.uid
        self.templates.hook(self.name, "remove", "before")
        if work.claims.get("template", place) is not None:
            self.templates.held.pop(place, None)
        for kind in ("template-content", "template"):
            work.claims.release(kind, place, uid)
        self.templates.hook(self.name, "remove", "after")


def name(server: str = "fs", kind: Kind = Kind.FILE_SERVER, id: str = "") -> Name:
    return Name("b", server, kind, id)


class MemoryClaims:
    """`Claims` in memory, by the same rules."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Claim] = {}

    def get(self, kind: str, value: str) -> Claim | None:
        return self.rows.get((kind, value))

    def of(self, owner: str) -> list[Claim]:
        return [claim for claim in self.rows.values() if claim.owner == owner]

    def put(self, claim: Claim) -> Claim:
        standing = self.rows.setdefault((claim.kind, claim.value), claim)
        if standing.owner != claim.owner:
            raise PreconditionFailed(f"{claim.value} is claimed by another resource")
        return standing

    def put_each(self, claims: Sequence[Claim]) -> list[Claim | PreconditionFailed]:
        answers: list[Claim | PreconditionFailed] = []
        for claim in claims:
            try:
                answers.append(self.put(claim))
            except PreconditionFailed as error:
                answers.append(error)
        return answers

    def release(self, kind: str, value: str, owner: str) -> None:
        if (standing := self.get(kind, value)) is not None and standing.owner == owner:
            del self.rows[kind, value]
