"""Parts of the script for which Samba itself need not be there."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from services.samba import agent
from services.samba.agent import place
from services.samba.agent.common import put_file
from services.samba.agent.databases import Samba, excluded, lowered

Params = dict[str, str]


class Refused(Exception):
    pass


class MemoryRegistry:
    """Samba's registry with its transactions, in memory; refuses the option `bad`."""

    def __init__(self) -> None:
        self.shares: dict[str, list[tuple[str, str]]] = {}
        self.saved: dict[str, list[tuple[str, str]]] | None = None
        self.commits = 0

    def transaction_start(self) -> None:
        assert self.saved is None
        self.saved = dict(self.shares)

    def transaction_commit(self) -> None:
        assert self.saved is not None
        self.saved, self.commits = None, self.commits + 1

    def transaction_cancel(self) -> None:
        assert self.saved is not None
        self.shares, self.saved = self.saved, None

    def share_names(self) -> list[str]:
        return list(self.shares)

    def get_share(self, name: str) -> tuple[str, list[tuple[str, str]]]:
        return name, self.shares[name]

    def delete_share(self, name: str) -> None:
        assert self.saved is not None
        del self.shares[name]

    def create_set_share(self, name: str, params: list[tuple[str, str]]) -> None:
        assert self.saved is not None
        if any(key == "bad" for key, _ in params):
            raise Refused(5, "SBC_ERR_INVALID_PARAM")
        assert name.casefold() not in {known.casefold() for known in self.shares}
        self.shares[name] = params


class OnMemory(Samba):
    def __init__(self, registry: MemoryRegistry) -> None:
        self.registry = registry
        self._refused, self._invalid = Refused, 5


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


def test_a_batch_is_one_transaction(registry: MemoryRegistry) -> None:
    samba = OnMemory(registry)
    wanted = {f"s{i}": {"path": f"/srv/{i}"} for i in range(50)}
    assert samba.change(wanted, []) == {}
    assert registry.commits == 1
    assert {name: dict(params) for name, params in registry.shares.items()} == wanted
    assert samba.change(wanted, ["none"]) == {}
    assert registry.commits == 1
    samba.change({"S0": {"path": "/other"}}, ["s1", "S2"])
    assert registry.commits == 2
    assert "S0" in registry.shares
    assert not {"s0", "s1", "s2"} & registry.shares.keys()


def test_a_share_that_is_refused_is_left_out(registry: MemoryRegistry) -> None:
    samba = OnMemory(registry)
    registry.shares["worse"] = [("path", "/before")]
    wanted = {"good": {"path": "/a"}, "worse": {"path": "/b", "bad": "1"}, "fine": {"path": "/c"}}
    faults = samba.change(wanted, [])
    assert registry.commits == 1
    assert registry.shares == {"worse": [("path", "/before")], "good": [("path", "/a")], "fine": [("path", "/c")]}
    assert faults["worse"].answer["metadata"] == {"parameter": "bad"}
    assert sorted(faults) == ["worse"]


@pytest.mark.parametrize(
    ("before", "after", "less"),
    [
        ({}, {}, False),
        ({"write list": "a"}, {"write list": "a b"}, False),
        ({"write list": "a b"}, {"write list": "a"}, True),
        ({"admin users": "a"}, {}, True),
        ({}, {"force user": "x"}, True),
        ({}, {"server smb encrypt": "required"}, True),
        ({"server smb encrypt": "required"}, {}, False),
        ({}, {"hosts deny": "10.0.0.1"}, True),
        ({"comment": "a"}, {"comment": "b"}, False),
        ({"valid users": "a b"}, {"valid users": "a"}, False),
    ],
)
def test_whether_somebody_may_lose_rights(before: Params, after: Params, less: bool) -> None:
    assert lowered(before, after) is less


def test_whether_somebody_may_lose_all_rights() -> None:
    assert excluded({"valid users": "a b"}, {"valid users": "a"})
    assert excluded({}, {"invalid users": "a"})
    assert not excluded({"comment": "a", "valid users": "b"}, {"comment": "c", "valid users": "b"})


def test_files_are_written_only_when_they_differ(tmp_path: Path) -> None:
    path = str(tmp_path / "passwd")
    assert put_file(path, "a\n", 0o644)
    os.utime(path, (4e9, 4e9))
    assert not put_file(path, "a\n", 0o644)
    assert put_file(path, "b\n", 0o644)
    assert os.stat(path).st_mtime >= 4e9 + 1
    assert os.listdir(tmp_path) == ["passwd"]


def test_a_file_system_without_renameat2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown flag makes the kernel say EINVAL, as such a file system does."""
    monkeypatch.setattr(place, "RENAME_NOREPLACE", 1 << 30)
    (tmp_path / "old").mkdir()
    (tmp_path / "taken").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            place.rename_new("old", "taken", fd)
        place.rename_new("old", "new", fd)
    finally:
        os.close(fd)
    assert sorted(os.listdir(tmp_path)) == ["new", "taken"]


def test_the_script_needs_nothing_but_the_standard_library_and_samba() -> None:
    tree = ast.parse(agent.script())
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in named} <= sys.stdlib_module_names | {"samba"}
    assert len(agent.script().encode()) < 128 * 1024, "longer than one word of a command line may be (MAX_ARG_STRLEN)"


def test_no_part_of_the_script_hides_a_name_of_another() -> None:
    defined: list[str] = []
    for part in agent.PARTS:
        for node in ast.parse(agent.source(part)).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                defined.append(node.name)
            elif isinstance(node, ast.Assign):
                defined += [name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
    assert len(defined) == len(set(defined))
    assert {f"{part}.py" for part in agent.PARTS} | {"__init__.py"} == set(os.listdir(Path(agent.__file__).parent)) - {
        "__pycache__"
    }
