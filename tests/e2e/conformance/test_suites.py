"""Each suite on each kind of share comes out as it has to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conformance import expected, smbtorture
from tests.e2e.conformance.tally import Tally
from tests.e2e.conformance.targets import Target

#: Six times what the slowest suite needs on two idle cores. The test itself has a little more.
SECONDS = 180.0
pytestmark = pytest.mark.timeout(SECONDS + 60)


def test_defaults(default_suite: str, default_target: Target, tally: Tally, tmp_path: Path) -> None:
    baseline = [name for suite, name in expected.baseline() if suite == default_suite]
    _examine("default", default_suite, default_target, tally, tmp_path, baseline)


def test_open(open_suite: str, open_target: Target, tally: Tally, tmp_path: Path) -> None:
    _examine("open", open_suite, open_target, tally, tmp_path)


def test_windows_like(windows_suite: str, windows_target: Target, tally: Tally, tmp_path: Path) -> None:
    _examine("windows", windows_suite, windows_target, tally, tmp_path)


@pytest.mark.parametrize("suite", sorted(expected.absent()))
def test_a_suite_that_is_absent(suite: str, default_target: Target, tmp_path: Path) -> None:
    outcome = smbtorture.run(suite, default_target.server, smbtorture.SECOND_SHARE, tmp_path, SECONDS)
    assert outcome.unknown, "it is there now: add it to the suites"
    assert "smbtorture does not know this suite" in expected.complaints(outcome, {})


def _examine(
    kind: str, suite: str, target: Target, tally: Tally, directory: Path, baseline: list[str] | None = None
) -> None:
    outcome = smbtorture.run(suite, target.server, target.share(suite), directory, SECONDS)
    tally.outcomes[kind, suite] = outcome
    found = expected.complaints(outcome, expected.kinds(target.deployment.mode)[kind].known.get(suite, {}), baseline or ())
    assert not found, "\n".join([f"{suite} on the {kind} share:", *found, "", outcome.text])
