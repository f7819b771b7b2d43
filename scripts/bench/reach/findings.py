"""What was found by all runs, and how one figure is made of it.

A figure is a piece of data with one method: `of(findings)`, None where a group it needs was not run, NaN where it is
nowhere defined. Must not know which figures are asked for, or where findings come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from scripts.bench.anchors import AnchorResult
from streamae.evaluation.jobs import FLEET
from streamae.evaluation.nab_corpus import CorpusScore
from streamae.evaluation.results import Result
from streamae.evaluation.summary import lines


@dataclass(frozen=True, slots=True)
class Findings:
    """Results of all runs.

    Attributes:
        groups: all of the suite, run or not.
        results: of single bundles and of the fleet's, all seeds.
        corpus: NAB's score of a group, all seeds.
        anchors: on published slices, all seeds.
    """

    groups: tuple[str, ...]
    results: Sequence[Result] = ()
    corpus: Sequence[CorpusScore] = ()
    anchors: Sequence[AnchorResult] = ()


class Figure(Protocol):
    """One number of a table."""

    def of(self, findings: Findings) -> float | None:
        """Return it; None = a group was not run, NaN = defined on no series."""
        ...


@dataclass(frozen=True, slots=True)
class Number:
    """The same whatever was found."""

    value: float

    def of(self, _: Findings) -> float | None:
        return self.value


@dataclass(frozen=True, slots=True)
class Mean:
    """Mean of a column of `metrics.csv` as the table of an evaluation has it: over series first, then over groups.

    Attributes:
        column: of `Measures`.
        groups: none = all of the suite.
        detector: as results call it.
        seed: None = all, a series counting once.
    """

    column: str
    groups: tuple[str, ...] = ()
    detector: str = "default"
    seed: int | None = None

    def of(self, findings: Findings) -> float | None:
        groups = self.groups or findings.groups
        chosen = [
            one
            for one in findings.results
            if one.group in groups and one.detector == self.detector and self.seed in {None, one.seed}
        ]
        if {one.group for one in chosen} != set(groups):
            return None
        return float(getattr(lines(chosen)[-1].means, self.column))  # the only group, or the mean of all


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure over another; infinite over zero, undefined where both are zero."""

    over: Figure
    under: Figure

    def of(self, findings: Findings) -> float | None:
        over, under = self.over.of(findings), self.under.of(findings)
        if over is None or under is None:
            return None
        if under:
            return over / under
        return math.inf if over > 0.0 else math.nan


@dataclass(frozen=True, slots=True)
class AnchorMean:
    """VUS-PR on a group's published slices: mean over seeds, then over series."""

    group: str
    detector: str = "default"

    def of(self, findings: Findings) -> float | None:
        of_series: dict[str, list[float]] = {}
        for one in findings.anchors:
            entry = one.job.anchor.entry
            if (entry.group, one.job.detector) == (self.group, self.detector):
                of_series.setdefault(entry.name, []).append(one.vus_pr)
        return fmean(map(fmean, of_series.values())) if of_series else None


@dataclass(frozen=True, slots=True)
class Corpus:
    """NAB's score of a whole group: mean over seeds of a column of `CorpusScore`."""

    column: str
    group: str = "nab"
    detector: str = "default"

    def of(self, findings: Findings) -> float | None:
        chosen = [one for one in findings.corpus if (one.group, one.detector) == (self.group, self.detector)]
        return fmean(getattr(one, self.column) for one in chosen) if chosen else None


def pca_ratio(group: str) -> Ratio:
    """Return average precision of the default over that of pca."""
    return Ratio(Mean("ap", (group,)), Mean("ap", (group,), "pca"))


def fleet_ratio(group: str) -> Ratio:
    """Return average precision with one bundle for a group over that with one a series, both of the first seed."""
    return Ratio(Mean("ap", (group,), f"default{FLEET}", seed=0), Mean("ap", (group,), seed=0))
