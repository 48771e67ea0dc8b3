"""The tree of errors and the contract's enum say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pvesmb.v1 import errors_pb2

from services.core.errors import REASONS, Code, FeatureNotAvailable, InvalidField, PvesmbError
from services.core.version import VERSION

ROOT = Path(__file__).parents[3]
PREFIX = "ERROR_REASON_"


def test_the_reasons_are_those_of_the_contract() -> None:
    contract = {name.removeprefix(PREFIX) for name, number in errors_pb2.ErrorReason.items() if number}
    assert set(REASONS) == contract


def test_each_reason_is_one_class() -> None:
    assert len(REASONS) == len(PvesmbError.__subclasses__())
    assert all(kind.reason == reason for reason, kind in REASONS.items())


def test_each_reason_comes_with_the_code_that_the_contract_names() -> None:
    text = (ROOT / "protos/pvesmb/v1/errors.proto").read_text(encoding="utf-8")
    documented = {
        reason: code for code, reason in re.findall(rf"  // ([A-Z_]+): (?:.*\n  // )*.*\n  {PREFIX}([A-Z_]+) =", text)
    }
    assert documented == {reason: kind.code.name for reason, kind in REASONS.items()}


@pytest.mark.parametrize("reason", REASONS)
def test_each_error_says_what_to_do(reason: str) -> None:
    assert REASONS[reason].default_help.endswith((".", "`)."))
    assert (REASONS[reason].default_help == PvesmbError.default_help) == (reason == "INTERNAL")
    assert isinstance(REASONS[reason].code, Code)


def test_paths_are_put_together() -> None:
    field = InvalidField.of("b.c", "is bad").below("a")
    assert (field.metadata, field.message) == ({"field": "a.b.c"}, "a.b.c: is bad")
    feature = FeatureNotAvailable.of("b.c", "needs this").below("a")
    assert (feature.metadata, feature.message) == ({"field": "a.b.c"}, "a.b.c needs this")


@pytest.mark.parametrize("file", ["pyproject.toml", "clients/python/pyproject.toml"])
def test_the_version_is_that_of_both_distributions(file: str) -> None:
    assert tomllib.loads((ROOT / file).read_text(encoding="utf-8"))["project"]["version"] == VERSION
