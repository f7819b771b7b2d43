"""`python -m scripts.bench.anchors SUITE`: VUS-PR on the slices and splits of a published benchmark, beside what it published.

`ANCHORS_tsb_ad.csv` in the suite names series, the rows of them that were judged, how many of those were trained on,
and the figures of other detectors. Only series marked `exact` count: there the published PCA, computed from our rows,
gives the published figure. Our `pca` is another one: it sees windows, and only the train rows are fitted to.
As published, all rows of the slice are judged, those that were trained on too. Figures are means over series; where
a training or scoring fails, the series counts zero, is named, and the exit code is 1.
Must not know: how streamae decides; only scores are looked at.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path

import numpy as np

from streamae.batches import Doubles
from streamae.errors import DataError, ExitCode, FatalError
from streamae.evaluation.detectors import split
from streamae.evaluation.jobs import Job
from streamae.evaluation.provenance import code_digest, digest_of
from streamae.evaluation.ranking import period, vus_pr
from streamae.evaluation.suite import Suite, SuiteSeries
from streamae.evaluation.summary import hardware
from streamae.observe import logs
from streamae.observe.progress import JobProgress
from streamae.replay.live_scores import score_live
from streamae.replay.play import play
from streamae.settings.tree import Settings
from streamae.training.options import TrainOptions
from streamae.training.run import train

SCRIPTS = Path(__file__).resolve().parent
ANCHORS, EXACT = "ANCHORS_tsb_ad.csv", "exact"
LABELLED_A_ROW_EARLIER = {"ucr"}  # our labels begin one row before the published ones
SHOWN = 3  # published detectors a group, the best


@dataclass(frozen=True, slots=True)
class Anchor:
    """A slice of a series and the published VUS-PR on it, by method."""

    entry: SuiteSeries
    start: int
    rows: int
    train_rows: int
    published: dict[str, float]


def read_anchors(folder: Path) -> list[Anchor]:
    """Return the exact anchors of a suite.

    Raises:
        DataError: the suite has none, or they name series that it does not have.
    """
    path = folder / ANCHORS
    if not path.is_file():
        raise DataError(f"{path}: there is no such file: this suite has no published figures")
    entries = {(entry.group, entry.name): entry for entry in Suite.open(folder).series}
    found: dict[tuple[str, str], Anchor] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["match"] != EXACT:
                continue
            place = row["dataset"], row["series"]
            if place not in entries:
                raise DataError(f"{path}: {'/'.join(place)} is not in the manifest")
            start, rows, train_rows = (int(row[name]) for name in ("start_row", "rows", "tsb_train_rows"))
            anchor = found.setdefault(place, Anchor(entries[place], start, rows, train_rows, {}))
            anchor.published[row["method"]] = float(row["vus_pr"])
    return list(found.values())


@dataclass(frozen=True, slots=True)
class AnchorJob:
    """One training and scoring on one anchor.

    Attributes:
        anchor: where.
        detector: a network, as for `streamae evaluate`.
        seed: of the training.
        settings: that the detector changes.
        is_centred: lay each score on the middle row of its window, which no live detector can.
    """

    anchor: Anchor
    detector: str
    seed: int
    settings: Settings
    is_centred: bool = False

    @property
    def title(self) -> str:
        """For progress and messages."""
        return f"{self.anchor.entry.group}/{self.anchor.entry.name} {self.detector} seed {self.seed}"

    @property
    def fingerprint(self) -> str:
        """Digest of all that the figure depends on: settings, data, slice, and the code that makes it."""
        anchor = self.anchor
        place = (anchor.start, anchor.rows, anchor.train_rows, self.is_centred)
        return digest_of([self.evaluation.fingerprint(self.detector), *place, code_digest(SCRIPTS)])

    @property
    def evaluation(self) -> Job:
        """The job of an evaluation that has the same detector, settings and data, on one core."""
        model = self.settings.model.model_copy(update={"threads": 1})
        settings = self.settings.model_copy(update={"model": model})
        return Job((self.anchor.entry,), (self.detector,), self.seed, settings, Path())


@dataclass(frozen=True, slots=True)
class AnchorResult:
    """What came of a job: VUS-PR in [0, 1], or zero and the reason if it failed."""

    job: AnchorJob
    vus_pr: float
    error: str = ""


def perform(jobs: Sequence[AnchorJob], processes: int) -> Iterator[AnchorResult]:
    """Yield what came of each job as it ends, in this process or in several of one core each.

    Raises:
        FatalError: a process died.
    """
    if processes == 1:
        yield from map(run, jobs)
        return
    executor = ProcessPoolExecutor(processes, get_context("spawn"))
    try:
        for future in as_completed([executor.submit(run, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise FatalError("a process died, perhaps for lack of memory: give fewer --jobs and start again") from error
    except BaseException:  # whoever stops reading ends them at once
        executor.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.terminate()
        raise
    executor.shutdown()


def run(job: AnchorJob) -> AnchorResult:
    """Do a job; what goes wrong is a result too."""
    try:
        return AnchorResult(job, reached(job))
    except Exception as error:  # noqa: BLE001 - one series that cannot be used must not end the others
        return AnchorResult(job, 0.0, f"{type(error).__name__}: {' '.join(str(error).split())}")


def reached(job: AnchorJob) -> float:
    """Train on the slice's first rows, score the whole slice live, return VUS-PR."""
    logs.configure("error", stream=sys.stderr)
    anchor = job.anchor
    loaded = anchor.entry.load()
    rows = slice(anchor.start, anchor.start + anchor.rows)
    labels, whole = loaded.labels[rows].copy(), loaded.series.take(rows)
    if anchor.entry.group in LABELLED_A_ROW_EARLIER:
        labels[np.argmax(labels)] = False
    settings = job.evaluation.tuned(job.detector)
    options = TrainOptions(settings.train, settings.window, settings.features, settings.model)
    bundle = train([whole.take(slice(anchor.train_rows))], options)
    scores = score_live([whole], play([whole], bundle, settings)).rows[0].scores
    known = np.where(np.isnan(scores), np.nanmin(scores), scores)
    if job.is_centred:
        known = centred(known, bundle.architecture.window_size)
    return vus_pr(labels, known, period(whole.values[:, 0]))


