"""The table of an evaluation: means by group and detector, and the machine they were made on.

A series counts once, however many seeds: first the mean over its seeds, then over the series. Undefined figures are
left out, failures count as `measures.failed` says. Must not know where results come from.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from streamae.evaluation.measures import Measures, macro
from streamae.evaluation.results import Result
from streamae.model.runner import choose_device, usable_cores

HEADINGS = {
    "ap": "AP",
    "vus_pr": "VUS-PR",
    "recall_at_8": "recall@8",
    "event_f1": "event F1",
    "strict_f1": "strict F1",
    "false_episodes_per_10k": "false/10k",
    "alarm_share": "alarm share",
    "delay_steps": "delay",
    "nab_standard": "NAB",
}
DECIMALS = {"false_episodes_per_10k": 1, "delay_steps": 0, "nab_standard": 1}  # others 3; the share is in percent
ALL_GROUPS = "mean of groups"


@dataclass(frozen=True, slots=True)
class Line:
    """Means of one detector over one group.

    Attributes:
        group, detector: which.
        means: NaN where a figure is nowhere defined.
        series: with anomalies in their test rows: over so many AP, recall and F1 are means.
        all_series: of the group.
        failed: of them, with at least one seed.
    """

    group: str
    detector: str
    means: Measures
    series: int
    all_series: int
    failed: int


def lines(results: Sequence[Result]) -> list[Line]:
    """Return means by group and detector, in order of appearance; with several groups, their mean at the end."""
    detectors = list(dict.fromkeys(result.detector for result in results))
    groups = list(dict.fromkeys(result.group for result in results))
    found = [
        _line(group, detector, chosen)
        for group in groups
        for detector in detectors
        if (chosen := [one for one in results if (one.group, one.detector) == (group, detector)])
    ]
    if len(groups) > 1:
        found += [_mean_line(detector, [one for one in found if one.detector == detector]) for detector in detectors]
    return found


def text(results: Sequence[Result]) -> str:
    """Return the table for a terminal."""
    rows = [("group", "detector", "series", *HEADINGS.values())] + [
        (line.group, line.detector, count(line), *(shown(name, getattr(line.means, name)) for name in HEADINGS))
        for line in lines(results)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def count(line: Line) -> str:
    """Say how many series are behind a line."""
    failed = f", {line.failed} failed" if line.failed else ""
    return f"{line.series} of {line.all_series}{failed}"


def shown(name: str, value: float) -> str:
    """Return a figure as people read it; `-` where it is undefined."""
    if math.isnan(value):
        return "-"
    return f"{value:.2%}" if name == "alarm_share" else f"{value:.{DECIMALS.get(name, 3)}f}"


def hardware(processes: int) -> str:
    """Say what the figures of speed were made on."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    device = choose_device("auto").type
    versions = f"Python {platform.python_version()}, torch {version('torch')}"
    return f"{cpu}, {usable_cores()} cores, models on {device}, {versions}, jobs of one core: {processes}"


def _line(group: str, detector: str, results: Sequence[Result]) -> Line:
    by_series: dict[str, list[Result]] = {}
    for result in results:
        by_series.setdefault(result.series, []).append(result)
    means = macro([macro([one.measures for one in seeds]).means for seeds in by_series.values()]).means
    return Line(
        group,
        detector,
        means,
        sum(any(one.events for one in seeds) for seeds in by_series.values()),
        len(by_series),
        sum(any(one.error for one in seeds) for seeds in by_series.values()),
    )


def _mean_line(detector: str, of_groups: Sequence[Line]) -> Line:
    means = macro([line.means for line in of_groups]).means
    return Line(
        ALL_GROUPS,
        detector,
        means,
        sum(line.series for line in of_groups),
        sum(line.all_series for line in of_groups),
        sum(line.failed for line in of_groups),
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
