"""NAB's own figure of a group: the series' raw scores added up, then normalised once.

Two of them: at the detectors' own thresholds, where an alarm is what is published, the first row of an episode; and by
the benchmark's published protocol, which takes the one threshold that scores best on the whole corpus, each row above
it an alarm. That one is chosen with the labels: it is no forecast of what a detector earns.
Rows are ranked by what was held against the threshold. Must not know how results come about.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from streamae.evaluation.metrics import openings
from streamae.evaluation.nab import MISSED, NabScore, NabSeries, best_threshold, corpus_score, nab_score
from streamae.evaluation.results import Place, Result

HEADER = ("group", "detector", "seed", "windows", "nab_own_threshold", "nab_optimised", "optimised_threshold")


@dataclass(frozen=True, slots=True)
class CorpusScore:
    """One detector and seed on all series of a group.

    Attributes:
        group, detector, seed: which.
        windows: anomaly windows in the test rows.
        own: normalised score at the detector's own threshold; NaN without windows.
        optimised: the same at the one `threshold` that is best for this corpus.
        threshold: of the judged scores; infinity = silence was best.
    """

    group: str
    detector: str
    seed: int
    windows: int
    own: float
    optimised: float
    threshold: float


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
            (one.group, one.detector, one.seed, one.windows, one.own, one.optimised, one.threshold) for one in scores
        )


def corpus_text(scores: Sequence[CorpusScore]) -> str:
    """Return the lines for a terminal: means over seeds."""
    lines = ["NAB corpus score, standard profile: at the own threshold; at one threshold optimised with the labels"]
    for group, detector in dict.fromkeys((one.group, one.detector) for one in scores):
        chosen = [one for one in scores if (one.group, one.detector) == (group, detector)]
        own, optimised = (
            math.fsum(getattr(one, name) for one in chosen) / len(chosen) for name in ("own", "optimised")
        )
        lines.append(f"{group}  {detector}  {own:.1f}  {optimised:.1f}  ({chosen[0].windows} windows)")
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
        best = best_threshold(corpus)
        reached, optimised = corpus_score([*own, silent]), corpus_score([best.score, silent])
        yield CorpusScore(
            group, detector, seed, reached.windows, reached.normalised, optimised.normalised, best.threshold
        )
