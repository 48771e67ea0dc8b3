"""What the stand-in node asks of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kit.config import ConfigError
from services.localnode.machine import allow_ids, need_passage

LINE = "root:100000:65536"


@pytest.mark.parametrize("before", ["", "somebody:200000:65536\n", "somebody:200000:65536"])
def test_ids_are_allowed_once_and_others_keep_theirs(tmp_path: Path, before: str) -> None:
    file = tmp_path / "subuid"
    file.write_text(before)
    for _ in range(2):
        allow_ids(file)
        assert file.read_text().splitlines() == [*before.splitlines(), LINE]


def test_ids_are_allowed_where_there_is_no_file_yet(tmp_path: Path) -> None:
    allow_ids(tmp_path / "subuid")
    assert (tmp_path / "subuid").read_text() == f"{LINE}\n"


def test_a_directory_that_no_container_could_pass_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="lets others not pass"):
        need_passage(closed / "state")
