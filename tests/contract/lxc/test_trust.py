"""What the login lacks, and certificates: told by name, before and at the call; and what no error may hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakepve import FakePve
from fakepve.certs import make_cert

from services.core.errors import HostNotTrusted, HostUnreachable, ProxmoxDenied, PvesmbError
from services.lxc.templates import list_templates
from services.proxmox.failures import Kind, kind_of
from services.proxmox.logins import Password, Token
from services.proxmox.preflight import preflight
from services.proxmox.session import Endpoint, Session
from services.proxmox.storage import upload_template
from tests.contract.fake_node import TOKEN, revoke
from tests.contract.lxc.world import (
    KEY,
    SETTINGS,
    Bench,
    share,
    spoken,
    with_placement,
)

NEEDED = [(path, each) for path, all in SETTINGS.needs().privileges().items() for each in all]


def upload(bench: Bench, file: Path) -> None:
    file.write_bytes(b"\x28\xb5\x2f\xfd")
    upload_template(bench.api, "pve1", "local", str(file))


def life(bench: Bench) -> None:
    """All that a file server is asked for in its life."""
    list_templates(SETTINGS, bench.api)
    bench.ensure()
    if (error := bench.add(share(bench.server)).error) is not None:
        raise error
    bench.server = with_placement(bench.server, cores=2, memory_bytes=2**29, hostname="other", start_on_boot=False)
    bench.ensure()
    bench.remove()


def test_a_life_with_all_that_is_needed(bench: Bench, tmp_path: Path) -> None:
    upload(bench, tmp_path / "x_1_amd64.tar.zst")
    life(bench)
    assert bench.fake.cts == []


@pytest.mark.parametrize(("path", "privilege"), NEEDED)
def test_each_privilege_that_is_missing_is_named_before_and_at_the_call(
    fake: FakePve, bench: Bench, tmp_path: Path, path: str, privilege: str
) -> None:
    revoke(fake, path, privilege)
    conditions = preflight(bench.api, SETTINGS.needs())
    assert f"privilege {privilege} on {path} is missing" in [each.message for each in conditions]
    if (path, privilege) == ("/storage/local-lvm", "Datastore.Audit"):
        # Who may allocate may look: the preflight asks for more than a life takes.
        life(bench)
        return
    with pytest.raises(PvesmbError) as refused:
        upload(bench, tmp_path / "x_1_amd64.tar.zst")
        life(bench)
    said = f"{refused.value.message} {refused.value.help}"
    assert privilege in said
    assert any(place in said for place in (path, "/vms/100", path.removeprefix("/storage/")))


def test_a_missing_privilege_leaves_nothing(fake: FakePve, bench: Bench) -> None:
    for privilege in ("VM.Config.Network", "VM.Allocate"):
        revoke(fake, "/pool/smbgw", privilege)
        with pytest.raises(ProxmoxDenied):
            bench.make()
        assert fake.cts == [] and bench.claims.rows == {}


def test_a_volume_without_the_right_to_its_storage(fake: FakePve, bench: Bench) -> None:
    bench.ensure()
    revoke(fake, "/storage/local-lvm", "Datastore.AllocateSpace")
    error = bench.add(share(bench.server)).error
    assert isinstance(error, ProxmoxDenied)
    assert (error.metadata["path"], error.metadata["privilege"]) == ("/storage/local-lvm", "Datastore.AllocateSpace")
    assert "mp0" not in bench.ct.config


@pytest.fixture
def other_certificate(tmp_path: Path) -> str:
    return str(make_cert(str(tmp_path), hosts=("127.0.0.1",))[0])


Trusting = Callable[[int, str], Endpoint]


@pytest.mark.parametrize(
    "trusting",
    [
        lambda port, other: Endpoint("127.0.0.1", port, ca_file=other),
        lambda port, other: Endpoint("127.0.0.1", port, fingerprint=":".join(["AB"] * 32)),
        lambda port, other: Endpoint("127.0.0.1", port),
    ],
)
def test_a_node_that_is_not_trusted_is_told_nothing(
    fake: FakePve, bench: Bench, sessions: list[Session], other_certificate: str, trusting: Trusting
) -> None:
    bench.ensure()
    asked, claims = len(fake.requests), dict(bench.claims.rows)
    logins: tuple[Token | Password, ...] = (TOKEN, Password("root@pam", "secret"))
    for login in logins:
        sessions.append(Session(trusting(fake.port, other_certificate), login))
        bench.api = sessions[-1]
        for act in (bench.ensure, bench.remove):
            with pytest.raises(HostNotTrusted) as refused:
                act()
            assert kind_of(refused.value) is Kind.UNTRUSTED and refused.value.help
        assert [each.type for each in preflight(bench.api, SETTINGS.needs())] == ["ProxmoxUnavailable"]
    assert len(fake.requests) == asked and bench.claims.rows == claims


def test_no_error_holds_a_secret(fake: FakePve, bench: Bench, sessions: list[Session], fakepve_cafile: str) -> None:
    """Neither of a wrong login, nor of one that is right, nor the key that may log in."""
    endpoint = Endpoint("127.0.0.1", fake.port, ca_file=fakepve_cafile)
    wrong: list[Token | Password] = [
        replace(TOKEN, value="00000000-dead-beef-0000-000000000000"),
        Password("root@pam", "hunter2hunter2"),
    ]
    good = bench.api
    for login in [*wrong, Token("nobody@pve", "x", "11111111-dead-beef-0000-000000000000")]:
        sessions.append(Session(endpoint, login))
        bench.api = sessions[-1]
        with pytest.raises(ProxmoxDenied) as refused:
            bench.make()
        assert login.value not in spoken(refused.value) and login.value not in repr(login)
    bench.api = good
    fake.fail("POST", "/nodes/pve1/lxc", 500, f"trouble with {TOKEN.value}", times=1)
    with pytest.raises(PvesmbError) as failed:
        bench.make()
    assert TOKEN.value not in spoken(failed.value) and KEY not in spoken(failed.value)


def test_a_node_that_is_not_there(fake: FakePve, bench: Bench, sessions: list[Session]) -> None:
    sessions.append(Session(Endpoint("127.0.0.1", 1), TOKEN))
    bench.api = sessions[-1]
    with pytest.raises(HostUnreachable):
        bench.make()
    assert bench.claims.rows == {}
