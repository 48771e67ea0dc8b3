"""Accounts: what counts for the next login, and what for a session that is open."""

from __future__ import annotations

import pvesmb
import pytest

from tests.e2e.deployment import Deployment
from tests.e2e.smb import session
from tests.e2e.waiting import until
from tests.e2e.words import RO, Server, group_rule, password, user_rule, users

WRONG = "NT_STATUS_LOGON_FAILURE"


@pytest.fixture
def server(deployment: Deployment) -> Server:
    return deployment.new_server(
        users=users("ann", "ben"),
        groups={"crew": pvesmb.Group(members=["ann"])},
        shares={
            "docs": pvesmb.Share(access=[user_rule("ann"), user_rule("ben")]),
            "crew": pvesmb.Share(access=[group_rule("crew")]),
        },
    )


def test_disabled_and_enabled(deployment: Deployment, server: Server) -> None:
    client = deployment.client
    client.users.update(pvesmb.User(name=server.user("ann"), disabled=True), ["disabled"]).result(timeout=60)
    assert server.smb("ann", "docs", "ls").status == "NT_STATUS_ACCOUNT_DISABLED"
    assert server.smb("ben", "docs", "ls").ok
    client.users.update(pvesmb.User(name=server.user("ann"), disabled=False), ["disabled"]).result(timeout=60)
    assert server.smb("ann", "docs", "ls").ok


@pytest.mark.parametrize("end_sessions", [True, False])
def test_reset_password(deployment: Deployment, server: Server, end_sessions: bool) -> None:
    with (
        session(server.endpoint, "docs", "ann", password("ann")) as anns,
        session(server.endpoint, "docs", "ben", password("ben")) as bens,
    ):
        assert anns.works() and bens.works()
        handle = deployment.client.users.reset_password(server.user("ann"), password("ann", 2), end_sessions=end_sessions)
        handle.result(timeout=60)
        assert server.smb("ann", "docs", "ls").status == WRONG
        assert server.smb("ann", "docs", "ls", number=2).ok
        assert anns.works() is not end_sessions
        assert bens.works(), "another user's session is nobody's business"


def test_a_deleted_user_is_out(deployment: Deployment, server: Server) -> None:
    with session(server.endpoint, "docs", "ben", password("ben")) as live:
        assert live.works()
        share = pvesmb.Share(name=server.share("docs"), access=[user_rule("ann")])
        deployment.client.shares.update(share, ["access"]).result(timeout=60)
        deployment.client.users.delete(server.user("ben")).result(timeout=60)
        assert server.smb("ben", "docs", "ls").status == WRONG
        until(lambda: not live.works(), "the end of the deleted user's session")


def test_a_user_who_is_named_by_a_share_stays(deployment: Deployment, server: Server) -> None:
    with pytest.raises(pvesmb.FailedPrecondition):
        deployment.client.users.delete(server.user("ben")).result(timeout=60)
    assert server.smb("ben", "docs", "ls").ok


def test_membership_decides(deployment: Deployment, server: Server) -> None:
    assert server.smb("ann", "crew", "mkdir a").ok
    assert server.smb("ben", "crew", "ls").status == "NT_STATUS_ACCESS_DENIED"
    deployment.client.groups.update(pvesmb.Group(name=server.group("crew"), members=["ben"]), ["members"]).result(
        timeout=60
    )
    assert server.smb("ben", "crew", "mkdir b").ok
    assert server.smb("ann", "crew", "ls").status == "NT_STATUS_ACCESS_DENIED"


def test_a_user_made_later(deployment: Deployment, server: Server) -> None:
    deployment.client.users.create(server.name, "carl", pvesmb.User(password=password("carl"))).result(timeout=60)
    share = pvesmb.Share(name=server.share("docs"), access=[user_rule("carl", RO)])
    deployment.client.shares.update(share, ["access"]).result(timeout=60)
    assert server.smb("carl", "docs", "ls").ok
