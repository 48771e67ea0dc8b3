"""Configuration: what is accepted, and that every refusal names the file, the key and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from services.core.errors import PreconditionFailed
from services.kit.config import (
    Address,
    Config,
    ConfigError,
    ListenConfig,
    ServerConfig,
    TlsConfig,
    load,
    parse_address,
    run,
)


class _Sample(Config):
    word: str
    number: int = 3
    words: list[str] = Field(default=[])
    tls: TlsConfig | None = None


def _write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "x.toml"
    path.write_text(text)
    return str(path)


def test_file_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path, 'word = "a"\n[tls]\nca_file = "c"\ncert_file = "d"\nkey_file = "e"\n')
    assert load(_Sample, path, "T_") == _Sample(word="a", tls=TlsConfig(ca_file="c", cert_file="d", key_file="e"))


def test_environment_overrides_file_key_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path, 'word = "a"\nnumber = 4\n[tls]\nca_file = "c"\ncert_file = "d"\nkey_file = "e"\n')
    monkeypatch.setenv("T_WORD", "b")
    monkeypatch.setenv("T_WORDS", '["x", "y"]')
    monkeypatch.setenv("T_TLS__KEY_FILE", "other")
    loaded = load(_Sample, path, "T_")
    assert (loaded.word, loaded.number, loaded.words) == ("b", 4, ["x", "y"])
    assert loaded.tls == TlsConfig(ca_file="c", cert_file="d", key_file="other")


def test_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_WORD", "b")
    assert load(_Sample, None, "T_").word == "b"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('word = "a"\nwrod = 1', ["wrod", "unknown key"]),
        ("number = 1", ["word", "required", "T_WORD"]),
        ('word = "a"\nnumber = "many"', ["number"]),
        ('word = "a"\n[tls]\nca_file = "c"', ["tls.cert_file", "T_TLS__CERT_FILE"]),
        ("word = = 1", ["not valid TOML", "line 1"]),
    ],
)
def test_error_names_file_key_and_remedy(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(_Sample, path, "T_")
    for part in [path, *parts]:
        assert part in str(caught.value)


def test_error_does_not_repeat_the_value(tmp_path: Path) -> None:
    path = _write(tmp_path, 'word = "a"\nnumber = "hunter2"')
    with pytest.raises(ConfigError) as caught:
        load(_Sample, path, "T_")
    assert "hunter2" not in str(caught.value)


def test_misspelt_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_WORD", "b")
    monkeypatch.setenv("T_NUMBR", "4")
    with pytest.raises(ConfigError, match="T_NUMBR: unknown key"):
        load(_Sample, None, "T_")


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere/x\.toml: No such file"):
        load(_Sample, "/nowhere/x.toml", "T_")


def test_broken_environment_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_WORD", "b")
    monkeypatch.setenv("T_WORDS", "x,y")
    with pytest.raises(ConfigError, match="JSON"):
        load(_Sample, None, "T_")


def test_run_tells_in_one_line_what_keeps_it_from_starting(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise PreconditionFailed("the store is in use", help="Stop the other.")

    assert run(main) == 1
    assert capsys.readouterr().err == "error: the store is in use. Stop the other.\n"


def test_run_prints_one_line_and_gives_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> int:
        raise ConfigError("x.toml: a: wrong")

    assert run(main) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: x.toml: a: wrong\n")
    assert run(lambda: 0) == 0


_TLS = TlsConfig(ca_file="c", cert_file="d", key_file="e")


@pytest.mark.parametrize(
    "config",
    [
        {"listen": ["unix:/run/x.sock"]},
        {"listen": ["127.0.0.1:1"], "insecure_loopback": True},
        {"listen": ["[::1]:1", "localhost:2"], "insecure_loopback": True},
        {"listen": ["0.0.0.0:1"], "tls": _TLS},
        {"token_listen": ["0.0.0.0:1"], "tls": _TLS, "tokens_file": "t"},
    ],
)
def test_safe_listeners(config: dict[str, object]) -> None:
    assert ListenConfig.model_validate(config)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "at least one address"),
        ({"listen": ["127.0.0.1:1"]}, "needs"),
        ({"listen": ["10.0.0.1:1"], "insecure_loopback": True}, "not loopback"),
        ({"listen": ["0.0.0.0:1"], "insecure_loopback": True, "tls": _TLS}, "not loopback"),
        ({"listen": ["example.org:1"], "tls": _TLS}, "IP address"),
        ({"listen": ["127.0.0.1"], "tls": _TLS}, "HOST:PORT"),
        ({"listen": ["127.0.0.1:99999"], "tls": _TLS}, "HOST:PORT"),
        ({"listen": ["unix:relative"]}, "absolute"),
        ({"listen": ["unix:/" + "x" * 107]}, "107"),
        ({"token_listen": ["0.0.0.0:1"], "tls": _TLS}, "tokens_file"),
        ({"token_listen": ["0.0.0.0:1"], "tokens_file": "t"}, "tls"),
        ({"token_listen": ["unix:/x"], "tls": _TLS, "tokens_file": "t"}, "HOST:PORT"),
    ],
)
def test_unsafe_or_impossible_listeners(config: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ListenConfig.model_validate(config)


def test_metrics_address_is_checked() -> None:
    with pytest.raises(ValueError, match="metrics_listen"):
        ServerConfig.model_validate({"listen": ["unix:/x"], "metrics_listen": "unix:/y"})


def test_addresses() -> None:
    assert parse_address("[::1]:7").target == "[::1]:7"
    assert parse_address("unix:/a").target == "unix:/a"
    assert Address(host="127.1.2.3").is_loopback
    assert not Address(host="192.0.2.1").is_loopback
