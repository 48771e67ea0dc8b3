"""The configuration file of a native backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kit.config import ConfigError, load
from services.native.config import NativeConfig

_TEXT = 'listen = ["unix:/run/x.sock"]\n'


@pytest.mark.parametrize("text", ["", 'default_address = "::"', "max_workers = 20\nwait_slots = 4"])
def test_accepted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "native.toml"
    path.write_text(_TEXT + text)
    assert load(NativeConfig, str(path), "PVESMB_NATIVE_TEST_").listen == ["unix:/run/x.sock"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('default_address = "localhost"', "default_address"),
        ('default_address = ""', "default_address"),
        ("max_workers = 20\nwait_slots = 5", "wait_slots"),
        ("max_workers = 16\nwait_slots = 1", "wait_slots"),
    ],
)
def test_refused(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "native.toml"
    path.write_text(_TEXT + text)
    with pytest.raises(ConfigError, match=f"native.toml: {key}"):
        load(NativeConfig, str(path), "PVESMB_NATIVE_TEST_")
