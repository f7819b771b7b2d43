"""The runs behind the table of targets: single bundles, the fleet's bundle, published slices; then the table.

Each run keeps what it has finished in a folder or file of its own and does not do it again. A run that the suite has
nothing for is left out with a line that says so. Must not know what is aimed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TextIO

from scripts.bench.anchors import ANCHORS, Anchor, AnchorJob, AnchorResult, read_anchors
from scripts.bench.anchors import table as anchor_table
from scripts.bench.reach import targets
from scripts.bench.reach.findings import Findings
from scripts.bench.reach.kept_anchors import place_of, resume
from streamae.commands.evaluate import evaluate
from streamae.errors import DataError, ExitCode
from streamae.evaluation.choice import Choice
from streamae.evaluation.jobs import plan
from streamae.evaluation.nab_corpus import corpus_scores
from streamae.evaluation.results import Result
from streamae.evaluation.suite import Suite
from streamae.evaluation.summary import hardware
from streamae.settings.tree import Settings

DETECTORS = ("default", "default+sigma8", "default+sigma3", "pca")
FLEET_GROUP, CORPUS_GROUP = "smd", "nab"
ANCHORED = {"default": None, "pca": None, "auto": ("ucr",)}  # by detector the groups of its anchors; None = all
SINGLE_FOLDER, FLEET_FOLDER, ANCHORS_FILE, REACH_FILE = "single", "fleet", "anchors.csv", "reach.csv"


@dataclass(frozen=True, slots=True)
class Reach:
    """What is run, and where results are kept.

    Attributes:
        settings: that detectors change.
        suite: folder with a manifest.
        out: folder for results.
        groups: of the suite, none = all.
        seeds: trainings of each, with seeds 0, 1, ...; the fleet is trained with the first.
        processes: side by side, one core each.
        stream: for tables.
        progress: for how far it is.
    """

    settings: Settings
    suite: Path
    out: Path
    groups: tuple[str, ...]
    seeds: int
    processes: int
    stream: TextIO
    progress: TextIO

    def run(self) -> ExitCode:
        """Run everything, print the table of targets, write `reach.csv`.

        Returns:
            0, or 1 if a training or scoring failed: its series counts as nothing found and is tried again next time.
            A missed target is a figure, no failure.

        Raises:
            DataError: the suite cannot be read, or has no such group.
            ConfigError: what a report needs is not installed.
            FatalError: a process died; what is finished is kept.
        """
        suite = Suite.open(self.suite)
        groups = suite.select(self.groups).groups
        singles = self._evaluated(SINGLE_FOLDER, Choice(groups, DETECTORS, self.seeds, processes=self.processes))
        fleet: list[Result] = []
        if FLEET_GROUP in groups:
            choice = Choice((FLEET_GROUP,), DETECTORS[:1], is_fleet=True, processes=self.processes)
            fleet = self._evaluated(FLEET_FOLDER, choice)
        else:
            self._say(f"fleet: not run, there is no group {FLEET_GROUP} in {', '.join(groups)}")
        anchors = self._anchored(groups)
        nab = [one for one in singles if (one.group, one.detector) == (CORPUS_GROUP, DETECTORS[0])]
        corpus = corpus_scores(nab, self.out / SINGLE_FOLDER)
        found = targets.rows(Findings(suite.groups, [*singles, *fleet], corpus, anchors))
        targets.write(self.out / REACH_FILE, found)
        self._say(f"{targets.text(found)}\n\n{hardware(self.processes)}\ntable: {self.out / REACH_FILE}")
        errors = [one.error for one in (*singles, *fleet)] + [one.error for one in anchors]
        return ExitCode.FAILURE if any(errors) else ExitCode.OK

    def _evaluated(self, folder: str, choice: Choice) -> list[Result]:
        """Evaluate, and return the results that are kept now, those of failures too."""
        out = self.out / folder
        self._say(f"{folder}: {', '.join(choice.detectors)} on {', '.join(choice.groups)}, seeds: {choice.seeds}\n")
        evaluate(self.settings, self.suite, out, choice, self.stream, self.progress)
        self._say("")
        jobs = plan(self.settings, Suite.open(self.suite), out, choice)
        places = [job.place(entry, name) for job in jobs for name in job.detectors for entry in job.entries]
        found = [(place, place.load()) for place in places]
        lost = [str(place.path) for place, result in found if result is None]
        if lost:
            raise DataError(f"{lost[0]}: was written and is gone: start again")
        return [result for _, result in found if result is not None]

    def _anchored(self, groups: Sequence[str]) -> list[AnchorResult]:
        """Return the figures on the published slices of these groups."""
        if not (self.suite / ANCHORS).is_file():
            self._say(f"anchors: not run, there is no {ANCHORS} in {self.suite}\n")
            return []
        anchors = [one for one in read_anchors(self.suite) if one.entry.group in groups]
        if not anchors:
            self._say(f"anchors: not run, {ANCHORS} has no exact slice of {', '.join(groups)}\n")
            return []
        jobs = [
            AnchorJob(anchor, detector, seed, self.settings)
            for seed in range(self.seeds)
            for detector, chosen in ANCHORED.items()
            for anchor in anchors
            if chosen is None or anchor.entry.group in chosen
        ]
        self._say(f"anchors: VUS-PR on the published slices and splits, seeds: {self.seeds}\n")
        found = resume(jobs, self.out / ANCHORS_FILE, self.processes, self.progress)
        for one in found:
            if one.error:
                self._say(f"failed: {one.job.title}: {one.error}")
        self._say(f"{anchor_text(anchors, found)}\n")
        return found

    def _say(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


def anchor_text(anchors: Sequence[Anchor], found: Sequence[AnchorResult]) -> str:
    """Return a line a group for the detectors that ran on all groups, then for those that ran on some."""
    by_detector: dict[str, dict[tuple[str, str], list[float]]] = {}
    for one in found:
        detector, group, series, _ = place_of(one.job)
        by_detector.setdefault(detector, {}).setdefault((group, series), []).append(one.vus_pr)
    of_series: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for detector, figures in by_detector.items():
        of_series.setdefault(tuple(figures), []).append(detector)
    tables = []
    for places, detectors in of_series.items():
        chosen = [anchor for anchor in anchors if (anchor.entry.group, anchor.entry.name) in places]
        means = [[fmean(by_detector[name][place]) for place in places] for name in detectors]
        tables.append(anchor_table(chosen, detectors, means))
    return "\n".join(tables)
