"""The session against what goes wrong between it and a node."""

from __future__ import annotations

import hashlib
import logging
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakepve import FakePve
from fakepve.certs import make_cert

from services.core.errors import PvesmbError
from services.proxmox.containers import create, destroy, list_containers, start
from services.proxmox.failures import Kind, kind_of, may_have_happened
from services.proxmox.ids import next_id
from services.proxmox.logins import Password, Token
from services.proxmox.session import Endpoint, Session
from services.proxmox.storage import upload_template
from services.proxmox.tasks import wait
from tests.contract.fake_node import TOKEN
from tests.contract.proxmox.place import Place


def fingerprint(pem: str) -> str:
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(pem).read_text())).hexdigest().upper()
    return ":".join(digest[n : n + 2] for n in range(0, 64, 2))


def refusal(session: Session, path: tuple[str, ...] = ("version",), timeout: float = 30.0) -> PvesmbError:
    with pytest.raises(PvesmbError) as refused:
        session.call("GET", path, timeout=timeout)
    return refused.value


def test_a_pinned_certificate_is_enough(fake: FakePve, fakepve_cafile: str, sessions: list[Session]) -> None:
    pinned = Endpoint("127.0.0.1", fake.port, fingerprint=fingerprint(fakepve_cafile))
    for login in (TOKEN, Password("root@pam", "secret")):
        sessions.append(Session(pinned, login))
        assert sessions[-1].call("GET", ("version",))["version"]


def test_a_changed_certificate_is_refused_before_anything_is_sent(fake: FakePve, sessions: list[Session]) -> None:
    for login in (TOKEN, Password("root@pam", "secret")):
        sessions.append(Session(Endpoint("127.0.0.1", fake.port, fingerprint=":".join(["AB"] * 32)), login))
        error = refusal(sessions[-1])
        assert kind_of(error) is Kind.UNTRUSTED
        assert "has changed" in error.help
    assert fake.requests == []


def test_a_certificate_of_another_authority_is_refused(fake: FakePve, tmp_path: Path, sessions: list[Session]) -> None:
    other = make_cert(str(tmp_path), hosts=("127.0.0.1",))[0]
    for ca_file in (str(other), ""):
        sessions.append(Session(Endpoint("127.0.0.1", fake.port, ca_file=ca_file), TOKEN))
        error = refusal(sessions[-1])
        assert kind_of(error) is Kind.UNTRUSTED
        assert "pve-root-ca" in error.help
    assert fake.requests == []


def test_a_wrong_token_is_refused(fake: FakePve, fakepve_cafile: str, sessions: list[Session]) -> None:
    endpoint = Endpoint("127.0.0.1", fake.port, ca_file=fakepve_cafile)
    for login in (Token("smbgw@pve", "gw", "wrong"), Password("root@pam", "wrong")):
        sessions.append(Session(endpoint, login))
        assert kind_of(refusal(sessions[-1])) is Kind.LOGIN


def test_a_ticket_that_has_run_out_is_renewed(fake: FakePve, fakepve_cafile: str, sessions: list[Session]) -> None:
    sessions.append(Session(Endpoint("127.0.0.1", fake.port, ca_file=fakepve_cafile), Password("root@pam", "secret")))
    assert sessions[-1].call("GET", ("version",))
    fake.revoke_tickets()
    assert sessions[-1].call("GET", ("version",))


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    session = Session(Endpoint("127.0.0.1", port), TOKEN)
    error = refusal(session)
    session.close()
    assert kind_of(error) is Kind.UNREACHABLE
    assert str(port) not in error.message and "127.0.0.1" not in error.message


