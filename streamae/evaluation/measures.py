"""The figures of a report: what a detector's scores and alarms are worth on the test part of a labelled series.

One definition of every column, of what a failure counts, and of the mean over a group. `strict_f1`,
`false_episodes_per_10k` and `alarm_share` are shown together: event F1 alone can be had by alarming without pause.
This module knows nothing about detectors, files or how a report looks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Flags, Floats
from streamae.evaluation.metrics import event_report, openings
from streamae.evaluation.nab import nab_score
from streamae.evaluation.ranking import average_precision, period, recall_at, vus_pr

NO_POINT_ADJUSTMENT = (
    "point adjustment is not offered: it counts every row of an event as found as soon as one of them is in alarm, "
    "so that random scores pass 0.9 and good detectors cannot be told from bad ones; see event_f1 and strict_f1"
)
UNFLATTERED = ("false_episodes_per_10k", "alarm_share", "delay_steps")  # small is good: a failure leaves them undefined


@dataclass(frozen=True, slots=True)
class Measures:
    """Figures of one series, or means over several; NaN = undefined.

    Without an event in the test part only `false_episodes_per_10k` and `alarm_share` are defined: false alarms count
    on clean series too, but nothing can be found there. `delay_steps` needs an event that was found.

    Attributes:
        ap: average precision of the rows' scores.
        vus_pr: volume under the precision-recall surface, its window the period of the first channel.
        recall_at_8: share of events found at the threshold that allows 8 false blocks per 10,000 normal rows.
        event_recall: share of events that hold an alarm row, at the detector's own threshold as all that follow.
        event_precision: share of alarms (those within 64 rows are one) that meet an event; 0 without any alarm.
        event_f1: harmonic mean of the two.
        strict_f1: likewise, but every started block of 64 rows in false alarm counts as a false alarm.
        false_episodes_per_10k: alarms that meet no event, per 10,000 normal rows.
        alarm_share: share of normal rows in alarm, in [0, 1].
        delay_steps: median of the rows from an event's start to its first alarm row, over the events found.
        nab_standard: NAB score, standard profile, of the alarms' first rows (an episode is published once); silence = 0
            and perfection = 100, no lower end. A mean over series
            is not what that benchmark publishes: that is `nab.corpus_score`.
    """

    ap: float
    vus_pr: float
    recall_at_8: float
    event_recall: float
    event_precision: float
    event_f1: float
    strict_f1: float
    false_episodes_per_10k: float
    alarm_share: float
    delay_steps: float
    nab_standard: float


COLUMNS = tuple(field.name for field in dataclasses.fields(Measures))


@dataclass(frozen=True, slots=True)
class Average:
    """Means over the series of a group, every series the same weight.

    Attributes:
        means: by column, over the series where it is defined; NaN where that is none.
        counts: by column, how many series that is.
        series: all of them.
    """

    means: Measures
    counts: Mapping[str, int]
    series: int


def measure(labels: Flags, scores: Doubles | Floats, alarms: Flags, values: Doubles) -> Measures:
    """Return the figures of the test part of one series.

    Args:
        labels: (N,) bool, test rows only, True in an anomaly.
        scores: (N,), higher is more anomalous; NaN = row without a score, ranked below all others.
        alarms: (N,) bool, True where the detector is in alarm at its own threshold.
        values: (M, F) of the whole series, of which the first channel gives VUS-PR its window.

    Raises:
        ValueError: lengths differ, or there is no row.
    """
    if not len(labels):
        raise ValueError("no row to measure: the series has no test part")
    report = event_report(labels, alarms)
    return Measures(
        ap=average_precision(labels, scores),
        vus_pr=vus_pr(labels, scores, period(values[:, 0])),
        recall_at_8=recall_at(labels, scores, 8.0),
        event_recall=report.recall,
        event_precision=report.precision if report.events else math.nan,
        event_f1=report.f1,
        strict_f1=report.strict_f1,
        false_episodes_per_10k=report.false_per_10k,
        alarm_share=report.alarm_share,
        delay_steps=report.median_delay,
        nab_standard=nab_score(labels, openings(alarms)).normalised,
    )


def failed(has_events: bool) -> Measures:
    """Return what a series counts on which a method failed: zero, as if nothing was found.

    `UNFLATTERED` columns are undefined, or failing would look like being quiet; without events in the test part all
    are, as they are for methods that do not fail.
    """
    return Measures(**{name: 0.0 if has_events and name not in UNFLATTERED else math.nan for name in COLUMNS})


def macro(measures: Sequence[Measures]) -> Average:
    """Return the mean of each column over series: first of the series of a group, then of the groups' means.

    Series where a column is undefined are left out of its mean, and the counts say so; a series on which the method
    failed must be among them as `failed`.

    Example:
        >>> macro([failed(has_events=True), failed(has_events=False)]).counts["ap"]
        1
    """
    rows = np.array([dataclasses.astuple(one) for one in measures], dtype=np.float64).reshape(-1, len(COLUMNS))
    known = ~np.isnan(rows)
    counts = known.sum(axis=0)
    sums = np.where(known, rows, 0.0).sum(axis=0)
    means = [float(total / count) if count else math.nan for total, count in zip(sums, counts, strict=True)]
    return Average(Measures(*means), dict(zip(COLUMNS, counts.tolist(), strict=True)), len(measures))
