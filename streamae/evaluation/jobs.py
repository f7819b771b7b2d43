"""One job of an evaluation: train on the train rows, score the test rows live, measure; keep what came of it.

A job is one bundle and all that is asked of it: the detectors that differ in their decision only, on one series or
on the series of a fleet. Jobs share nothing but the output folder, so that they may run side by side. This module
must not know how many jobs there are or how they are shown.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from streamae.batches import Series
from streamae.errors import BundleError, DataError
from streamae.evaluation.choice import Choice, chosen, is_tested
from streamae.evaluation.detectors import by_network, settings_of
from streamae.evaluation.measures import Measures, measure
from streamae.evaluation.metrics import runs
from streamae.evaluation.provenance import PACKAGE, code_digest, counted, digest_of
from streamae.evaluation.results import Curves, Place, Result, failure
from streamae.evaluation.suite import LabelledSeries, Suite, SuiteSeries
from streamae.model.bundle import Bundle, load_bundle
from streamae.replay.live_scores import RowScores, lead_in, score_live
from streamae.replay.play import play
from streamae.settings.tree import Settings
from streamae.training.options import TrainOptions
from streamae.training.run import train

GAP_STEPS = 64  # a gap of fewer usual steps never restarts a window, however long a step is
FLEET = "@fleet"  # behind the name of a detector that was trained on all series of its group at once


@dataclass(frozen=True)
class Job:
    """What one process does in one go.

    Attributes:
        entries: one series, or all of a fleet.
        detectors: names, all of one network.
        seed: of the training.
        settings: that detectors change.
        out: folder of results and bundles.
        is_fleet: one bundle and one engine for all entries; then results say so.
    """

    entries: tuple[SuiteSeries, ...]
    detectors: tuple[str, ...]
    seed: int
    settings: Settings
    out: Path
    is_fleet: bool = False

    @property
    def title(self) -> str:
        """For the progress: what is looked at."""
        first = self.entries[0]
        what = f"{first.group}, {len(self.entries)} series" if self.is_fleet else f"{first.group}/{first.name}"
        return f"{what} {', '.join(self.detectors)} seed {self.seed}"

    @property
    def names(self) -> tuple[str, ...]:
        """The detectors as results call them."""
        return tuple(f"{name}{FLEET}" if self.is_fleet else name for name in self.detectors)

    @property
    def rows(self) -> int:
        """Rows that pass through the engine, for an estimate of the time."""
        return sum(entry.rows for entry in self.entries) * len(self.detectors)

    def place(self, entry: SuiteSeries, detector: str) -> Place:
        """Return where a result belongs."""
        name = f"{detector}{FLEET}" if self.is_fleet else detector
        return Place(self.out, entry.group, entry.name, name, self.seed)

    @cached_property
    def data_digest(self) -> str:
        """SHA-256 over the files and where they are split."""
        digest = hashlib.sha256()
        for entry in self.entries:
            split = (entry.group, entry.name, entry.train_rows, entry.has_times, entry.step_ms, entry.key)
            digest.update(repr(split).encode())
            digest.update(entry.path.read_bytes())
        return digest.hexdigest()

    def tuned(self, detector: str) -> Settings:
        """Return a detector's settings for these series: no gap of a few usual steps restarts a window."""
        settings = settings_of(detector, self.settings, self.seed)
        steps = [entry.step_ms or 0 for entry in self.entries]
        max_gap_ms = max(settings.window.max_gap_ms, GAP_STEPS * max(steps))
        return settings.model_copy(update={"window": settings.window.model_copy(update={"max_gap_ms": max_gap_ms})})

    def fingerprint(self, detector: str) -> str:
        """Digest of all that a result of this detector depends on: settings with the seed, data, fleet, and the code."""
        return digest_of([counted(self.tuned(detector)), self.data_digest, self.is_fleet, code_digest(PACKAGE)])

    def finished(self) -> list[Result] | None:
        """Return the results if all are there, from these settings, data and code, and none failed; else None."""
        kept = self._kept()
        holding = [result for result, holds in kept if result is not None and holds and not result.error]
        return holding if len(holding) == len(kept) else None

    def outdated(self) -> int:
        """Count the results that are there, but from other settings, data or code."""
        return sum(result is not None and not holds for result, holds in self._kept())

    def _kept(self) -> list[tuple[Result | None, bool]]:
        """Return what is there for each detector and entry, and whether it still holds."""
        found: list[tuple[Result | None, bool]] = []
        for detector in self.detectors:
            fingerprint = self.fingerprint(detector)
            results = [self.place(entry, detector).load() for entry in self.entries]
            found += [(result, result is not None and result.fingerprint == fingerprint) for result in results]
        return found


