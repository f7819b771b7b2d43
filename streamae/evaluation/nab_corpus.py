"""NAB's own figure of a group: the series' raw scores added up, then normalised once.

Three of them: at the detectors' own thresholds, where an alarm is what is published, the first row of an episode; by
the benchmark's protocol, which takes the one threshold that scores best on the whole corpus, with episodes as before;
and the same with each row above it an alarm, which is dear for scores that stay high. Those two thresholds are chosen
with the labels: they are no forecast of what a detector earns.
Rows are ranked by what was held against the threshold. Must not know how results come about.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamae.evaluation.metrics import openings
from streamae.evaluation.nab import (
    MISSED,
    BestThreshold,
    NabScore,
    NabSeries,
    best_threshold,
    corpus_score,
    nab_score,
)
from streamae.evaluation.results import Place, Result

TITLE = (
    "NAB corpus score, standard profile: at the own threshold; at one threshold optimised with the labels, an episode"
    " being one alarm; at another one, each row being one"
)
LADDER = np.geomspace(1e-5, 0.2, 200)  # shares of the rows above the thresholds that are tried
HEADER = ("group", "detector", "seed", "windows", "nab_own_threshold", "nab_optimised", "optimised_threshold",
          "nab_optimised_rows")  # fmt: skip


@dataclass(frozen=True, slots=True)
class CorpusScore:
    """One detector and seed on all series of a group.

    Attributes:
        group, detector, seed: which.
        windows: anomaly windows in the test rows.
        own: normalised score at the detector's own threshold; NaN without windows.
        optimised: the same at the one `threshold` that is best for this corpus, of `LADDER` that were tried.
        threshold: of the judged scores; infinity = silence was best.
        optimised_rows: at the best threshold if every row above it is an alarm.
    """

    group: str
    detector: str
    seed: int
    windows: int
    own: float
    optimised: float
    threshold: float
    optimised_rows: float


def corpus_scores(results: Sequence[Result], folder: Path) -> list[CorpusScore]:
    """Return the corpus scores of all groups, detectors and seeds of `results`, whose curves are below `folder`.

    A series without curves (the detector failed on it) counts as silence. Groups without any window are left out.
    """
    return [score for score in _scores(results, folder) if score.windows]


def write_corpus_scores(path: Path, scores: Sequence[CorpusScore]) -> None:
    """Write them as CSV with `HEADER`."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(
            (*dataclasses.astuple(one)[:3], one.windows, one.own, one.optimised, one.threshold, one.optimised_rows)
            for one in scores
        )


def corpus_text(scores: Sequence[CorpusScore]) -> str:
    """Return the lines for a terminal: means over seeds."""
    lines = [TITLE]
    for group, detector in dict.fromkeys((one.group, one.detector) for one in scores):
        chosen = [one for one in scores if (one.group, one.detector) == (group, detector)]
        means = (
            math.fsum(getattr(one, name) for one in chosen) / len(chosen)
            for name in ("own", "optimised", "optimised_rows")
        )
        figures = "  ".join(f"{mean:.1f}" for mean in means)
        lines.append(f"{group}  {detector}  {figures}  ({chosen[0].windows} windows)")
    return "\n".join(lines)


def _scores(results: Sequence[Result], folder: Path) -> Iterator[CorpusScore]:
    for group, detector, seed in dict.fromkeys((one.group, one.detector, one.seed) for one in results):
        own: list[NabScore] = []
        corpus: list[NabSeries] = []
        silent = NabScore(0.0, 0)
        for one in results:
            if (one.group, one.detector, one.seed) != (group, detector, seed):
                continue
            curves = None if one.error else Place(folder, group, one.series, detector, seed).curves()
            if curves is None:
                silent = corpus_score([silent, NabScore(-MISSED * one.events, one.events)])
                continue
            own.append(nab_score(curves.labels, openings(curves.alarms)))
            is_known = np.isfinite(curves.thresholds)  # a key that learns would not have alarmed at any threshold
            corpus.append(NabSeries(curves.labels, np.where(is_known, curves.scores, np.nan), 0))
        reached, best, by_row = corpus_score([*own, silent]), _best_opening_threshold(corpus), best_threshold(corpus)
        optimised, rows = (corpus_score([each.score, silent]).normalised for each in (best, by_row))
        yield CorpusScore(group, detector, seed, reached.windows, reached.normalised, optimised, best.threshold, rows)


def _best_opening_threshold(corpus: Sequence[NabSeries]) -> BestThreshold:
    """Return the one threshold of the ladder at which the corpus scores best if an episode is one alarm.

    Of equal thresholds the highest; the first of the ladder is silence.
    """
    every = np.concatenate([np.zeros(0), *(series.scores[~np.isnan(series.scores)] for series in corpus)])
    levels = np.unique(every)
    if len(levels) > len(LADDER):
        levels = np.unique(np.quantile(every, 1.0 - LADDER, method="higher"))
    found: list[BestThreshold] = []
    for threshold in [np.inf, *levels[::-1]]:
        alarms = (openings(series.scores >= threshold) for series in corpus)  # NaN is never
        score = corpus_score(nab_score(one.labels, each) for one, each in zip(corpus, alarms, strict=True))
        found.append(BestThreshold(float(threshold), score))
    return max(found, key=lambda each: each.score.raw)
