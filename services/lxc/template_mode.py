"""Templates of LXC mode, as the worker and the service ask for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from services.core.domain.resource import Condition, Resource, Severity
from services.core.domain.template import StoredTemplate, TemplateSpec
from services.core.steps import Claims, Drift, Plan, Step, Work
from services.lxc.settings import LxcSettings
from services.lxc.template.build import build
from services.lxc.template.description import DEFAULT_RELEASE, describe
from services.lxc.template_steps import (
    Builder,
    BuildStep,
    OnNode,
    UploadStep,
    ValidateStep,
    place_of,
    trouble_of,
    upload_due,
)
from services.lxc.templates import list_templates, template_id
from services.proxmox.session import Api


class TemplateMode:
    """`TemplateRules`. What is built is kept in `directory`; a file of the wanted version that lies there is taken as it
    is, so that a backend that reaches no package mirror can be given one."""

    def __init__(self, settings: LxcSettings, api: Api, claims: Claims, directory: Path, builder: Builder = build) -> None:
        self._settings = settings
        self._api = api
        self._claims = claims
        self._directory = directory
        self._node = OnNode(settings, api)
        self._steps: tuple[Step, ...] = (
            BuildStep(self._node, directory, builder),
            UploadStep(self._node, directory),
            ValidateStep(self._node),
        )

    @property
    def steps(self) -> Sequence[Step]:
        return self._steps

    def observe(self, work: Work) -> Sequence[Drift]:
        trouble = trouble_of(self._node, work.claims, place_of(work))
        return [Drift(work.server.name, trouble)] if trouble is not None else []

    def plan(self, work: Work) -> Plan:
        names = tuple(step.name for step in self._steps)
        if work.server.assigned.get("removal") is not None:
            return Plan(names[::-1], effects=(f"{place_of(work)} is removed from the storage",))
        if not upload_due(self._node, work):
            return Plan(names, effects=(f"{place_of(work)} is there already",))
        built = self._directory / place_of(work).rpartition("/")[2]
        how = "the file that was built before" if built.is_file() and not work.options.get("rebuild") else "a new build"
        return Plan(names, effects=(f"{how} is uploaded as {place_of(work)}",))

    def wanted(self, release: int) -> StoredTemplate:
        description = describe(release or DEFAULT_RELEASE)
        file_name = description.file_name
        place = f"{self._settings.template_storage}:vztmpl/{file_name}"
        return StoredTemplate(template_id(file_name), place, 0, 0.0, description.release, description.version)

    def stored(self) -> Sequence[StoredTemplate]:
        return [
            StoredTemplate(each.id, each.volid, each.size, float(each.ctime), each.release, each.version)
            for each in list_templates(self._settings, self._api)
        ]

    def look(self, template: Resource[TemplateSpec]) -> Sequence[Condition]:
        spec = template.spec
        found: list[Condition] = []
        if (trouble := trouble_of(self._node, self._claims, str(template.assigned["place"]))) is not None:
            action = "Build it again (BuildTemplate)."
            found.append(_condition("TemplateMissing", Severity.ERROR, "PROXMOX_FAILED", trouble, action))
        if not spec.content_version:
            message = "it has no Samba of ours: each file server installs it at its first start, from Debian's packages"
            action = "Build a template (BuildTemplate) for file servers that are made quickly."
            found.append(_condition("SambaMissing", Severity.INFO, "HOST_NOT_PREPARED", message, action))
        return found


def _condition(type: str, severity: Severity, reason: str, message: str, action: str) -> Condition:
    return Condition(type, severity, reason, message, action, time.time())