def plan(settings: Settings, suite: Suite, out: Path, choice: Choice) -> list[Job]:
    """Return the jobs in the order they are done: all series with the first seed, then with the next.

    Raises:
        DataError: a group is not there, or no series is left.
        ConfigError: a detector does not fit the settings.
    """
    networks = by_network(choice.detectors)
    for name in choice.detectors:
        settings_of(name, settings, seed=0)
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"threads": 1})})
    entries = [entry for entry in chosen(suite, choice) if is_tested(entry)]
    if not entries:
        raise DataError(f"{suite.folder}: none of the series has rows behind its train rows")
    units: list[tuple[SuiteSeries, ...]] = [(entry,) for entry in entries]
    if choice.is_fleet:
        fleets: dict[tuple[str, int], list[SuiteSeries]] = {}
        for entry in entries:
            fleets.setdefault((entry.group, entry.channels), []).append(entry)
        units = [tuple(fleet) for fleet in fleets.values()]
    return [
        Job(unit, members, seed, settings, out, choice.is_fleet)
        for seed in range(choice.seeds)
        for unit in units
        for members in networks.values()
    ]


def run(job: Job) -> list[Result]:
    """Do a job and keep its results; what goes wrong is a result too, with its reason.

    The bundle is kept in `bundles/`, named by all it depends on, so that it is trained once.
    """
    try:
        loaded = [entry.load() for entry in job.entries]
        bundle, train_seconds = _bundle(job, [_train_part(one) for one in loaded])
    except Exception as error:  # noqa: BLE001 - one series that cannot be used must not end the others
        return _failed(job, job.detectors, error)
    results: list[Result] = []
    for detector in job.detectors:
        try:
            results += _score(job, detector, loaded, bundle, train_seconds)
        except Exception as error:  # noqa: BLE001 - as above
            results += _failed(job, (detector,), error)
    return results


def _score(
    job: Job, detector: str, loaded: Sequence[LabelledSeries], bundle: Bundle, train_seconds: float
) -> list[Result]:
    """Run one detector over the test rows of all series, measure and keep."""
    starts = [max(0, one.train_rows - lead_in(bundle)) for one in loaded]
    fed = [one.series.take(slice(start, None)) for one, start in zip(loaded, starts, strict=True)]
    live = score_live(fed, play(fed, bundle, job.tuned(detector)))
    results = []
    for number, (entry, one) in enumerate(zip(job.entries, loaded, strict=True)):
        tested = live.rows[number].since(one.train_rows - starts[number])
        labels = one.labels[one.train_rows :]
        if len(tested) != len(labels):
            raise DataError(f"{entry.name}: {len(tested)} scores for {len(labels)} labels")
        result = Result(
            entry.group,
            entry.name,
            job.place(entry, detector).detector,
            job.seed,
            _figures(one, tested),
            train_seconds / len(loaded),
            live.seconds / len(loaded),
            len(labels),
            len(runs(labels)[0]),
            int(np.isnan(tested.scores).sum()),
            bundle.version,
            fingerprint=job.fingerprint(detector),
            differences=one.differences,
        )
        job.place(entry, detector).save(result, Curves(labels, tested.judged, tested.thresholds, tested.alarms))
        results.append(result)
    return results


def _figures(one: LabelledSeries, tested: RowScores) -> Measures:
    """Measure the test rows; those without a score rank lowest and are not in alarm."""
    if np.isnan(tested.scores).all():
        raise DataError(
            f"{one.series.key}: no window of the test part was scored: {len(tested)} rows, gaps, or missing"
        )
    return measure(one.labels[one.train_rows :], tested.scores, tested.alarms, one.series.values)


def _bundle(job: Job, series: Sequence[Series]) -> tuple[Bundle, float]:
    """Return the bundle and the seconds its training took, from the folder if it was trained before."""
    of = job.tuned(job.detectors[0])
    options = TrainOptions(of.train, of.window, of.features, of.model)
    name = digest_of([_plain(options), counted(of)["input"], job.data_digest, code_digest(PACKAGE)])[:16]
    directory, timing = job.out / "bundles" / name, job.out / "bundles" / f"{name}.json"
    try:
        return load_bundle(directory), float(json.loads(timing.read_text(encoding="utf-8"))["train_seconds"])
    except (BundleError, OSError, ValueError, KeyError):
        pass  # not trained yet, or not to the end
    started = time.perf_counter()
    bundle = train(series, options)
    seconds = time.perf_counter() - started
    bundle.save(directory)
    timing.write_text(json.dumps({"train_seconds": seconds, "of": job.title}), encoding="utf-8")
    return bundle, seconds


def _failed(job: Job, detectors: Iterable[str], error: Exception) -> list[Result]:
    """Keep what went wrong as the result of each series."""
    reason, results = f"{type(error).__name__}: {error}", []
    for detector in detectors:
        for entry in job.entries:
            rows, events = _size(entry)
            result = failure(job.place(entry, detector), reason, rows, events, job.fingerprint(detector))
            job.place(entry, detector).save(result)
            results.append(result)
    return results


def _size(entry: SuiteSeries) -> tuple[int, int]:
    """Return test rows and events; where even the file cannot be read, as if there were an event."""
    try:
        labels = entry.load().labels[entry.train_rows :]
    except DataError:
        return entry.rows - entry.train_rows, 1
    return len(labels), len(runs(labels)[0])


def _train_part(one: LabelledSeries) -> Series:
    return one.series.take(slice(one.train_rows))


def _plain(options: TrainOptions) -> dict[str, Any]:
    sections: dict[str, Any] = {
        name: getattr(options, name).model_dump(mode="json") for name in ("train", "window", "features")
    }
    sections["model"] = options.model.model_dump(mode="json", include={"device", "threads"})
    return sections
