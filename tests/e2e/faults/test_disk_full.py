"""A disk is full: the one with the instances' configuration, the one with the store, the one with the shares. What is in
force stays in force; what was asked is refused, or undone, and works when there is room again."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pvesmb
import pytest

from tests.e2e import cleanup, modes
from tests.e2e.native import NativeDeployment
from tests.e2e.smb import session
from tests.e2e.waiting import until
from tests.e2e.words import MIB, Server, password, user_rule, users
from tests.figures import Figures

SIZE = 48 * MIB
#: Configuration, store and shares lie on the node's own disks.
pytestmark = modes.only("native")


@pytest.fixture
def small(mode: str) -> Iterator[Callable[[str], NativeDeployment]]:
    """Starts a deployment with one of its directories on a small disk of its own. An operation that could not be written
    goes on soon after: leases are short in a deadly one."""
    assert mode == "native"
    with ExitStack() as stack:

        def started(directory: str) -> NativeDeployment:
            run = stack.enter_context(tempfile.TemporaryDirectory(prefix="pvesmb-run-"))
            deployment = stack.enter_context(closing(NativeDeployment({"run_dir": run}, deadly=True)))
            place = deployment.state / directory
            place.mkdir(parents=True)
            image = deployment.state / "disk.img"
            with open(image, "wb") as file:
                file.truncate(SIZE)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-I", "256", image], check=True)
            subprocess.run(["mount", "-o", "loop", image, place], check=True)
            (place / "lost+found").rmdir()
            deployment.running()
            return deployment

        yield started


@contextmanager
def full_disk(place: Path) -> Iterator[None]:
    """Not a block is left on the file system of this directory."""
    filler = place / "filler"
    fd = os.open(filler, os.O_CREAT | os.O_WRONLY | os.O_EXCL)
    try:
        for piece in (MIB, 4096, 1024):
            try:
                while True:
                    os.write(fd, bytes(piece))
            except OSError:
                continue
        os.fsync(fd)
        yield
    finally:
        os.close(fd)
        filler.unlink()


def refused(act: Callable[[], Any]) -> pvesmb.ResourceExhausted:
    with pytest.raises(pvesmb.ResourceExhausted) as raised:
        answer = act()
        if isinstance(answer, pvesmb.OperationHandle):
            answer.result(timeout=100)
    assert raised.value.reason == "STORAGE_FULL" and raised.value.help
    return raised.value


def make(deployment: NativeDeployment) -> Server:
    return deployment.new_server(users=users("ann", "ben"), shares={"docs": pvesmb.Share(access=[user_rule("ann")])})


def configuration(deployment: NativeDeployment, server: Server) -> tuple[Any, ...]:
    """smb.conf, shares and accounts as they are in force."""
    conf = deployment.conf(server)
    shares = deployment.tool(server, "net", "-s", conf, "conf", "list").stdout
    accounts = deployment.accounts_of(server.uid)
    files = sorted(os.listdir(Path(conf).parent))
    return Path(conf).read_text(), Path(conf).with_name("passwd").read_text(), shares, accounts, files


def all_works(deployment: NativeDeployment, server: Server) -> None:
    """What was refused before is done now."""
    client = deployment.client
    client.users.create(server.name, "carl", pvesmb.User(password=password("carl"))).result(timeout=60)
    share = pvesmb.Share(access=[user_rule("carl")])
    client.shares.create(server.name, "later", share).result(timeout=60)
    wanted = pvesmb.FileServer(name=server.name, smb=pvesmb.SmbSettings(workgroup="LATER"))
    client.file_servers.update(wanted, ["smb.workgroup"]).result(timeout=60)
    assert server.smb("carl", "later", "mkdir a; ls").ok and server.smb("ann", "docs", "ls").ok
    client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)
    disk = [f"mount {point}" for point in cleanup.mounts(str(deployment.state))]
    assert deployment.traces(server.id, server.resource) == disk[:1], "the small disk itself, and nothing else"


def test_configuration(small: Callable[[str], NativeDeployment], figures: Figures) -> None:
    """The instances' disk: sessions go on, new ones come, the old configuration is in force, byte for byte."""
    deployment = small("native/servers")
    client, server = deployment.client, make(deployment)
    before = configuration(deployment, server)
    other, other_spec = deployment.new_id(), deployment.spec()
    settings = pvesmb.FileServer(name=server.name, smb=pvesmb.SmbSettings(workgroup="OTHER"))
    calls: list[Callable[[], Any]] = [
        lambda: client.file_servers.update(settings, ["smb.workgroup"]),
        lambda: client.users.create(server.name, "carl", pvesmb.User(password=password("carl"))),
        lambda: client.groups.create(server.name, "crew", pvesmb.Group(members=["ben"])),
        lambda: client.file_servers.create(deployment.backend, other, other_spec, users=users("ann")),
    ]
    with session(server.endpoint, "docs", "ann", password("ann")) as live:
        handle = live.write("letter", b"written before")
        with full_disk(deployment.service_dir / "servers"):
            for call in calls:
                refused(call)
                assert live.read(handle, 100) == b"written before" and live.works()
            assert configuration(deployment, server) == before
            made = until_full(deployment, server)
            assert server.smb("ann", "docs", "ls").ok, "new sessions too"
            with pytest.raises(pvesmb.NotFound):
                client.file_servers.get(f"{deployment.backend}/fileServers/{other}")
        assert live.read(handle, 100) == b"written before"
    figures.put("faults", "changes refused while the disk of the configuration is full; old one in force", len(calls) + 1)
    assert sorted(share.name for share in client.shares.list(server.name)) == sorted([server.share("docs"), *made])
    all_works(deployment, server)


