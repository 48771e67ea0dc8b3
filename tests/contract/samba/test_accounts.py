"""Users and groups on a real smbd."""

from __future__ import annotations

from services.core.domain.names import Kind
from services.core.domain.operation import Verb
from tests.contract.samba.lab import Lab
from tests.unit.samba import builders


def test_a_new_user_can_log_in_at_once(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "*:read"))
    for number in range(5, 9):
        lab.ensure(lab.user(f"user{number}", number))
        assert "blocks available" in lab.smbclient("docs", f"user{number}", "ls")


def test_a_removed_user_is_out(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "*:read"))
    row = lab.contents[Kind.USER, "alice"]
    with lab.session("alice") as alice, lab.session("bob") as bob:
        lab.remove(row)
        assert not alice.alive()
        assert bob.alive()
    assert "LOGON_FAILURE" in lab.smbclient("docs", "alice", "ls")
    assert lab.remove(row)[0].error is None
    assert lab.drift() == []
    lab.ensure(row)
    assert "blocks available" in lab.smbclient("docs", "alice", "ls")


def test_a_disabled_user_cannot_log_in_but_keeps_the_session(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "*:read"))
    with lab.session("alice") as session:
        row = builders.user("alice", 900100, disabled=True)
        change = lab.change(row, Verb.UPDATE)
        change.secret = lambda: None
        lab.apply(change)
        assert change.error is None
        assert session.alive()
    assert "ACCOUNT_DISABLED" in lab.smbclient("docs", "alice", "ls")
    assert lab.drift() == []
    change = lab.change(builders.user("alice", 900100), Verb.UPDATE)
    change.secret = lambda: None
    lab.apply(change)
    assert "blocks available" in lab.smbclient("docs", "alice", "ls")


def reset(lab: Lab, *, end_sessions: bool) -> None:
    row = lab.contents[Kind.USER, "alice"]
    lab.passwords["alice"] = "canary-new-secret äß€"
    lab.ensure(row, verb=Verb.RESET_PASSWORD, end_sessions=end_sessions)


def test_a_new_password_counts_at_once(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "*:read"))
    old = lab.passwords["alice"]
    with lab.session("alice") as session:
        reset(lab, end_sessions=False)
        assert session.alive()
    assert "LOGON_FAILURE" in lab.smbclient("docs", "alice", "ls", password=old)
    assert "blocks available" in lab.smbclient("docs", "alice", "ls")


def test_a_new_password_ends_sessions_if_wanted(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "*:read"))
    with lab.session("alice") as first, lab.session("alice") as second, lab.session("bob") as other:
        reset(lab, end_sessions=True)
        assert not first.alive()
        assert not second.alive()
        assert other.alive()


def test_a_lost_account_cannot_be_repaired_without_a_password(lab: Lab) -> None:
    lab.tool("pdbedit", "-s", lab.files.conf, "-x", "-u", "alice")
    change = lab.change(lab.contents[Kind.USER, "alice"], Verb.REPAIR)
    change.secret = lambda: None
    other = lab.change(lab.contents[Kind.USER, "bob"], Verb.REPAIR)
    lab.apply(change, other)
    assert other.error is None
    assert change.error is not None
    assert change.error.reason == "PRECONDITION_FAILED"
    assert "ResetPassword" in change.error.help


def test_group_membership_counts_from_the_next_connection(lab: Lab) -> None:
    lab.ensure(builders.group("team", 900201), lab.share("docs", "@team:read"))
    assert "ACCESS_DENIED" in lab.smbclient("docs", "alice", "ls")
    lab.ensure(builders.group("team", 900201, "alice"), verb=Verb.UPDATE)
    assert "blocks available" in lab.smbclient("docs", "alice", "ls")
    row = lab.contents[Kind.GROUP, "team"]
    lab.remove(row)
    assert lab.remove(row)[0].error is None
    assert "ACCESS_DENIED" in lab.smbclient("docs", "alice", "ls")
    assert lab.drift() == []
