"""How a template gets onto the node: built here, uploaded through the API, looked at there.

Two claims of a template, both by its volume id: `template`, written before anything is uploaded, with `existed` if the file
was there before us (then it is never changed or removed); and `template-content`, with the `size` of what was sent, or of
what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from services.core.control.templates import CONTENT
from services.core.errors import OperationCancelled, PreconditionFailed, ProxmoxFailed
from services.core.steps import Claim, Claims, Work
from services.lxc import space
from services.lxc.settings import LxcSettings
from services.lxc.template.build import Progress
from services.lxc.template.description import Description, describe
from services.proxmox import storage, tasks
from services.proxmox.session import Api
from services.proxmox.storage import Stored

CLAIM = "template"
UPLOAD_TIMEOUT = 900.0
DELETE_TIMEOUT = 120.0


class Builder(Protocol):
    """`template.build.build`, or what a test puts in its place."""

    def __call__(
        self,
        description: Description,
        directory: Path,
        *,
        fresh: bool = False,
        progress: Progress = lambda _, __: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Path: ...


class OnNode:
    """What the steps know of the storage."""

    def __init__(self, settings: LxcSettings, api: Api) -> None:
        self.node = settings.node
        self.api = api

    def find(self, volid: str) -> Stored | None:
        stored = storage.list_stored(self.api, self.node, volid.partition(":")[0], content="vztmpl")
        return next((each for each in stored if each.volid == volid), None)


class BuildStep:
    """The template's file is there to be uploaded; or need not be, because the node has it."""

    name = "build"
    server_only = True

    def __init__(self, node: OnNode, directory: Path, build: Builder) -> None:
        self._node = node
        self._directory = directory
        self._build = build

    def ensure(self, work: Work) -> None:
        if not upload_due(self._node, work):
            return
        description = describe(release_of(work))
        fresh = bool(work.options.get("rebuild"))
        self._build(description, self._directory, fresh=fresh, progress=work.progress, cancelled=work.cancelled)

    def remove(self, work: Work) -> None:
        """Nothing: what was built is kept beside the store, to be brought to another storage, or to this one again."""


class UploadStep:
    """The node has the template. What was there before us is used as it is, and never changed or removed."""

    name = "upload"
    server_only = True

    def __init__(self, node: OnNode, directory: Path) -> None:
        self._node = node
        self._directory = directory

    def ensure(self, work: Work) -> None:
        volid, uid, claims = place_of(work), work.server.uid, work.claims
        found = self._node.find(volid)
        claim = claims.put(Claim(CLAIM, volid, uid, {"existed": found is not None}))
        if not upload_due(self._node, work):
            if found is not None and claims.get(CONTENT, volid) is None:
                claims.put(Claim(CONTENT, volid, uid, {"size": found.size}))
            return
        if claim.facts.get("existed"):
            raise PreconditionFailed(
                f"{volid} was not built by this backend, so it is not overwritten",
                help="Rebuild it where it was built, or remove it on the node first: `pvesm free`.",
            )
        file = self._directory / describe(release_of(work)).file_name
        size = file.stat().st_size
        # The old file goes only when the new one is whole.
        help = "Free space on the storage, or configure another as template_storage."
        space.require_free(self._node.api, self._node.node, volid.partition(":")[0], size, help)
        if work.cancelled():
            raise OperationCancelled("the operation was cancelled and undone")
        work.progress(0.0, f"uploading {size >> 20} MiB")
        # What an interrupted upload left is seen by its size.
        claims.release(CONTENT, volid, uid)
        claims.put(Claim(CONTENT, volid, uid, {"size": size}))
        upid = storage.upload_template(self._node.api, self._node.node, volid.partition(":")[0], str(file))
        tasks.wait(self._node.api, upid, timeout=UPLOAD_TIMEOUT)

    def remove(self, work: Work) -> None:
        uid, claims = work.server.uid, work.claims
        for claim in [each for each in claims.of(uid) if each.kind == CLAIM]:
            if claim.facts.get("existed"):
                work.note(f"{claim.value} had been there before, and stays")
            elif self._node.find(claim.value) is not None:
                upid = storage.delete_stored(self._node.api, self._node.node, claim.value)
                if upid is not None:
                    tasks.wait(self._node.api, upid, timeout=DELETE_TIMEOUT)
            claims.release(CONTENT, claim.value, uid)
            claims.release(CLAIM, claim.value, uid)


class ValidateStep:
    """The node lists the template, in the size that was sent."""

    name = "validate"
    server_only = True

    def __init__(self, node: OnNode) -> None:
        self._node = node

    def ensure(self, work: Work) -> None:
        if (trouble := trouble_of(self._node, work.claims, place_of(work))) is not None:
            raise ProxmoxFailed(
                trouble, help="Look at the storage on the node (`pvesm list`), and build the template again."
            )

    def remove(self, work: Work) -> None:
        """Nothing: it only looks."""


def upload_due(node: OnNode, work: Work) -> bool:
    """Whether the node lacks the template, has another under its name, or a new one is wanted."""
    volid = place_of(work)
    if work.options.get("rebuild"):
        return True
    claim = work.claims.get(CLAIM, volid)
    if node.find(volid) is None:
        return True
    if claim is None or claim.facts.get("existed"):
        return False
    return work.claims.get(CONTENT, volid) is None or trouble_of(node, work.claims, volid) is not None


def trouble_of(node: OnNode, claims: Claims, volid: str) -> str | None:
    """What is wrong with a template on the node; None if nothing is."""
    found, content = node.find(volid), claims.get(CONTENT, volid)
    if found is None:
        return f"{volid} is not on the storage"
    if content is not None and content.facts["size"] != found.size:
        return f"{volid} has {found.size} bytes, and had {content.facts['size']} when it was brought there"
    return None


def place_of(work: Work) -> str:
    return str(work.server.assigned["place"])


def release_of(work: Work) -> int:
    spec: object = work.server.spec
    release = getattr(spec, "debian_release", 0)
    assert isinstance(release, int)
    return release