def test_a_node_that_hangs_costs_the_call_its_own_time(session: Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        session = Session(Endpoint("127.0.0.1", silent.getsockname()[1]), TOKEN)
        error = refusal(session, timeout=0.2)
        session.close()
    assert kind_of(error) is Kind.TIMEOUT
    assert may_have_happened(error)


def test_an_answer_that_does_not_come(fake: FakePve, session: Session) -> None:
    assert session.call("GET", ("version",))
    fake.flaky_network(hang_rate=1.0, hang_secs=1, seed=1)
    assert kind_of(refusal(session, timeout=0.2)) is Kind.TIMEOUT


def test_connections_that_are_cut(fake: FakePve, fake_node: Place, session: Session) -> None:
    fake.flaky_network(drop_rate=1.0, seed=1)
    assert kind_of(refusal(session)) is Kind.DROPPED
    with pytest.raises(PvesmbError) as refused:
        start(fake_node.api, fake_node.guest(100))
    assert kind_of(refused.value) is Kind.DROPPED
    assert may_have_happened(refused.value)


def test_a_read_survives_one_cut_and_a_change_is_not_repeated(fake: FakePve, fake_node: Place) -> None:
    guest = fake_node.made()
    fake.fail("GET", f"/nodes/pve1/lxc/{guest.vmid}/config", 596, "Broken pipe", times=1)
    assert fake_node.api.call("GET", (*guest.path, "config"))["digest"]
    fake.fail("POST", f"/nodes/pve1/lxc/{guest.vmid}/status/start", 596, "Broken pipe", times=1)
    with pytest.raises(PvesmbError):
        start(fake_node.api, guest)
    assert [path for method, path, _ in fake.requests if method == "POST"].count(
        f"/api2/json/nodes/pve1/lxc/{guest.vmid}/status/start"
    ) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, Kind.FAILED), (595, Kind.UNREACHABLE), (596, Kind.DROPPED), (502, Kind.NOT_PROXMOX), (501, Kind.UNKNOWN_CALL)],
)
@pytest.mark.parametrize("html", [False, True])
def test_statuses(fake: FakePve, session: Session, status: int, kind: Kind, html: bool) -> None:
    fake.fail("GET", "/version", status, "boom", html=html)
    assert kind_of(refusal(session)) is kind


def test_a_page_that_is_no_answer(fake: FakePve, session: Session) -> None:
    fake.fail("GET", "/version", 200, "welcome", html=True)
    assert kind_of(refusal(session)) is Kind.NOT_PROXMOX


def test_a_privilege_that_the_call_needs_is_named(fake: FakePve, fake_node: Place) -> None:
    fake.fail("POST", "/nodes/pve1/lxc", 403, "Permission check failed")
    with pytest.raises(PvesmbError) as refused:
        create(fake_node.api, fake_node.guest(next_id(fake_node.api)), fake_node.new())
    assert refused.value.metadata["privilege"] == "VM.Allocate"
    assert refused.value.metadata["path"] == "/pool/smbgw"


def test_no_word_true_is_ever_sent(fake: FakePve, fake_node: Place) -> None:
    """The fake takes it, a real node answers 400."""
    guest = fake_node.made(onboot=True, protection=False, nesting=True)
    wait(fake_node.api, start(fake_node.api, guest), timeout=60)
    wait(fake_node.api, destroy(fake_node.api, guest), timeout=60)
    assert fake.requests
    assert not [each for each in fake.requests if "True" in str(each) or "False" in str(each)]


def test_secrets_reach_no_log_and_no_error(
    fake: FakePve, session: Session, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    canary = "canary-4711-secret"
    fake.fail("POST", "/nodes/pve1/lxc", 500, f"bad password '{canary}' for {TOKEN.value}")
    with pytest.raises(PvesmbError) as refused:
        session.call("POST", ("nodes", "pve1", "lxc"), {"vmid": 100, "password": canary})
    (tmp_path / "t_1_amd64.tar.zst").write_bytes(b"x" * 100)
    upload_template(session, "pve1", "local", str(tmp_path / "t_1_amd64.tar.zst"))
    seen = caplog.text + repr(refused.value.to_json()) + repr(TOKEN) + repr(Password("root@pam", canary))
    assert canary not in seen
    assert TOKEN.value not in seen


def test_threads_share_the_session(fake: FakePve, session: Session) -> None:
    gate = threading.Barrier(16)

    def look(_: int) -> int:
        gate.wait()
        return len(list_containers(session, "pve1"))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(look, range(16))) == [0] * 16
