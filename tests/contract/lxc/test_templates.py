"""Templates against fakepve, with the least rights: built, uploaded, looked at, removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from fakepve import FakePve

from services.core.control.templates import CONTENT
from services.core.domain.names import template_name
from services.core.domain.resource import Resource, State
from services.core.domain.template import TemplateSpec
from services.core.errors import (
    HostNotPrepared,
    NotFound,
    OperationCancelled,
    PreconditionFailed,
    ProxmoxDenied,
    ProxmoxFailed,
    StorageFull,
)
from services.core.steps import Contents, Work
from services.lxc.template.build import Progress
from services.lxc.template.description import Description, describe
from services.lxc.template_mode import TemplateMode
from services.lxc.templates import newest_template
from services.proxmox.session import Session
from tests.contract.fake_node import TEMPLATE, grant, revoke
from tests.contract.lxc.world import SETTINGS, server, with_placement
from tests.fakes import MemoryClaims

VOLID = f"local:vztmpl/{describe().file_name}"
STORAGE = "/storage/local"


@dataclass
class FakeBuilder:
    """Writes a file in no time, as the real one would."""

    content: bytes = b"first"
    builds: int = 0
    trouble: Callable[[], None] = lambda: None

    def __call__(
        self,
        description: Description,
        directory: Path,
        *,
        fresh: bool = False,
        progress: Progress = lambda _, __: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Path:
        file = directory / description.file_name
        if file.exists() and not fresh:
            return file
        self.trouble()
        self.builds += 1
        progress(0.5, "unpacking samba")
        directory.mkdir(exist_ok=True)
        file.write_bytes(self.content)
        return file


@dataclass
class Scene:
    fake: FakePve
    api: Session
    directory: Path
    builder: FakeBuilder = field(default_factory=FakeBuilder)
    claims: MemoryClaims = field(default_factory=MemoryClaims)
    notes: list[str] = field(default_factory=list)
    told: list[tuple[float, str]] = field(default_factory=list)
    cancelled: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.mode = TemplateMode(SETTINGS, self.api, self.claims, self.directory / "templates", self.builder)
        wanted = self.mode.wanted(0)
        assert wanted.place == VOLID
        spec = TemplateSpec(wanted.debian_release, wanted.content_version)
        name = template_name("lxc", wanted.id)
        self.template = Resource(name, "5f0c-1", spec, State.CREATING, 1, 0, 0.0, 0.0, {"place": wanted.place})

    def work(self, **options: Any) -> Work:
        template: Any = self.template
        return Work(
            template,
            True,
            [],
            Contents(),
            self.claims,
            options,
            self.notes.append,
            lambda done, text: self.told.append((done, text)),
            self.cancelled,
        )

    def ensure(self, **options: Any) -> None:
        for step in self.mode.steps:
            step.ensure(self.work(**options))

    def remove(self) -> None:
        for step in reversed(self.mode.steps):
            step.remove(self.work())

    @property
    def uploads(self) -> int:
        return len([1 for method, path, _ in self.fake.requests if method == "POST" and path.endswith("/upload")])

    def held(self) -> dict[str, int]:
        return {each.place: each.size for each in self.mode.stored()}

    def trouble(self) -> list[str]:
        return [condition.type for condition in self.mode.look(self.template)]


@pytest.fixture
def scene(fake: FakePve, session: Session, tmp_path: Path) -> Scene:
    return Scene(fake, session, tmp_path)


def test_a_life_leaves_nothing_on_the_node(scene: Scene) -> None:
    grant(scene.fake, STORAGE, "Datastore.Allocate")
    scene.ensure()
    assert scene.held()[VOLID] == len(b"first") and (scene.builder.builds, scene.uploads) == (1, 1)
    assert (0.5, "unpacking samba") in scene.told
    assert scene.mode.observe(scene.work()) == [] and scene.trouble() == []
    scene.ensure()
    assert (scene.builder.builds, scene.uploads) == (1, 1), "it is there already"
    scene.remove()
    assert VOLID not in scene.held() and scene.claims.rows == {}
    assert scene.mode.plan(scene.work()).effects == (f"the file that was built before is uploaded as {VOLID}",)
    scene.ensure()
    assert (scene.builder.builds, scene.uploads) == (1, 2), "what was built is kept beside the store"


def test_what_is_chosen_for_a_file_server(scene: Scene) -> None:
    choose, plain = newest_template(SETTINGS, scene.api), server()
    with pytest.raises(HostNotPrepared, match="has no template of a file server"):
        choose(plain)
    scene.ensure()
    assert choose(plain) == VOLID
    foreign = TEMPLATE.rpartition("/")[2].removesuffix(".tar.zst")
    assert choose(with_placement(plain, template=f"backends/lxc/templates/{foreign}")) == TEMPLATE
    with pytest.raises(NotFound):
        choose(with_placement(plain, template="backends/lxc/templates/none"))


def test_one_that_was_there_before_is_used_and_stays(scene: Scene) -> None:
    scene.fake.store_file("local", describe().file_name, 77, content="vztmpl")
    assert scene.mode.plan(scene.work()).effects == (f"{VOLID} is there already",)
    scene.ensure()
    assert (scene.builder.builds, scene.uploads) == (0, 0) and scene.claims.rows["template-content", VOLID].facts == {
        "size": 77
    }
    with pytest.raises(PreconditionFailed, match="not overwritten"):
        scene.ensure(rebuild=True)
    scene.remove()
    assert scene.held()[VOLID] == 77 and scene.claims.rows == {}
    assert scene.notes == [f"{VOLID} had been there before, and stays"]


def test_rebuilt_it_is_another(scene: Scene) -> None:
    scene.ensure()
    scene.builder.content = b"second, and longer"
    scene.ensure(rebuild=True)
    assert scene.held()[VOLID] == len(b"second, and longer") and scene.uploads == 2
    assert scene.trouble() == []


def test_one_that_changed_is_seen_and_sent_again(scene: Scene) -> None:
    scene.ensure()
    scene.fake.store_file("local", describe().file_name, 3, content="vztmpl")
    assert scene.trouble() == ["TemplateMissing"]
    [drift] = scene.mode.observe(scene.work())
    assert "3 bytes" in drift.message
    scene.ensure()
    assert scene.trouble() == [] and scene.builder.builds == 1


def test_killed_after_the_claim(scene: Scene) -> None:
    """The claim says that what comes now is ours, so the next attempt goes on with it, and a removal removes it."""
    grant(scene.fake, STORAGE, "Datastore.Allocate")
    scene.ensure()
    del scene.claims.rows[CONTENT, VOLID]
    scene.ensure()
    assert scene.uploads == 2 and scene.trouble() == []
    del scene.claims.rows[CONTENT, VOLID]
    scene.remove()
    assert VOLID not in scene.held() and scene.claims.rows == {}


def test_a_storage_without_room(scene: Scene) -> None:
    scene.fake.storages["local"]["avail"] = 3
    with pytest.raises(StorageFull, match="3 bytes free"):
        scene.ensure()
    scene.remove()
    assert VOLID not in scene.held() and scene.claims.rows == {} and scene.uploads == 0


def test_an_upload_that_the_node_refuses(scene: Scene) -> None:
    scene.fake.fail("POST", "/nodes/pve1/storage/local/upload", 500, "boom", times=1)
    with pytest.raises(ProxmoxFailed, match="boom"):
        scene.ensure()
    scene.remove()
    assert VOLID not in scene.held() and scene.claims.rows == {}


@pytest.mark.parametrize("privilege", ["Datastore.AllocateTemplate"])
def test_a_privilege_that_is_missing(scene: Scene, privilege: str) -> None:
    revoke(scene.fake, STORAGE, privilege)
    with pytest.raises(ProxmoxDenied) as caught:
        scene.ensure()
    assert caught.value.metadata["privilege"] == privilege
    scene.remove()
    assert scene.claims.rows == {}


def test_a_removal_without_its_privilege_keeps_the_claim(scene: Scene) -> None:
    scene.ensure()
    with pytest.raises(ProxmoxDenied) as caught:
        scene.remove()
    assert caught.value.metadata["privilege"] == "Datastore.Allocate"
    assert VOLID in scene.held() and ("template", VOLID) in scene.claims.rows


def test_cancelled_between_build_and_upload(scene: Scene) -> None:
    scene.cancelled = lambda: True
    with pytest.raises(OperationCancelled):
        scene.ensure()
    scene.remove()
    assert scene.uploads == 0 and scene.claims.rows == {}


def test_nothing_to_build_with(scene: Scene) -> None:
    def trouble() -> None:
        raise HostNotPrepared("no mirror")

    scene.builder.trouble = trouble
    with pytest.raises(HostNotPrepared):
        scene.ensure()
    scene.remove()
    assert scene.uploads == 0 and scene.claims.rows == {}


def test_a_foreign_one_installs_samba_later(scene: Scene) -> None:
    foreign = next(each for each in scene.mode.stored() if each.place == TEMPLATE)
    spec = TemplateSpec(foreign.debian_release, foreign.content_version)
    found = replace(scene.template, uid="", spec=spec, assigned={"place": TEMPLATE})
    assert [condition.type for condition in scene.mode.look(found)] == ["SambaMissing"]


def test_what_is_sent(scene: Scene) -> None:
    scene.ensure()
    [body] = [body for method, path, body in scene.fake.requests if path.endswith("/upload")]
    assert b'name="content"' in body and b"vztmpl" in body and b'name="checksum-algorithm"' in body
    assert [path for method, path, _ in scene.fake.requests if method == "DELETE"] == []
