"""The judgement itself: what must not pass does not, and `known.toml` is sound."""

from __future__ import annotations

import pytest

from tests.e2e.conformance import expected
from tests.e2e.conformance.expected import Known, complaints
from tests.e2e.conformance.smbtorture import read

_FAILS = {"a": Known("failure", "because")}


def _said(*lines: str) -> str:
    return "\n".join(["smbtorture 4.17.12-Debian", *lines, ""])


@pytest.mark.parametrize(
    ("text", "status", "complaint"),
    [
        (_said("test: a", "success: a"), 0, "a: success, not failure: take it out of known.toml"),
        (
            _said("test: a", "failure: a [", "why", "]", "test: b (c)", "failure: b (c) [", "]"),
            1,
            "b (c): failure, not success",
        ),
        (_said("test: a", "error: a", "test: b", "error: b [", "why", "]"), 1, "b: failure, not success"),
        (_said("test: a", "failure: a", "test: b", "skip: b [", "]"), 0, "b: skip, not success"),
        (_said("test: a", "failure: a", "success: a", "test: b"), 1, "b: came to no end"),
        (_said("test: b", "success: b"), 0, "a: was not run"),
        (_said("test: a", "failure: a", "test: b", "success: b"), 124, "it did not come to its end in time"),
        (_said("test: a", "failure: a", "test: b", "success: b"), 134, "smbtorture ended with status 134"),
        (_said("test: a", "skip: a"), 0, "no subtest was executed"),
        (_said(), 0, "no subtest was executed"),
        (_said("Unknown torture operation 'smb2.none'"), 1, "smbtorture does not know this suite"),
    ],
)
def test_red(text: str, status: int, complaint: str) -> None:
    assert complaint in complaints(read("smb2.none", text, status), _FAILS)


def test_green() -> None:
    text = _said("test: a", "failure: a [", "]", "test: b", "time: 2026-11-23 21:58:31", "success: b")
    assert complaints(read("smb2.none", text, 1), _FAILS, ["b"]) == []


def test_a_subtest_of_the_baseline_is_missing() -> None:
    assert complaints(read("smb2.none", _said("test: b", "success: b"), 0), {}, ["b", "c"]) == ["c: was not run"]


def test_the_worse_verdict_on_one_name_counts() -> None:
    text = _said("test: b", "failure: b [", "]", "test: b", "success: b")
    assert complaints(read("smb2.none", text, 1), {}) == ["b: failure, not success"]


def test_the_baselines_are_covered() -> None:
    assert {suite for suite, _ in expected.baseline()} <= set(expected.kinds()["default"].suites)


@pytest.mark.parametrize("kind", sorted(expected.kinds()))
def test_what_is_known_is_proven_or_of_no_avail(kind: str) -> None:
    """A reason that names another kind of share holds only if the suite runs there and has to pass there."""
    own = expected.kinds()[kind]
    assert set(own.short) <= set(own.suites)
    assert set(own.known) <= set(own.suites)
    for suite, names in own.known.items():
        for name, known in names.items():
            if known.passes_on:
                other = expected.kinds()[known.passes_on]
                assert suite in other.suites and name not in other.known.get(suite, {}), f"{suite}.{name}"
