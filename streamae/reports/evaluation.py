"""The report of an evaluation: detectors compared, and the series on which the first of them is worst.

It takes finished results and must not know how they were made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from streamae.evaluation.measures import UNFLATTERED, macro
from streamae.evaluation.results import Place, Result
from streamae.evaluation.summary import DECIMALS, HEADINGS, Line, count, lines, shown
from streamae.reports.curves import score_curve
from streamae.reports.page import render

MOST_STORIES = 30  # series with a curve; a page of some megabytes
IN_STORY = ("ap", "vus_pr", "recall_at_8", "event_recall", "event_precision", "strict_f1", "false_episodes_per_10k")


def write_evaluation(path: Path, out: Path, results: Sequence[Result], hardware: str) -> None:
    """Write the report of an evaluation: detectors compared, then the series on which the first one is worst.

    Args:
        path: of the HTML file.
        out: folder in which the curves were kept.
        results: all of them, in the order of the table.
        hardware: line about the machine.
    """
    first = results[0]
    worst = _worst_first([one for one in results if (one.detector, one.seed) == (first.detector, first.seed)])
    render(
        "evaluation.html",
        path,
        title="streamae: detectors compared",
        subtitle=hardware,
        headings=list(HEADINGS.values()),
        lines=_table(lines(results)),
        failures=[one for one in results if one.error],
        shown_detector=first.detector,
        shown_seed=first.seed,
        left_out=max(0, len(worst) - MOST_STORIES),
        stories=[_story(out, one) for one in worst[:MOST_STORIES]],
        detectors=list(dict.fromkeys(one.detector for one in results)),
        series=_series(results),
    )


def _table(found: Sequence[Line]) -> list[dict[str, Any]]:
    """Return cells with the best of each group marked, and bars behind figures between 0 and 1."""
    rows = []
    for number, line in enumerate(found):
        rivals = [other for other in found if other.group == line.group]
        cells = []
        for name in HEADINGS:
            value = getattr(line.means, name)
            known = [mean for other in rivals if not math.isnan(mean := getattr(other.means, name))]
            best = min(known, default=math.nan) if name in UNFLATTERED else max(known, default=math.nan)
            part = None if name in DECIMALS or name == "alarm_share" or math.isnan(value) else round(100 * value)
            cells.append({"text": shown(name, value), "part": part, "is_best": len(rivals) > 1 and value == best})
        is_first = number == 0 or found[number - 1].group != line.group
        rows.append(
            {
                "group": line.group if is_first else "",
                "detector": line.detector,
                "count": count(line),
                "cells": cells,
                "is_first": is_first,
            }
        )
    return rows


def _worst_first(results: Sequence[Result]) -> list[Result]:
    """Sort by strict F1, then by AP; series without an event come last, those with most false episodes first."""

    def badness(one: Result) -> tuple[bool, float, float]:
        if not one.events:
            return True, -_or_zero(one.measures.false_episodes_per_10k), 0.0
        return False, _or_zero(one.measures.strict_f1), _or_zero(one.measures.ap)

    return sorted(results, key=badness)


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _story(out: Path, one: Result) -> dict[str, Any]:
    """Return a series' heading, figures and curve."""
    curves = Place(out, one.group, one.series, one.detector, one.seed).curves()
    figures = ", ".join(
        f"{HEADINGS.get(name, name.replace('_', ' '))} {shown(name, getattr(one.measures, name))}" for name in IN_STORY
    )
    if one.error or curves is None:
        return {"name": f"{one.group}/{one.series}", "figures": one.error or "no curve was kept", "svg": ""}
    svg = score_curve(curves.scores, curves.thresholds, curves.alarms, curves.labels)
    return {
        "name": f"{one.group}/{one.series}",
        "figures": f"{one.rows:,} test rows, {one.events} {'event' if one.events == 1 else 'events'}: {figures}",
        "svg": Markup(svg),  # noqa: S704 - numbers only, made by us
    }


def _series(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return a row a series with the figures of every detector."""
    detectors = list(dict.fromkeys(one.detector for one in results))
    rows = []
    for group, name in dict.fromkeys((one.group, one.series) for one in results):
        mine = [one for one in results if (one.group, one.series) == (group, name)]
        cells = []
        for detector in detectors:
            seeds = [one for one in mine if one.detector == detector]
            means = macro([one.measures for one in seeds]).means
            cells.append(f"{shown('ap', means.ap)} / {shown('strict_f1', means.strict_f1)}" if seeds else "")
        rows.append({"name": f"{group}/{name}", "rows": f"{mine[0].rows:,}", "events": mine[0].events, "cells": cells})
    return rows
