"""What has to come of each suite on each kind of share, and the judgement of what came."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.e2e.conformance.smbtorture import Outcome

_HERE = Path(__file__).parent
#: As they stand in `known.toml`.
_VERDICTS = ("failure", "skip")


@dataclass(frozen=True)
class Known:
    """Why a subtest does not pass on a kind of share, and on which kind it does, if it does on one."""

    verdict: str
    because: str
    passes_on: str = ""


@dataclass(frozen=True)
class Kind:
    """The suites that run on a kind of share, those of them for every run of the tests, and the known verdicts other than
    success by suite and subtest."""

    suites: Sequence[str]
    short: Sequence[str]
    known: Mapping[str, Mapping[str, Known]] = field(default_factory=dict)


@cache
def kinds(mode: str = "native") -> Mapping[str, Kind]:
    """The kinds of shares by name, from `known.toml`. Some verdicts are those of one mode; the suites are the same."""
    data = _data()
    groups = [group for group in data["known"] if mode in group.get("modes", [mode])]
    return {name: Kind(**suites, known=_known(name, groups)) for name, suites in data["kinds"].items()}


@cache
def absent() -> Mapping[str, str]:
    """Suites that this version of smbtorture does not have, with the reason."""
    return dict(_data()["absent"])


@cache
def baseline() -> frozenset[tuple[str, str]]:
    """Suite and name of every subtest that passes on a stock share of Samba 4.17.12, or on a Windows-like one."""
    lines = [line for file in (_HERE / "baselines").iterdir() for line in file.read_text().splitlines()]
    return frozenset((f"{first}.{second}", name) for first, second, name in (line.split(".", 2) for line in lines))


def complaints(outcome: Outcome, known: Mapping[str, Known], baseline: Sequence[str] = ()) -> list[str]:
    """What is not as it has to be, in words; empty if all is. `baseline` are the subtests that may not be missing."""
    found = []
    if outcome.unknown:
        found.append("smbtorture does not know this suite")
    if outcome.timed_out:
        found.append("it did not come to its end in time")
    elif outcome.status not in (0, 1):
        found.append(f"smbtorture ended with status {outcome.status}")
    if not {"success", "failure"} & set(outcome.verdicts.values()):
        found.append("no subtest was executed")
    found += [f"{name}: was not run" for name in {*known, *baseline} - outcome.verdicts.keys()]
    for name, verdict in outcome.verdicts.items():
        wanted = known[name].verdict if name in known else "success"
        if verdict == "none":
            found.append(f"{name}: came to no end")
        elif wanted != verdict:
            found.append(f"{name}: {verdict}, not {wanted}" + (": take it out of known.toml" if name in known else ""))
    return sorted(found)


def _data() -> dict[str, Any]:
    return tomllib.loads((_HERE / "known.toml").read_text())


def _known(kind: str, groups: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Known]]:
    found: dict[str, dict[str, Known]] = {}
    for group in groups:
        if kind not in group["on"]:
            continue
        passes_on = group.get("passes_on", "")
        for verdict in _VERDICTS:
            for suite, names in group.get(verdict, {}).items():
                for name in names:
                    assert name not in found.setdefault(suite, {}), f"{suite}.{name} is named twice for {kind}"
                    found[suite][name] = Known(verdict, group["because"], passes_on)
    return found
