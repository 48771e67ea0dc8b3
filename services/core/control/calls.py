"""What calls are made of, and what they ask of a mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.core.domain.account import GroupSpec, UserSpec
from services.core.domain.file_server import FileServerSpec
from services.core.domain.names import Name
from services.core.domain.operation import Operation, Verb
from services.core.domain.resource import Condition, Resource
from services.core.domain.share import ShareSpec
from services.core.domain.template import StoredTemplate, TemplateSpec
from services.core.steps import Mode, Plan


class ModeRules(Mode, Protocol):
    """What control asks of a mode besides running its steps."""

    @property
    def id_first(self) -> int:
        """First of the numeric ids that it may give to users and groups."""

    @property
    def id_count(self) -> int:
        """How many there are."""

    def check_server(self, spec: FileServerSpec, old: FileServerSpec | None = None) -> None:
        """Refuses what this mode cannot do, or cannot make of the `old` one; `InvalidField` or `FeatureNotAvailable` with a
        path in the file server."""

    def check_removal(self, server: Resource[FileServerSpec], shares: Sequence[Resource[ShareSpec]]) -> None:
        """Refuses to remove a file server with these shares if their files could not be kept."""

    def complete_share(self, spec: ShareSpec) -> ShareSpec:
        """The share with what the mode decides where the caller has left it open."""

    def check_share(self, server: Resource[FileServerSpec], id: str, spec: ShareSpec) -> None:
        """Refuses what this mode cannot do; paths are relative to the share."""

    def share_path(self, server: Name, id: str, spec: ShareSpec) -> str:
        """Where the files of a share will be."""


class TemplateRules(Mode, Protocol):
    """What control asks of whatever makes templates."""

    def wanted(self, release: int) -> StoredTemplate:
        """What would be built for this release of Debian (0: the usual one), as it will lie on the storage; its size is
        not known. `InvalidField` at `debian_release`."""

    def stored(self) -> Sequence[StoredTemplate]:
        """Everything on the storage that a file server can be made from, by id."""

    def look(self, template: Resource[TemplateSpec]) -> Sequence[Condition]:
        """What is wrong with a template now, or worth knowing."""


@dataclass(frozen=True)
class Call:
    """What every change has in common. `fingerprint` is a digest of the request without its request_id."""

    request_id: str = ""
    fingerprint: str = ""
    validate_only: bool = False
    etag: str = ""
    principal: str = ""


@dataclass(frozen=True)
class NewContents:
    """What is made together with a file server."""

    shares: Mapping[str, ShareSpec] = field(default_factory=dict)
    users: Mapping[str, tuple[UserSpec, str]] = field(default_factory=dict)
    groups: Mapping[str, GroupSpec] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """The answer to `validate_only`: what the resource would be, and how."""

    resource: Resource[Any] | None
    target: Name
    verb: Verb
    plan: Plan


Answer = Operation | Planned
