"""Templates on the node: which there are, and which one a file server is made from."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.core.domain.resource import Condition, Severity
from services.core.errors import HostNotPrepared, NotFound, PvesmbError
from services.lxc.settings import LxcSettings, deployment
from services.lxc.template.description import DEFAULT_RELEASE, describe, parse_file_name
from services.proxmox.session import Api
from services.proxmox.storage import list_stored
from services.samba.instance import Server

_BUILD = "Build one (BuildTemplate; `pvesmb template build`), or name another in placement.template."
_SUFFIX = re.compile(r"\.tar(\.(gz|xz|zst|bz2))?\Z")


@dataclass(frozen=True)
class Template:
    """An archive on the template storage. `id` is its file name without the suffix, and the last segment of its name in the
    contract; `release` and `version` are those of a template that this software builds, else 0 and empty."""

    id: str
    volid: str
    size: int
    ctime: int
    release: int = 0
    version: str = ""

    @property
    def built(self) -> bool:
        """Whether it is one of those that this software builds: then it has Samba."""
        return bool(self.version)


def template_id(file_name: str) -> str:
    return _SUFFIX.sub("", file_name)


def list_templates(settings: LxcSettings, api: Api) -> Sequence[Template]:
    """Those on the template storage, by id. Of two that differ in their suffix only the first counts."""
    found: dict[str, Template] = {}
    stored = list_stored(api, settings.node, settings.template_storage, content="vztmpl")
    for each in sorted(stored, key=lambda each: each.volid):
        file_name = each.volid.rpartition("/")[2]
        release, version = parse_file_name(file_name) or (0, "")
        id = template_id(file_name)
        found.setdefault(id, Template(id, each.volid, each.size, each.ctime, release, version))
    return [found[id] for id in sorted(found)]


def newest(templates: Sequence[Template]) -> Template | None:
    """The one that a file server gets which names none: what this version of the software builds; else the newest of those
    that another version has built. None if there is only what has no Samba."""
    current = describe(DEFAULT_RELEASE).version
    built = [each for each in templates if each.built]
    return max(built, key=lambda each: (each.version == current, each.ctime, each.id), default=None)


def newest_template(settings: LxcSettings, api: Api) -> Callable[[Server], str]:
    """Chooses, when it is called, what a file server is made from: the template that it names, else the newest. As a
    volume id."""

    def choose(server: Server) -> str:
        templates = list_templates(settings, api)
        wanted = deployment(server.spec).placement.template
        chosen = named(templates, server.name.backend, wanted) if wanted else newest(templates)
        if chosen is None:
            raise HostNotPrepared(_lacking(settings), help=_BUILD, metadata={"name": "template"})
        return chosen.volid

    return choose


def missing_template(settings: LxcSettings, api: Api) -> Sequence[Condition]:
    """For the preflight: that file servers which name no template cannot be made yet. What the node does not answer is for
    the rest of it to tell."""
    try:
        if newest(list_templates(settings, api)) is not None:
            return ()
    except PvesmbError:
        return ()
    return [Condition("TemplateMissing", Severity.WARNING, "HOST_NOT_PREPARED", _lacking(settings), _BUILD, time.time())]


def _lacking(settings: LxcSettings) -> str:
    return f"storage {settings.template_storage} of node {settings.node} has no template of a file server"


def named(templates: Sequence[Template], backend: str, name: str) -> Template:
    """The one with this name in the contract; `NotFound` if there is none."""
    for each in templates:
        if name == f"backends/{backend}/templates/{each.id}":
            return each
    raise NotFound(
        f"{name} does not exist",
        help="ListTemplates shows those of this backend; BuildTemplate makes one.",
        metadata={"name": name},
    )
