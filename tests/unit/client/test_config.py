"""How a client finds its gateway, in which order, and what it says when it cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pvesmb import ConfigError, GatewayNotFound, Tls, find
from pvesmb._channel import open_channel
from pvesmb._config import Settings, check_target, is_loopback, read_token


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with a virtual environment, in which this runs."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "clone" / ".venv"))
    return tmp_path / "clone"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_order_of_the_places(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    environ = {"HOME": str(home)}
    with pytest.raises(GatewayNotFound) as caught:
        find(environ=environ)
    for place in (clone / "var/client.toml", home / ".config/pvesmb/client.toml", "/etc/pvesmb/client.toml"):
        assert str(place) in caught.value.message
    assert "make run" in caught.value.help
    write(home / ".config/pvesmb/client.toml", 'gateway = "unix:/of-home"')
    assert find(environ=environ).gateway == "unix:/of-home"
    write(clone / "var/client.toml", 'gateway = "unix:/of-clone"')
    assert find(environ=environ).gateway == "unix:/of-clone"
    named = write(tmp_path / "named.toml", 'gateway = "unix:/named"')
    environ["PVESMB_CONFIG"] = str(named)
    assert find(environ=environ) == Settings("unix:/named", source=str(named))
    environ["PVESMB_GATEWAY"] = "unix:/of-environment"
    assert find(environ=environ).gateway == "unix:/of-environment"
    assert find("unix:/given", environ).gateway == "unix:/given"


def test_xdg_config_home_counts(clone: Path, tmp_path: Path) -> None:
    write(tmp_path / "xdg/pvesmb/client.toml", 'gateway = "unix:/xdg"')
    environ = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert find(environ=environ).gateway == "unix:/xdg"


def test_the_environment_names_files_too() -> None:
    environ = {"PVESMB_GATEWAY": "gw:7443", "PVESMB_CA": "/ca", "PVESMB_CERT": "/c", "PVESMB_KEY": "/k"}
    environ["PVESMB_TOKEN_FILE"] = "/t"
    expected = Settings("gw:7443", Tls(Path("/ca"), Path("/c"), Path("/k")), Path("/t"), source="PVESMB_GATEWAY")
    assert find(environ=environ) == expected


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    text = 'gateway = "gw:7443"\nca = "ca.pem"\ntoken_file = "/abs/token"\n'
    found = find(environ={"PVESMB_CONFIG": str(write(tmp_path / "client.toml", text))})
    assert found.tls == Tls(ca=tmp_path / "ca.pem")
    assert found.token_file == Path("/abs/token")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gateway = ", "not valid TOML"),
        ("", "gateway is missing"),
        ('gateway = ""', "gateway is missing"),
        ("gateway = 7", "must be text"),
        ('gateway = "gw:1"\ncolour = "red"', "unknown key 'colour'"),
        ('gateway = "gw:1"\ninsecure_loopback = "yes"', "true or false"),
        ('gateway = "gw"', "'gw' is not the address"),
        ('gateway = "gw:1"\ncert = "c.pem"', "both cert and key"),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path / "client.toml", text)
    with pytest.raises(ConfigError) as caught:
        find(environ={"PVESMB_CONFIG": str(path)})
    assert says in caught.value.message


def test_a_file_that_is_named_must_be_there_and_be_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        find(environ={"PVESMB_CONFIG": str(tmp_path / "none.toml")})
    broken = tmp_path / "broken.toml"
    broken.write_bytes(b'gateway = "\xff"')
    with pytest.raises(ConfigError, match="not valid TOML"):
        find(environ={"PVESMB_CONFIG": str(broken)})


@pytest.mark.parametrize("target", ["gw:7443", "10.0.0.1:1", "[::1]:65535", "unix:/run/g.sock"])
def test_targets_that_are_understood(target: str) -> None:
    assert check_target(target) == target


@pytest.mark.parametrize("target", ["", "gw", "gw:", "gw:0", "gw:65536", "::1:7443", "https://gw:1", "unix:", "a b:1"])
def test_targets_that_are_not(target: str) -> None:
    with pytest.raises(ConfigError):
        check_target(target)


@pytest.mark.parametrize(
    ("target", "local"),
    [("127.0.0.9:1", True), ("localhost:1", True), ("[::1]:1", True), ("10.0.0.1:1", False), ("gw:1", False)],
)
def test_what_stays_on_this_machine(target: str, local: bool) -> None:
    assert is_loopback(target) == local


def test_plain_text_leaves_the_machine_never() -> None:
    with pytest.raises(ConfigError, match="plain text is refused"):
        open_channel(Settings("10.0.0.1:7443", insecure_loopback=True))
    open_channel(Settings("127.0.0.1:7443", insecure_loopback=True)).close()


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca\.pem: No such file"):
        open_channel(Settings("gw:7443", Tls(ca=tmp_path / "ca.pem")))


def test_tokens_are_one_line_of_ascii(tmp_path: Path) -> None:
    path = write(tmp_path / "token", "t0ken\n")
    assert read_token(path) == "t0ken"
    for wrong in ("", "\n", "two\nlines", "tökén"):
        with pytest.raises(ConfigError) as caught:
            read_token(write(path, wrong))
        assert not wrong.strip() or wrong.strip() not in caught.value.message