def until_full(deployment: NativeDeployment, server: Server) -> list[str]:
    """The registry has room in its file still: shares can be made, and are served, until it has to grow. The one that finds
    none left leaves all others as they were."""
    networks = [f"10.{i}.0.0/16" for i in range(250)]
    made: list[str] = []
    while True:
        share = pvesmb.Share(access=[user_rule("ann")], hosts_deny=networks)
        id, before = f"s{len(made)}", configuration(deployment, server)
        error = deployment.client.shares.create(server.name, id, share).exception(timeout=100)
        if error is not None:
            assert error.reason == "STORAGE_FULL", error
            assert configuration(deployment, server) == before
            assert server.smb("ann", id, "ls").status == "NT_STATUS_BAD_NETWORK_NAME"
            assert not (deployment.data / server.id / id).exists()
            return made
        made.append(server.share(id))
        assert server.smb("ann", id, "ls").ok
        assert len(made) < 200, "the disk is not full"


@pytest.mark.full
def test_store(small: Callable[[str], NativeDeployment], figures: Figures) -> None:
    """The store's disk, which is that of the instances too: nothing is accepted, everything can be read."""
    deployment = small("native")
    client, server = deployment.client, make(deployment)
    rows = deployment.rows("SELECT name, spec, generation FROM resources")
    with full_disk(deployment.service_dir):
        for i in range(20):
            refused(lambda i=i: client.shares.create(server.name, f"new{i}", pvesmb.Share(comment="x" * 250)))  # type: ignore[misc]
        assert [share.name for share in client.shares.list(server.name)] == [server.share("docs")]
        assert client.file_servers.get(server.name).state == pvesmb.ResourceState.RESOURCE_STATE_READY
        assert server.smb("ann", "docs", "ls").ok
        assert deployment.rows("SELECT name, spec, generation FROM resources") == rows
    figures.put("faults", "changes refused while the disk of the store is full", 20)
    until(lambda: deployment.stop() == 0, "an orderly end")
    deployment.start()
    all_works(deployment, server)


@pytest.mark.full
def test_store_while_it_runs(small: Callable[[str], NativeDeployment]) -> None:
    """It fills up under operations that were accepted: they end when there is room again, or say why they did not."""
    deployment = small("native")
    client, server = deployment.client, make(deployment)
    shares = {f"s{i}": pvesmb.Share(comment="x" * 200, access=[user_rule("ann")]) for i in range(8)}
    handles = {id: client.shares.create(server.name, id, share) for id, share in shares.items()}
    with full_disk(deployment.service_dir):
        assert server.smb("ann", "docs", "ls").ok
        refused(lambda: client.shares.create(server.name, "more", pvesmb.Share(comment="x" * 250)))
    for id, handle in handles.items():
        error = handle.exception(timeout=100)
        if error is None:
            assert server.smb("ann", id, "mkdir a").ok
        else:
            assert error.reason == "STORAGE_FULL"
            assert server.smb("ann", id, "ls").status == "NT_STATUS_BAD_NETWORK_NAME"
            assert not (deployment.data / server.id / id).exists()
    all_works(deployment, server)


def test_data(small: Callable[[str], NativeDeployment], figures: Figures) -> None:
    deployment = small("data")
    client, server = deployment.client, make(deployment)
    volume = pvesmb.VolumeStorage(size_bytes=512 * MIB)
    id, spec = deployment.new_id(), deployment.spec()
    first = {"docs": pvesmb.Share(access=[user_rule("ann")])}
    calls: list[Callable[[], Any]] = [
        lambda: client.shares.create(server.name, "new", pvesmb.Share(access=[user_rule("ann")])),
        lambda: client.shares.create(server.name, "vault", pvesmb.Share(volume=volume, access=[user_rule("ann")])),
        lambda: client.file_servers.create(deployment.backend, id, spec, shares=first, users=users("ann")),
    ]
    with full_disk(deployment.data):
        for call in calls:
            refused(call)
        assert sorted(os.listdir(deployment.data / server.id)) == ["docs"]
        assert not (deployment.data / id).exists() and deployment.instances(id) == []
        assert server.smb("ann", "docs", "ls").ok
        assert server.smb("ann", "new", "ls").status == "NT_STATUS_BAD_NETWORK_NAME"
    figures.put("faults", "creates refused while the disk of the shares is full", len(calls))
    all_works(deployment, server)