def centred(scores: Doubles, window_size: int) -> Doubles:
    """Return scores (N,) of windows that end at each row, moved to the middle of them; the last rows get the lowest.

    Example:
        >>> centred(np.array([0.0, 0.0, 0.0, 7.0, 1.0]), 3).tolist()
        [0.0, 0.0, 7.0, 1.0, 0.0]
    """
    ahead = window_size // 2
    return np.concatenate([scores[ahead:], np.full(ahead, scores.min())])[: len(scores)]


def table(anchors: Sequence[Anchor], detectors: Sequence[str], figures: Sequence[Sequence[float]]) -> str:
    """Return a line a group: our detectors, and the best published ones, means over the group's series."""
    groups: dict[str, list[int]] = defaultdict(list)
    for number, anchor in enumerate(anchors):
        groups[anchor.entry.group].append(number)
    lines = []
    for group, numbers in groups.items():
        ours = [
            f"{name} {np.mean([figures[place][number] for number in numbers]):.3f}"
            for place, name in enumerate(detectors)
        ]
        methods = set.intersection(*(set(anchors[number].published) for number in numbers))
        means = {name: float(np.mean([anchors[number].published[name] for number in numbers])) for name in methods}
        best = sorted(means, key=lambda name: (-means[name], name))[:SHOWN]
        theirs = ", ".join(f"{name} {means[name]:.3f}" for name in best)
        lines.append(f"{group}, {len(numbers)} series: {', '.join(ours)}; published: {theirs}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all exact anchors; print the table and the hardware line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.anchors", description=__doc__.splitlines()[0])
    parser.add_argument("suite", type=Path, help=f"folder with MANIFEST.csv and {ANCHORS}")
    parser.add_argument("--detectors", default="default,pca", help="networks, as for `streamae evaluate` (%(default)s)")
    parser.add_argument("--groups", default="", help="only these (all)")
    parser.add_argument(
        "--centred",
        action="store_true",
        help="lay scores on the middle of their windows, as published methods do that see a window whole: what it costs to be live",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes of one core (%(default)s)")
    options = parser.parse_args(arguments)
    detectors = options.detectors.split(",")
    for name in detectors:
        split(name)
    chosen = set(options.groups.split(",")) - {""}
    anchors = [anchor for anchor in read_anchors(options.suite) if not chosen or anchor.entry.group in chosen]
    jobs = [AnchorJob(anchor, name, 0, Settings(), options.centred) for name in detectors for anchor in anchors]
    found: dict[str, AnchorResult] = {}
    with JobProgress(sys.stderr, [job.anchor.rows for job in jobs]) as bar:
        for one in perform(jobs, options.jobs):
            found[one.job.title] = one
            bar.step(one.job.anchor.rows, one.job.title, bool(one.error))
    for title, one in found.items():
        if one.error:
            print(f"failed: {title}: {one.error}", file=sys.stderr)
    in_order = [found[job.title].vus_pr for job in jobs]
    figures = [in_order[place * len(anchors) :][: len(anchors)] for place in range(len(detectors))]
    print(f"VUS-PR on the published slices and splits\n{table(anchors, detectors, figures)}\n{hardware(options.jobs)}")
    return ExitCode.FAILURE if any(one.error for one in found.values()) else ExitCode.OK


if __name__ == "__main__":
    raise SystemExit(main())
