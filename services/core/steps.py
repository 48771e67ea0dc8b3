"""Steps: how a mode makes a desired state true, and undoes it.

A mode is a list of steps. `ensure` looks, acts only where needed, and looks again; `remove` is its exact opposite. Both may
be run any number of times, and after a crash they are, from the top. Work is done for a whole batch at once: several
changes to the contents of one file server that wait at the same moment go through the steps together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from services.core.domain.account import GroupSpec, UserSpec
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Kind, Name
from services.core.domain.operation import Verb
from services.core.domain.resource import Resource
from services.core.domain.share import ShareSpec
from services.core.domain.template import TemplateSpec
from services.core.errors import PreconditionFailed, PvesmbError

AnySpec = FileServerSpec | ShareSpec | UserSpec | GroupSpec | TemplateSpec


@dataclass(frozen=True)
class Claim:
    """Something outside that a resource owns or is about to make: written before it is made, gone after it is unmade.

    `kind` and `value` say what (`directory`, `/srv/x`; `address`, `127.0.0.1:445`), `owner` is the uid of the resource,
    `facts` what has to be remembered about it (`existed`: it was there before us and is never removed).
    """

    kind: str
    value: str
    owner: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Claims(Protocol):
    """Claims, durable before each call returns."""

    def get(self, kind: str, value: str) -> Claim | None:
        """The claim on this thing, whoever has it."""

    def of(self, owner: str) -> Sequence[Claim]:
        """All claims of a resource."""

    def put(self, claim: Claim) -> Claim:
        """Claims it, or returns the claim as it stands if the owner has it already (its first facts win).
        Another owner's claim raises `PreconditionFailed`."""

    def put_each(self, claims: Sequence[Claim]) -> Sequence[Claim | PreconditionFailed]:
        """`put` for several at once; the error stands in the place of the claim that has one."""

    def release(self, kind: str, value: str, owner: str) -> None:
        """Gives it up; no error if the owner does not have it."""


@dataclass
class Change:
    """One resource in a batch. `secret` yields the password to set, if there is one. A step that cannot serve this one
    change puts the reason into `error`; the other changes of the batch go on."""

    resource: Resource[Any]
    verb: Verb
    options: Mapping[str, Any] = field(default_factory=dict)
    secret: Callable[[], str | None] = lambda: None
    error: PvesmbError | None = None
    #: What people should know of how it ended: kept into the operation's step detail.
    notes: list[str] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        return self.resource.name.kind

    @property
    def id(self) -> str:
        return self.resource.name.last


@dataclass(frozen=True)
class Contents:
    """The desired state of everything in one file server, resources being deleted left out."""

    shares: Sequence[Resource[ShareSpec]] = ()
    users: Sequence[Resource[UserSpec]] = ()
    groups: Sequence[Resource[GroupSpec]] = ()

    def named(self, kind: Kind) -> dict[str, Resource[Any]]:
        rows: Sequence[Resource[Any]] = {Kind.SHARE: self.shares, Kind.USER: self.users, Kind.GROUP: self.groups}[kind]
        return {row.name.last: row for row in rows}


@dataclass(frozen=True)
class Work:
    """What the steps are asked to do, for one file server; or for one template, which then stands in its place.

    `whole` is true when the file server itself is made, changed or removed; then the steps that make it run too, and
    `changes` are its first contents. Otherwise `changes` are a batch of changed contents. `contents` is the whole desired
    contents, read when the work began: accounts are always written whole.
    """

    server: Resource[FileServerSpec]
    whole: bool
    changes: list[Change]
    contents: Contents
    claims: Claims
    options: Mapping[str, Any] = field(default_factory=dict)
    #: What people should know of how the whole went: it goes with the operation's last step.
    note: Callable[[str], None] = lambda _: None
    #: Tells how much of the step that runs is done (0 to 1) and what it does, for people; as often as one likes.
    progress: Callable[[float, str], None] = lambda _, __: None
    #: Whether nobody wants the work any more. A step that waits for long asks, and raises `OperationCancelled`.
    cancelled: Callable[[], bool] = lambda: False

    def live(self, *kinds: Kind) -> list[Change]:
        """The changes, of these kinds if any are named, that have not failed."""
        return [c for c in self.changes if c.error is None and (not kinds or c.kind in kinds)]

    def only(self, changes: list[Change]) -> Work:
        """The same work for some of the changes."""
        return replace(self, changes=changes)


class Step(Protocol):
    """One step of a mode. An exception out of `ensure` or `remove` fails everything in the work; an error set on a change
    fails only that change."""

    @property
    def name(self) -> str:
        """Stable, in lower-case letters and hyphens; shown in the operation."""

    @property
    def server_only(self) -> bool:
        """Whether it runs only when `work.whole`."""

    def ensure(self, work: Work) -> None:
        """Makes it true for every live change (and, when `work.whole`, for the file server)."""

    def remove(self, work: Work) -> None:
        """Undoes it for every change (and, when `work.whole`, for the file server). Tolerates whatever is already gone."""


@dataclass(frozen=True)
class Drift:
    """One difference between what is desired and what runs."""

    resource: Name
    message: str


class Mode(Protocol):
    """A deployment mode as the worker sees it."""

    @property
    def steps(self) -> Sequence[Step]:
        """In the order of `ensure`."""

    def observe(self, work: Work) -> Sequence[Drift]:
        """Compares everything that `work.contents` desires with what runs, and changes nothing. A server that does not
        run at all is one drift of the file server."""

    def plan(self, work: Work) -> Plan:
        """What running the steps would do. Changes nothing."""


@dataclass(frozen=True)
class Plan:
    """The answer to `validate_only`."""

    steps: tuple[str, ...] = ()
    smb_conf_diff: str = ""
    effects: tuple[str, ...] = ()
