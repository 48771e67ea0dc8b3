"""passwd(5) and group(5), rendered."""

from __future__ import annotations

from dataclasses import replace

from services.core.domain.operation import Verb
from services.core.errors import LimitReached
from services.core.steps import Change, Contents, Work
from services.samba.accounts import group, passwd, wanted
from tests.fakes import MemoryClaims
from tests.unit.samba import builders
from tests.unit.samba.test_config import LAYOUT

ALICE = builders.user("alice", 900100, full_name="Alice Ä.")
BOB = builders.user("bob", 900101)
CONTENTS = Contents(users=(ALICE, BOB), groups=(builders.group("team", 900200, "alice", "gone"),))


def test_passwd() -> None:
    assert passwd(builders.server(), LAYOUT, CONTENTS).splitlines() == [
        "pvesmb-guest:x:900001:900001:Guest:/nonexistent:/usr/sbin/nologin",
        "pvesmb-probe:x:900002:900002:Probe:/nonexistent:/usr/sbin/nologin",
        "alice:x:900100:900000:Alice Ä.:/nonexistent:/usr/sbin/nologin",
        "bob:x:900101:900000::/nonexistent:/usr/sbin/nologin",
    ]


def test_group() -> None:
    assert group(builders.server(), LAYOUT, CONTENTS).splitlines() == [
        "pvesmb-users:x:900000:",
        "pvesmb-guest:x:900001:",
        "pvesmb-probe:x:900002:",
        "team:x:900200:alice",
    ]


def test_the_systems_lines_come_first() -> None:
    layout = replace(LAYOUT, system_passwd="root:x:0:0:root:/root:/bin/sh")
    assert passwd(builders.server(), layout, CONTENTS).startswith("root:x:0:0:root:/root:/bin/sh\npvesmb-guest:")


def test_what_is_wanted_after_a_change() -> None:
    carol = builders.user("carol", 900102)
    failed = Change(builders.user("dave", 900103), Verb.CREATE, error=LimitReached("no"))
    renamed = Change(builders.user("bob", 900101, full_name="Robert"), Verb.UPDATE)
    work = Work(builders.server(), False, [Change(carol, Verb.CREATE), failed, renamed], CONTENTS, MemoryClaims())
    after = wanted(work)
    assert [(user.name.last, user.spec.full_name) for user in after.users] == [
        ("alice", "Alice Ä."),
        ("bob", "Robert"),
        ("carol", ""),
    ]
    assert [user.name.last for user in wanted(work, removing=True).users] == ["alice"]
