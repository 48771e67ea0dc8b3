"""Secrets at rest, and the key file."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.core.errors import PreconditionFailed
from services.kit.vault import FileVault


@pytest.fixture
def vault(tmp_path: Path) -> FileVault:
    return FileVault.open_file(str(tmp_path / "secret.key"))


def test_what_is_sealed_can_be_opened_by_a_later_process(tmp_path: Path, vault: FileVault) -> None:
    sealed = vault.seal("pässword", "users/anna")
    assert b"ssword" not in sealed
    assert vault.seal("pässword", "users/anna") != sealed
    assert FileVault.open_file(str(tmp_path / "secret.key")).open(sealed, "users/anna") == "pässword"


def test_a_secret_opens_only_where_it_belongs(vault: FileVault) -> None:
    sealed = vault.seal("x", "users/anna")
    with pytest.raises(PreconditionFailed):
        vault.open(sealed, "users/bert")


@pytest.mark.parametrize("place", [0, 12, -1])
def test_tampering_is_noticed(vault: FileVault, place: int) -> None:
    sealed = bytearray(vault.seal("x", "c"))
    sealed[place] ^= 1
    with pytest.raises(PreconditionFailed):
        vault.open(bytes(sealed), "c")


def test_another_key_opens_nothing(tmp_path: Path, vault: FileVault) -> None:
    other = FileVault.open_file(str(tmp_path / "other.key"))
    with pytest.raises(PreconditionFailed):
        other.open(vault.seal("x", "c"), "c")
    assert other.derive("a") != vault.derive("a")


def test_only_the_owner_reads_the_key(tmp_path: Path, vault: FileVault) -> None:
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["secret.key"]


def test_a_draft_that_a_crash_left_is_not_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    (tmp_path / f"secret.key.{os.getpid()}").write_bytes(b"half")
    FileVault.open_file(str(path))
    assert len(path.read_bytes()) == 32


def test_processes_that_start_at_once_share_a_key(tmp_path: Path) -> None:
    path, count = str(tmp_path / "secret.key"), 8
    together = threading.Barrier(count)

    def start(_: int) -> str:
        together.wait(30)
        return FileVault.open_file(path).derive("x")

    with ThreadPoolExecutor(count) as pool:
        assert len(set(pool.map(start, range(count)))) == 1


def test_derived_secrets_are_stable_and_differ_by_label(tmp_path: Path, vault: FileVault) -> None:
    assert vault.derive("a") == FileVault.open_file(str(tmp_path / "secret.key")).derive("a")
    assert vault.derive("a") != vault.derive("b")
    assert len(vault.derive("a")) == 32


def test_a_key_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(PreconditionFailed, match=r"secret\.key"):
        FileVault.open_file(str(tmp_path / "secret.key"))
