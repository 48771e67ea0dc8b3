"""Who calls: certificates, tokens, sockets, and what is believed from whom."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from services.core.errors import Unauthenticated
from services.kit.config import ConfigError
from services.kit.identity import Identity, Peer, Role, authenticate, current
from services.kit.tokens import Tokens

_LOCAL = Identity("local", Role.ADMIN)
_ALICE = {"x-pvesmb-principal": "alice", "x-pvesmb-role": "operator"}


def _tls(*uris: str, **metadata: str) -> Peer:
    auth = {"transport_security_type": [b"ssl"], "peer_uri": [u.encode() for u in uris]}
    return Peer("ipv4:127.0.0.1:5", auth, metadata)


def _plain(address: str, metadata: dict[str, str] | None = None) -> Peer:
    return Peer(address, {"transport_security_type": [b"insecure"]}, metadata or {})


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    path = tmp_path / "tokens.toml"
    path.write_text(f'[tokens.job]\nsha256 = "{_digest("s3cret")}"\nrole = "operator"\n')
    return Tokens(str(path))


@pytest.mark.parametrize("role", list(Role))
def test_role_from_certificate(role: Role) -> None:
    peer = _tls("https://example.org/x", f"pvesmb://role/{role.name.lower()}/bob")
    assert authenticate(peer, None, behind_gateway=False) == Identity("bob", role)


@pytest.mark.parametrize(
    "uris",
    [(), ("pvesmb://role/root/bob",), ("pvesmb://role/admin/",), ("pvesmb://role/admin/a\nb",), ("pvesmb://gateway",)],
)
def test_certificate_without_a_role(uris: tuple[str, ...]) -> None:
    with pytest.raises(Unauthenticated):
        authenticate(_tls(*uris), None, behind_gateway=False)


def test_socket_and_loopback_are_the_local_administrator() -> None:
    assert authenticate(_plain("unix:"), None, behind_gateway=False) == _LOCAL
    assert authenticate(_plain("ipv4:127.0.0.1:9"), None, behind_gateway=True) == _LOCAL


def test_backend_believes_only_the_gateway_about_the_caller() -> None:
    alice = Identity("alice", Role.OPERATOR)
    assert authenticate(_plain("unix:", _ALICE), None, behind_gateway=True) == alice
    assert authenticate(_tls("pvesmb://gateway", **_ALICE), None, behind_gateway=True) == alice
    assert authenticate(_plain("ipv4:127.0.0.1:9", _ALICE), None, behind_gateway=True) == _LOCAL
    other = _tls("pvesmb://role/viewer/eve", **_ALICE)
    assert authenticate(other, None, behind_gateway=True) == Identity("eve", Role.VIEWER)


def test_gateway_believes_nobody_about_the_caller() -> None:
    assert authenticate(_plain("unix:", _ALICE), None, behind_gateway=False) == _LOCAL


def test_gateway_without_a_caller_is_itself() -> None:
    assert authenticate(_tls("pvesmb://gateway"), None, behind_gateway=True) == Identity("gateway", Role.ADMIN)


@pytest.mark.parametrize(
    "metadata",
    [
        {"x-pvesmb-principal": "alice"},
        {"x-pvesmb-role": "viewer"},
        {"x-pvesmb-principal": "", "x-pvesmb-role": ""},
        {"x-pvesmb-principal": "alice b", "x-pvesmb-role": "viewer"},
        {"x-pvesmb-principal": "a" * 81, "x-pvesmb-role": "viewer"},
        {"x-pvesmb-principal": "alice", "x-pvesmb-role": "root"},
    ],
)
def test_malformed_word_of_the_gateway_makes_nobody_an_administrator(metadata: dict[str, str]) -> None:
    for peer in (_tls("pvesmb://gateway", **metadata), _plain("unix:", metadata)):
        with pytest.raises(Unauthenticated, match="x-pvesmb-role"):
            authenticate(peer, None, behind_gateway=True)


def test_token(tokens: Tokens) -> None:
    peer = _tls(authorization="Bearer s3cret")
    assert authenticate(peer, tokens, behind_gateway=False) == Identity("job", Role.OPERATOR)


def test_token_outweighs_certificate_and_socket(tokens: Tokens) -> None:
    peer = _tls("pvesmb://role/admin/bob", authorization="bearer s3cret")
    assert authenticate(peer, tokens, behind_gateway=False).principal == "job"
    with pytest.raises(Unauthenticated):
        authenticate(_plain("unix:", {"authorization": "Bearer wrong"}), tokens, behind_gateway=False)


@pytest.mark.parametrize("value", ["Bearer wrong", "Basic s3cret", "Bearer", ""])
def test_wrong_token(tokens: Tokens, value: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        authenticate(_tls(authorization=value), tokens, behind_gateway=False)
    assert "wrong" not in caught.value.message


def test_token_where_none_are_taken() -> None:
    with pytest.raises(Unauthenticated, match="not accepted"):
        authenticate(_plain("unix:", {"authorization": "Bearer s3cret"}), None, behind_gateway=False)


def test_tokens_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(f'[tokens.old]\nsha256 = "{_digest("one")}"\nrole = "viewer"\n')
    tokens = Tokens(str(path))
    new = tmp_path / "new"
    new.write_text(f'[tokens.new]\nsha256 = "{_digest("two")}"\nrole = "admin"\n')
    os.rename(new, path)
    assert tokens.find("one") is None
    assert tokens.find("two") == ("new", "admin")
    path.write_text("[tokens.broken]\n")
    assert tokens.find("two") == ("new", "admin")


@pytest.mark.parametrize("text", ["x = 1", '[tokens.a]\nsha256 = "short"\nrole = "viewer"', "[tokens.a]\nrole = 1"])
def test_broken_tokens_file_at_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        Tokens(str(path))


@pytest.mark.parametrize("name", ["backup job", "a" * 81, "", "äpfel"])
def test_token_whose_name_no_backend_would_take(tmp_path: Path, name: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(f'[tokens."{name}"]\nsha256 = "{_digest("x")}"\nrole = "viewer"\n')
    with pytest.raises(ConfigError, match=name or "tokens.''"):
        Tokens(str(path))


def test_nobody_is_current_outside_of_a_call() -> None:
    with pytest.raises(Unauthenticated):
        current()
