"""Somebody changes things by hand: it is seen at the next check, and repaired or told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing

import pvesmb
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e import modes
from tests.e2e.deployment import Deployment
from tests.e2e.lxc import LxcDeployment
from tests.e2e.waiting import until
from tests.e2e.words import MIB, RO, Server, user_rule, users

Change = Callable[[Deployment, Server], None]


@pytest.fixture(scope="module")
def watchful(new: Callable[..., Deployment]) -> Iterator[Deployment]:
    with closing(new({"drift_seconds": 1.0})) as deployment:
        deployment.running()
        yield deployment


def make(deployment: Deployment, policy: pvesmb.FileServer.DriftPolicy.ValueType) -> Server:
    return deployment.new_server(
        users=users("ann"),
        shares={
            "docs": pvesmb.Share(access=[user_rule("ann")]),
            "vault": pvesmb.Share(volume=pvesmb.VolumeStorage(size_bytes=512 * MIB), access=[user_rule("ann")]),
        },
        drift_policy=policy,
    )


@pytest.fixture(scope="module")
def mended(watchful: Deployment) -> Server:
    return make(watchful, pvesmb.FileServer.DRIFT_POLICY_REPAIR)


def found(deployment: Deployment) -> float:
    families = text_string_to_metric_families(deployment.metrics()["service"])
    return next(s.value for family in families for s in family.samples if s.name == "pvesmb_drift_found_total")


def share_removed(deployment: Deployment, server: Server) -> None:
    assert deployment.tool(server, "net", "-s", deployment.conf(server), "conf", "delshare", "docs").returncode == 0
    assert server.smb("ann", "docs", "ls").status == "NT_STATUS_BAD_NETWORK_NAME"


def share_opened(deployment: Deployment, server: Server) -> None:
    words = ["net", "-s", deployment.conf(server), "conf", "setparm", "docs", "write list", "nobody"]
    assert deployment.tool(server, *words).returncode == 0
    assert not server.smb("ann", "docs", "mkdir x").ok


def conf_changed(deployment: Deployment, server: Server) -> None:
    conf = deployment.place(server, deployment.conf(server))
    text = conf.read_text().replace("[global]", "[global]\n  server string = mine")
    conf.write_text(text)


def volume_unmounted(deployment: Deployment, server: Server) -> None:
    subprocess.run(["umount", deployment.files(server, "vault")], check=True)


def container_stopped(deployment: Deployment, server: Server) -> None:
    assert isinstance(deployment, LxcDeployment)
    deployment.stop_guest(server)


def account_deleted(deployment: Deployment, server: Server) -> None:
    done = deployment.tool(server, "pdbedit", "-s", deployment.conf(server), "-x", "-u", "ann")
    assert done.returncode == 0, done.stderr


def ok(server: Server) -> bool:
    return server.smb("ann", "docs", "ls").ok and server.smb("ann", "vault", "ls").ok


@pytest.mark.parametrize("change", [share_removed, share_opened, conf_changed])
def test_repaired(watchful: Deployment, mended: Server, change: Change) -> None:
    is_repaired(watchful, mended, change)


@modes.only("native")
def test_a_volume_is_mounted_again(watchful: Deployment, mended: Server) -> None:
    is_repaired(watchful, mended, volume_unmounted)


@modes.only("lxc")
def test_a_stopped_container_is_started(watchful: LxcDeployment, mended: Server) -> None:
    is_repaired(watchful, mended, container_stopped)


@modes.only("lxc")
def test_a_container_that_somebody_has_destroyed_is_told(watchful: LxcDeployment) -> None:
    """It is not made anew: its empty volumes would look as if the files were lost."""
    server = make(watchful, pvesmb.FileServer.DRIFT_POLICY_REPAIR)
    container_stopped(watchful, server)
    vmid = watchful.on_node(server).vmid
    watchful.destroy(server)
    condition = until(lambda: conditions(watchful.client.file_servers.get(server.name)), "a condition")[0]
    assert str(vmid) in condition.message and condition.action
    watchful.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)
    assert watchful.strays({uid: {"docs", "vault"} for uid in watchful.hosted()}) == []


def is_repaired(watchful: Deployment, mended: Server, change: Change) -> None:
    before = found(watchful)
    change(watchful, mended)
    until(lambda: found(watchful) > before, "a check that sees it")
    until(lambda: ok(mended), "the share as it was")
    text = "\n  server string = mine"
    until(lambda: text not in watchful.place(mended, watchful.conf(mended)).read_text(), "smb.conf as it was")
    name = mended.share("docs")
    until(lambda: watchful.client.shares.get(name).state == pvesmb.ResourceState.RESOURCE_STATE_READY, "READY")
    listed = watchful.tool(mended, "net", "-s", watchful.conf(mended), "conf", "showshare", "docs")
    assert "write list = ann" in listed.stdout


def test_a_deleted_account_is_told(watchful: Deployment) -> None:
    """Its password is known to nobody but Samba, so it cannot be made again: the user says what to do."""
    server = make(watchful, pvesmb.FileServer.DRIFT_POLICY_REPAIR)
    account_deleted(watchful, server)
    condition = until(lambda: conditions(watchful.client.users.get(server.user("ann"))), "a condition of the user")[0]
    assert condition.action
    watchful.client.users.reset_password(server.user("ann"), "Kanarien-vogel.ann.1").result(timeout=60)
    until(lambda: ok(server), "the share")
    until(lambda: not conditions(watchful.client.users.get(server.user("ann"))), "the end of the condition")
    watchful.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)


def conditions(resource: pvesmb.Share | pvesmb.User | pvesmb.FileServer) -> list[pvesmb.Condition]:
    return list(resource.conditions)


def test_reported_only(watchful: Deployment) -> None:
    server = make(watchful, pvesmb.FileServer.DRIFT_POLICY_REPORT)
    share_removed(watchful, server)
    [condition] = until(lambda: conditions(watchful.client.shares.get(server.share("docs"))), "the condition")
    assert (condition.type, condition.reason) == ("Drifted", "DRIFTED")
    before = found(watchful)
    until(lambda: found(watchful) > before, "one more check")
    assert server.smb("ann", "docs", "ls").status == "NT_STATUS_BAD_NETWORK_NAME", "it is not touched"
    assert not watchful.client.shares.get(server.share("vault")).conditions
    share = pvesmb.Share(name=server.share("docs"), access=[user_rule("ann", RO)])
    watchful.client.shares.update(share, ["access"]).result(timeout=60)
    assert server.smb("ann", "docs", "ls").ok
    assert not watchful.client.shares.get(server.share("docs")).conditions
    watchful.client.file_servers.delete(server.name, force=True, delete_data=True).result(timeout=60)
