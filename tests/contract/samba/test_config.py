"""smb.conf on the real testparm(1) and smbd."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import Any

import pytest

from services.core.domain.file_server import Demand, Dialect, FileServerSpec, SmbSettings
from services.core.errors import SambaConfigRejected, SambaUnavailable
from services.samba import config, probe
from services.samba.options import ALLOWED
from services.samba.steps import ConfigStep, ConfirmStep
from tests.contract.samba.conftest import NewLab
from tests.contract.samba.lab import Lab
from tests.unit.samba import builders


def conf(lab: Lab) -> bytes:
    return lab.recorder.read_file(lab.files.conf)


@pytest.mark.parametrize(
    ("dialect", "encryption", "guests"),
    [
        (dialect, encryption, guests)
        for dialect, encryption, guests in itertools.product(Dialect, Demand, (False, True))
        if not (encryption is Demand.REQUIRED and guests)
    ],
)
def test_every_setting_is_read_as_it_is_meant(new_lab: NewLab, dialect: Dialect, encryption: Demand, guests: bool) -> None:
    lab = new_lab(min_protocol=dialect, encryption=encryption, allow_guests=guests, signing=Demand.DESIRED)
    ConfigStep(lab).ensure(lab.work(whole=True))
    assert conf(lab).decode() == config.render(lab.server, lab.files, lab.endpoints(lab.server), {})


@pytest.mark.parametrize("text", ["", "plain", 'with "quotes" and ünicode', "ends with \\", "a = b; # c [d]", '"', " x "])
def test_every_description_is_read_as_it_is_meant(new_lab: NewLab, text: str) -> None:
    lab = new_lab()
    lab.server = builders.server(FileServerSpec(description=text))
    ConfigStep(lab).ensure(lab.work(whole=True))
    assert b"  disable netbios = yes\n" in conf(lab)


def test_ensure_and_remove_run_twice(new_lab: NewLab) -> None:
    lab = new_lab()
    step, work = ConfigStep(lab), lab.work(whole=True)
    step.ensure(work)
    seen = os.stat(lab.files.conf).st_mtime_ns
    step.ensure(work)
    assert os.stat(lab.files.conf).st_mtime_ns == seen, "it was written again without need"
    assert os.stat(lab.files.private_dir).st_mode & 0o777 == 0o700
    step.remove(work)
    step.remove(work)
    assert not os.path.exists(lab.files.conf)


def test_account_files_are_read_again(new_lab: NewLab) -> None:
    """nss_wrapper(1) looks at whole seconds: two changes within one second must differ by one."""
    lab = new_lab()
    times = []
    for number in range(3):
        lab.contents = {(row.name.kind, row.name.last): row for row in [lab.user(f"u{number}", number)]}
        ConfigStep(lab).ensure(lab.work(whole=True))
        times.append(int(os.stat(lab.files.passwd).st_mtime))
        assert f"u{number}" in lab.tool("getent", "passwd", f"u{number}")
    assert times == sorted(set(times))


def settings(lab: Lab, **smb: Any) -> None:
    lab.server = replace(lab.server, spec=replace(lab.server.spec, smb=SmbSettings(**smb)))


def test_a_running_server_takes_changes_over(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:read"))
    old = ["-m", "SMB3_02"]
    assert "blocks available" in lab.smbclient("docs", "alice", "ls", options=old)
    before = conf(lab)
    settings(lab, min_protocol=Dialect.SMB3_11)
    with lab.session("alice") as session:
        lab.apply(whole=True)
        assert not config.needs_restart(before, conf(lab))
        lab.until(lambda: "blocks available" not in lab.smbclient("docs", "alice", "ls", options=old))
        assert session.alive()
    assert "blocks available" in lab.smbclient("docs", "alice", "ls")


def test_a_wrong_setting_of_the_site_keeps_the_server_running(lab: Lab) -> None:
    lab.ensure(lab.share("docs", "alice:read"))
    with pytest.raises(SambaConfigRejected):
        ConfigStep(lab, {"workgroups": "x"}).ensure(lab.work(whole=True))
    assert "blocks available" in lab.smbclient("docs", "alice", "ls")


def test_samba_knows_every_option_that_is_allowed(lab: Lab) -> None:
    """Each with each word that it takes; and those that take none with an example."""
    examples = {
        "dont descend": "proc,dev", "force create mode": "0640", "force directory mode": "2770", "hide files": "/*.tmp/",
        "veto files": "/*.tmp/.DS_Store/", "veto oplock files": "/*.mdb/", "volume": "DATA 1", "block size": "4096",
    }  # fmt: skip
    longest = max(len(option.words) for option in ALLOWED.values())
    for number in range(longest):
        chosen = {
            name: option.words[number % len(option.words)] if option.words else examples.get(name, "1024")
            for name, option in ALLOWED.items()
        }
        lab.ensure(lab.share("all", "alice:read", smb_options=chosen))
        assert lab.drift() == []


def test_every_address_is_listened_on_and_asked(new_lab: NewLab) -> None:
    lab = new_lab()
    places = [(lab.address, lab.port), ("127.77.0.3", lab.port)]
    if os.path.exists("/proc/net/if_inet6"):
        places.append(("::1", lab.port))
    lab.endpoints = lambda server: places  # type: ignore[method-assign]
    share = lab.change(lab.share("docs", "alice:read"))
    lab.apply(lab.change(lab.user("alice", 1)), share, whole=True)
    assert share.error is None
    for place in places:
        assert probe.ask(place, lab.probe_password(lab.server), ["docs"]) == {"docs": probe.Answer.DENIED}
    places.append(("127.77.0.4", lab.port))
    with pytest.raises(SambaUnavailable):
        ConfirmStep(lab, 0.2).ensure(lab.work(whole=True))
