"""What all suites together have come to, for docs/reliability.md."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tests.e2e.conformance import expected
from tests.e2e.conformance.smbtorture import Outcome
from tests.figures import Figures


@dataclass
class Tally:
    """The outcomes by kind of share and suite."""

    outcomes: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    mode: str = "native"

    def passes(self, kind: str, suite: str, name: str) -> bool:
        outcome = self.outcomes.get((kind, suite))
        return outcome is not None and outcome.verdicts.get(name) == "success"

    def into(self, figures: Figures) -> None:
        """Notes the figures."""
        here = {suite: outcome for (kind, suite), outcome in self.outcomes.items() if kind == "default"}
        verdicts = Counter(verdict for outcome in here.values() for verdict in outcome.verdicts.values())
        rows: dict[str, object] = {
            "test suite": next(iter(here.values())).text.partition("\n")[0],
            "suites run on shares with the defaults": len(here),
            "their subtests that passed": verdicts["success"],
            "their known failures": verdicts["failure"],
            "their subtests that smbtorture skips, with a known reason": verdicts["skip"],
        }
        baseline = expected.baseline()
        lost = {key for key in baseline if not self.passes("default", *key)}
        rows["subtests that pass on a stock or on a Windows-like share of Samba"] = len(baseline)
        rows["of these pass on ours with the defaults"] = len(baseline) - len(lost)
        reasons: Counter[str] = Counter()
        for suite, name in lost:
            known = expected.kinds(self.mode)["default"].known[suite][name]
            where = "only where it is otherwise" if self.passes(known.passes_on, suite, name) else "nowhere"
            reasons[f"of these pass on ours {where}: {known.because}"] += 1
        for what, figure in {**rows, **dict(sorted(reasons.items()))}.items():
            figures.put("conformance", what, figure)
