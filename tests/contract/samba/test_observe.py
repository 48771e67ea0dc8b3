"""Drift: each kind of change by hand is found, and repaired by the same steps. The plan of a change changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from services.core.domain.names import Kind
from services.core.domain.operation import Verb
from services.core.steps import Drift, Work
from services.samba.observe import observe
from services.samba.plan import plan
from tests.contract.samba.conftest import NewLab
from tests.contract.samba.lab import Lab
from tests.unit.samba import builders


@pytest.fixture
def full(lab: Lab) -> Lab:
    lab.ensure(builders.group("team", 900201, "alice"))
    lab.ensure(lab.share("docs", "@team:read-write"), lab.share("media", "*:read"))
    assert lab.drift() == []
    return lab


def shell(*argv: str) -> Callable[[Lab], object]:
    return lambda lab: lab.tool(*(word.format(lab=lab) for word in argv))


def conf(*argv: str) -> Callable[[Lab], object]:
    return lambda lab: lab.registry(*(word.format(lab=lab) for word in argv))


CASES: dict[str, tuple[Callable[[Lab], object], str, str]] = {
    "configuration changed": (shell("sed", "-i", "$a\\  log level = 3", "{lab.files.conf}"), "", "smb.conf was changed"),
    "account file changed": (shell("sed", "-i", "s/^alice/alicia/", "{lab.files.passwd}"), "", "passwd"),
    "groups changed": (shell("sed", "-i", "s/:alice$/:alice,bob/", "{lab.files.group}"), "", "group"),
    "user disabled": (shell("pdbedit", "-s", "{lab.files.conf}", "-c", "[D]", "-u", "bob"), "users/bob", "is disabled"),
    "probe gone": (shell("pdbedit", "-s", "{lab.files.conf}", "-x", "-u", "pvesmb-probe"), "", "probe's account"),
    "share changed": (conf("setparm", "docs", "guest ok", "yes"), "shares/docs", "guest ok"),
    "option added": (conf("setparm", "docs", "root preexec", "x"), "shares/docs", "root preexec"),
    "share gone": (conf("delshare", "docs"), "shares/docs", "not in Samba's registry"),
    "foreign share": (conf("addshare", "mine", "{lab.data}"), "", "a share mine that is not desired"),
    "probe share changed": (conf("setparm", "pvesmb-probe$", "valid users", "alice"), "", "probe share"),
    "directory gone": (shell("rmdir", "{lab.data}/media"), "shares/media", "is missing"),
    "owner changed": (shell("chown", "900101", "{lab.data}/docs"), "shares/docs", "owner 900101"),
    "group changed": (shell("chgrp", "900201", "{lab.data}/docs"), "shares/docs", "group 900201"),
    "way closed": (shell("chmod", "700", "{lab.data}"), "shares/docs", "cannot pass through"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_change_by_hand_is_found_and_repaired(full: Lab, case: str) -> None:
    spoil, where, message = CASES[case]
    spoil(full)
    found = full.drift()
    place = f"{builders.SERVER}/{where}" if where else str(builders.SERVER)
    assert any(str(drift.resource) == place and message in drift.message for drift in found), found
    if case == "way closed":
        os.chmod(full.data, 0o755)  # nothing of ours: it is only told
    changes = [full.change(row, Verb.REPAIR) for row in full.contents.values()]
    for change in changes:
        change.secret = lambda: None
    full.apply(*changes, whole=True)
    assert [change.error for change in changes] == [None] * len(changes)
    assert full.drift() == []


def test_an_account_that_is_gone_is_found(full: Lab) -> None:
    full.tool("pdbedit", "-s", full.files.conf, "-x", "-u", "alice")
    assert Drift(builders.SERVER.child(Kind.USER, "alice"), "has no account in Samba") in full.drift()


def test_an_account_by_hand_is_found_and_removed(full: Lab) -> None:
    del full.contents[Kind.USER, "carol"]
    found = full.drift()
    assert any("account carol that is not desired" in drift.message for drift in found)
    full.apply(whole=True)
    assert full.drift() == []


def test_a_server_that_was_never_made(new_lab: NewLab) -> None:
    lab = new_lab()
    lab.contents[Kind.SHARE, "docs"] = lab.share("docs", "alice:read")
    messages = [drift.message for drift in lab.drift()]
    assert "smb.conf is missing" in messages
    assert "is not in Samba's registry" in messages
    assert os.listdir(f"{lab.base}/run") == []


def test_looking_is_one_command(full: Lab) -> None:
    full.recorder.commands.clear()
    full.drift()
    assert len(full.recorder.commands) == 1


def test_plan_of_contents(full: Lab) -> None:
    before = full.registry("list")
    new, gone = full.share("new", "alice:read"), full.contents[Kind.SHARE, "docs"]
    changed = full.share("media", "*:read-write")
    work = full.work(
        [
            full.change(new),
            full.change(gone, Verb.DELETE, delete_data=True),
            full.change(changed, Verb.UPDATE),
            full.change(full.contents[Kind.USER, "bob"], Verb.DELETE),
        ]
    )
    made = plan(full, work, {})
    assert made.steps == ("apply", "confirm")
    lines = made.smb_conf_diff.splitlines()
    assert "+[new]" in lines
    assert "-[docs]" in lines
    assert "+  write list = @pvesmb-users" in lines
    assert not any("canary" in line for line in lines)
    assert f"directory {full.path('new')}: made" in made.effects
    assert "share docs: removed, its connections are ended" in made.effects
    assert "user bob: removed, its sessions are ended" in made.effects
    assert full.registry("list") == before
    assert not os.path.exists(full.path("new"))


def test_plan_of_a_new_server(new_lab: NewLab) -> None:
    lab = new_lab()
    work = lab.work([lab.change(lab.user("alice", 1)), lab.change(lab.share("docs", "alice:read"))], whole=True)
    made = plan(lab, work, {}, {"log level": "2"})
    assert made.steps == ("config", "apply", "confirm")
    assert "+  log level = 2" in made.smb_conf_diff.splitlines()
    assert "user alice: made" in made.effects
    assert os.listdir(f"{lab.base}/run") == []


def test_an_empty_difference(full: Lab) -> None:
    row = full.contents[Kind.SHARE, "docs"]
    work: Work = full.work([full.change(replace(row), Verb.UPDATE)])
    assert plan(full, work, {}).smb_conf_diff == ""
    assert observe(full, work, {}, {"log level": "2"}) == [Drift(builders.SERVER, "smb.conf was changed")]
