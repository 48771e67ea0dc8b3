"""Templates: images that file servers are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from services.core.domain.file_server import DriftPolicy


@dataclass(frozen=True)
class TemplateSpec:
    """What is to be built. `content_version` stands for the whole description of its contents."""

    debian_release: int
    content_version: str

    #: Nobody waits for a template that vanished: the check says so, and building it anew is a decision.
    drift_policy: ClassVar[DriftPolicy] = DriftPolicy.REPORT
    labels: ClassVar[Mapping[str, str]] = {}


@dataclass(frozen=True)
class StoredTemplate:
    """One that lies on the storage: `id` is the last segment of its name, `place` what the mode calls it (a volume id).
    Release and version are 0 and empty where they are not known."""

    id: str
    place: str
    size: int
    create_time: float
    debian_release: int = 0
    content_version: str = ""
