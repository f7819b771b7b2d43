"""The targets of detection as one table, and the table of what is reached beside them.

All are held with default settings and without labels; only `recall_at_8` and NAB's optimised threshold look at them.
Must not know how anything is run.
"""

from __future__ import annotations

import csv
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.reach.findings import AnchorMean, Corpus, Figure, Findings, Mean, Number, fleet_ratio, pca_ratio

DECIDED = ("smd", "asd", "nab")  # groups by which thresholds have been compared before
HEADER = ("what", "target", "reached", "is_met")
NOT_RUN, UNDEFINED = "not run", "undefined"
COMPARED: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table of targets.

    Attributes:
        what: is measured, for the reader.
        figure: the measured.
        sign: one of `COMPARED`.
        bound: what the figure must keep to, a number or a figure of the same run.
        source: where the bound comes from.
        form: how people read the figure.
    """

    what: str
    figure: Figure
    sign: str
    bound: float | Figure
    source: str
    form: str = ".3f"


PCA_IS_ENOUGH = "a network that loses to pca is not needed"
SIGMA = "what most people would write first, in the same run"
F1, FALSE, SHARE = "strict_f1", "false_episodes_per_10k", "alarm_share"
SIGMA_8, SIGMA_3 = "default+sigma8", "default+sigma3"

TARGETS: tuple[Target, ...] = (
    Target("AP, default / pca, smd", pca_ratio("smd"), ">=", 1.25, "a gain that is worth a network"),
    Target("AP, default / pca, asd", pca_ratio("asd"), ">=", 1.15, "a gain that is worth a network"),
    Target("AP, default / pca, smap_msl", pca_ratio("smap_msl"), ">=", 1.0, PCA_IS_ENOUGH),
    Target("AP, default / pca, nab", pca_ratio("nab"), ">=", 1.0, PCA_IS_ENOUGH),
    Target("AP, default / pca, skab", pca_ratio("skab"), ">=", 1.0, PCA_IS_ENOUGH),
    Target("AP, default / pca, ucr", pca_ratio("ucr"), ">=", 1.0, PCA_IS_ENOUGH),
    Target("AP, default / pca, mscloud", pca_ratio("mscloud"), ">=", 1.0, PCA_IS_ENOUGH),
    Target("VUS-PR on anchors, default, smd", AnchorMean("smd"), ">", 0.40, "published: CNN .399"),
    Target("VUS-PR on anchors, default, smap_msl", AnchorMean("smap_msl"), ">", 0.33, "published: KMeansAD .328"),
    Target("VUS-PR on anchors, auto, ucr", AnchorMean("ucr", "auto"), ">", 0.42, "published: Sub-KNN .419"),
    Target("recall at 8 false blocks, smd", Mean("recall_at_8", ("smd",)), ">=", 0.85, "earlier score: .74 to .78"),
    Target("recall at 8 false blocks, nab", Mean("recall_at_8", ("nab",)), ">=", 0.82, "earlier score: .77"),
    Target("recall at 8 false blocks, asd", Mean("recall_at_8", ("asd",)), ">=", 0.94, "earlier score: .94"),
    Target("strict F1, mean of smd, asd, nab", Mean(F1, DECIDED), ">=", 0.64, "earlier: GRU .58, linear .59"),
    Target("false episodes / 10k rows, same mean", Mean(FALSE, DECIDED), "<=", 4.0, "what people keep on", ".2f"),
    Target("normal rows in alarm, same mean", Mean(SHARE, DECIDED), "<=", 0.015, "what people keep on", ".2%"),
    Target("strict F1, all groups, against mean + 8 sigma", Mean(F1), ">", Mean(F1, (), SIGMA_8), SIGMA),
    Target("strict F1, all groups, against mean + 3 sigma", Mean(F1), ">", Mean(F1, (), SIGMA_3), SIGMA),
    Target("false / 10k, all groups, against mean + 8 sigma", Mean(FALSE), "<", Mean(FALSE, (), SIGMA_8), SIGMA, ".2f"),
    Target("false / 10k, all groups, against mean + 3 sigma", Mean(FALSE), "<", Mean(FALSE, (), SIGMA_3), SIGMA, ".2f"),
    Target("NAB corpus, own threshold", Corpus("own"), ">=", 60.0, "earlier: 57", ".2f"),
    Target("NAB corpus, optimised threshold", Corpus("optimised"), ">", 70.5, "published: HTM 70.5", ".2f"),
    Target("AP, one bundle for smd / one a machine", fleet_ratio("smd"), ">=", 0.9, "one bundle may cost a tenth"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A target and what came of it.

    Attributes:
        target: which.
        bound: None = what it is compared with was not run.
        reached: None = not run, NaN = defined on no series.
    """

    target: Target
    bound: float | None
    reached: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met, to the last digit; None = not run."""
        if self.bound is None or self.reached is None:
            return None
        return COMPARED[self.target.sign](self.reached, self.bound)

    @property
    def verdict(self) -> str:
        """Yes, or by how much it is missed."""
        if self.is_met is None or self.bound is None or self.reached is None:
            return "-"
        if self.is_met:
            return "yes"
        if self.reached == self.bound:
            return "missed: equal"
        miss = self._shown(abs(self.reached - self.bound))
        if miss == UNDEFINED:
            return UNDEFINED
        return "missed narrowly" if set(miss) <= set("0.%") else f"missed by {miss}"

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return what a person reads: what, target, reached, verdict, source of the target."""
        target, bound, reached = self.target, self._shown(self.bound), self._shown(self.reached)
        return target.what, f"{target.sign} {bound}", reached, self.verdict, target.source

    def plain(self) -> tuple[str, str, str, str]:
        """Return what a program reads, by `HEADER`: figures to the last digit."""
        bound, reached = (NOT_RUN if one is None else repr(one) for one in (self.bound, self.reached))
        is_met = "" if self.is_met is None else str(self.is_met).lower()
        return self.target.what, f"{self.target.sign} {bound}", reached, is_met

    def _shown(self, value: float | None) -> str:
        if value is None:
            return NOT_RUN
        return UNDEFINED if math.isnan(value) else f"{value:{self.target.form}}"


def rows(findings: Findings, targets: Sequence[Target] = TARGETS) -> list[Row]:
    """Return a row a target."""
    found = []
    for target in targets:
        bound = Number(target.bound) if isinstance(target.bound, float) else target.bound
        found.append(Row(target, bound.of(findings), target.figure.of(findings)))
    return found


def text(found: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    table = [("what", "target", "reached", "met", "the target is"), *(row.cells() for row in found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    )


def write(path: Path, found: Sequence[Row]) -> None:
    """Write the rows as CSV with `HEADER`."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(row.plain() for row in found)
