"""The configuration file of an LXC backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kit.config import ConfigError, load
from services.lxc.config import HIGHEST_ID, LxcConfig
from services.proxmox.session import Endpoint

_REQUIRED = {
    "listen": '["unix:/run/x.sock"]',
    "node": '"pve1"',
    "token": '"smbgw@pve!gw"',
    "token_file": '"/nowhere"',
}
_SECRET = "11111111-2222-3333-4444-555555555555"


def read(directory: Path, without: str = "", **more: str) -> LxcConfig:
    path = directory / "lxc.toml"
    keys = {**_REQUIRED, **more}
    path.write_text("".join(f"{key} = {value}\n" for key, value in keys.items() if key != without))
    return load(LxcConfig, str(path), "PVESMB_LXC_TEST_")


def test_what_must_be_said_is_enough(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert config.endpoint == Endpoint("127.0.0.1", 8006)
    assert config.password() is None
    settings = config.settings()
    assert (settings.node, settings.storage, settings.volume_storage) == ("pve1", "local", "local")
    assert settings.id_first + settings.id_count - 1 <= HIGHEST_ID


@pytest.mark.parametrize("key", ["node", "token", "token_file", "listen"])
def test_what_must_be_said(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"lxc.toml: {key}"):
        read(tmp_path, without=key)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://pve.example.org", Endpoint("pve.example.org", 8006)),
        ("https://10.0.0.1:8007/", Endpoint("10.0.0.1", 8007)),
        ("https://[fd00::1]:8006", Endpoint("fd00::1", 8006)),
    ],
)
def test_addresses_of_the_api(tmp_path: Path, url: str, endpoint: Endpoint) -> None:
    assert read(tmp_path, url=f'"{url}"').endpoint == endpoint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("url", '"http://pve1:8006"'),
        ("url", '"pve1:8006"'),
        ("url", '"https://pve1:8006/api2/json"'),
        ("url", '"https://pve1:port"'),
        ("url", '"https://pve1:99999"'),
        ("url", '"https://user:hunter2@pve1:8006"'),
        ("token", '"smbgw@pve"'),
        ("token", '"smbgw!gw"'),
        ("token", '"smbgw@pve!gw=11111111"'),
        ("token", '"root@pam!a b"'),
        ("node", '""'),
        ("fingerprint", '"AB:CD"'),
        ("ca_file", '"/nowhere/ca.pem"'),
        ("ca_file", '"/etc/hostname"'),
        ("volume_size_bytes", "1000"),
        ("nameservers", '["dns.example.org"]'),
        ("host_path_roots", '["srv"]'),
        ("host_path_roots", '["/srv/../etc"]'),
        ("id_count", "60000"),
        ("id_first", "65534"),
        ("worker_threads", "0"),
        ("storrage", '"local"'),
    ],
)
def test_mistakes_are_told_by_key(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"lxc.toml: {key}") as refused:
        read(tmp_path, **{key: value})
    assert "hunter2" not in str(refused.value)


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PVESMB_LXC_TEST_NODE", "pve2")
    assert read(tmp_path).node == "pve2"


def test_secrets_are_read_from_files_and_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{_SECRET}\n")
    (tmp_path / "password").write_text("hunter2\n")
    config = read(
        tmp_path,
        token_file=f'"{tmp_path}/token"',
        password_file=f'"{tmp_path}/password"',
        host_path_roots='["/srv"]',
    )
    token, password = config.api_token(), config.password()
    assert (token.user, token.name, token.value) == ("smbgw@pve", "gw", _SECRET)
    assert password is not None and (password.user, password.value) == ("root@pam", "hunter2")
    for shown in map(repr, (config, token, password, config.settings())):
        assert _SECRET not in shown and "hunter2" not in shown
    assert config.settings().host_path_roots == ("/srv",)


def test_without_a_password_no_directories_of_the_node(tmp_path: Path) -> None:
    assert read(tmp_path, host_path_roots='["/srv"]').settings().host_path_roots == ()


@pytest.mark.parametrize(
    ("content", "told"), [(None, "No such file"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff", "text")]
)
def test_a_secret_that_cannot_be_read(tmp_path: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    for key, other in (("token_file", "password_file"), ("password_file", "token_file")):
        config = read(tmp_path, **{key: f'"{tmp_path}/token"', other: '"/nowhere"'})
        with pytest.raises(ConfigError, match=f"{key}: .*{told}"):
            config.api_token() if key == "token_file" else config.password()
