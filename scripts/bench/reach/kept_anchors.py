"""Figures on published slices that are kept in a CSV file, so that none is made twice.

A kept figure counts only for the settings, data and code that it came from. Must not know how a figure is made.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from scripts.bench.anchors import AnchorJob, AnchorResult, perform
from streamae.evaluation.provenance import tell_outdated
from streamae.observe.progress import JobProgress

HEADER = ("detector", "group", "series", "seed", "digest", "vus_pr")
Place = tuple[str, str, str, int]


def place_of(job: AnchorJob) -> Place:
    """Return what a figure is kept under: the first four columns of `HEADER`."""
    return job.detector, job.anchor.entry.group, job.anchor.entry.name, job.seed


@dataclass
class KeptAnchors:
    """The file, and what is in it: by place the digest and the figure.

    A figure replaces the one that was kept in its place; the file is whole after each.
    """

    path: Path
    figures: dict[Place, tuple[str, float]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> KeptAnchors:
        """Read the file; one that is not there, or is not ours, holds nothing."""
        kept = cls(path)
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                for row in csv.DictReader(stream):
                    place = row["detector"], row["group"], row["series"], int(row["seed"])
                    kept.figures[place] = row["digest"], float(row["vus_pr"])
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path)
        return kept

    def find(self, job: AnchorJob) -> AnchorResult | None:
        """Return the figure of a job, None if there is none that still holds."""
        digest, figure = self.figures.get(place_of(job), ("", 0.0))
        return AnchorResult(job, figure) if digest == job.fingerprint else None

    def keep(self, result: AnchorResult) -> None:
        """Write a figure down; one that failed is not kept, so that it is tried again."""
        if result.error:
            return
        self.figures[place_of(result.job)] = result.job.fingerprint, result.vus_pr
        temporary = self.path.with_name(f".{self.path.name}.new")
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows((*place, *figure) for place, figure in self.figures.items())
        temporary.replace(self.path)


def resume(jobs: Sequence[AnchorJob], path: Path, processes: int, progress: TextIO) -> list[AnchorResult]:
    """Return what came of each job, in their order: from the file, or made now and kept there."""
    kept = KeptAnchors.read(path)
    found = {place_of(job): result for job in jobs if (result := kept.find(job)) is not None}
    rest = [job for job in jobs if place_of(job) not in found]
    tell_outdated(sum(place_of(job) in kept.figures for job in rest), path, progress)
    with JobProgress(progress, [job.anchor.rows for job in rest], len(found)) as bar:
        for result in _made(rest, kept, processes):
            found[place_of(result.job)] = result
            bar.step(result.job.anchor.rows, result.job.title, bool(result.error))
    return [found[place_of(job)] for job in jobs]


def _made(jobs: Sequence[AnchorJob], kept: KeptAnchors, processes: int) -> Iterator[AnchorResult]:
    for result in perform(jobs, processes):
        kept.keep(result)
        yield result
