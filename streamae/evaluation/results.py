"""Results of an evaluation: one pair of files a series, detector and seed, and the table of all of them.

The figures are in a JSON file, the curves they came from beside it; the figures are written last, so that what can
be read is complete. Must not know how a figure is made, only which there are and what a failure counts.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import numpy as np

from streamae.batches import Doubles, Flags
from streamae.evaluation import measures
from streamae.evaluation.measures import Measures

MEASURES = measures.COLUMNS
COLUMNS = (
    *("group", "series", "detector", "seed"),
    *MEASURES,
    *("train_seconds", "score_seconds", "rows", "events", "unscored_rows", "bundle", "error"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """Figures of one detector on the test rows of one series.

    Attributes:
        group, series, detector, seed: which.
        measures: the figures; NaN = undefined, as is recall without an event.
        train_seconds, score_seconds: wall time; of a fleet, each series' equal share.
        rows, events: test rows and runs of anomalous ones.
        unscored_rows: test rows where no window ended: they count as the least anomalous ones.
        bundle: version of the model.
        error: why there are no figures; empty = there are.
        fingerprint: digest of all the figures depend on.
        differences: what the manifest says otherwise than it was counted, in words.
    """

    group: str
    series: str
    detector: str
    seed: int
    measures: Measures
    train_seconds: float = 0.0
    score_seconds: float = 0.0
    rows: int = 0
    events: int = 0
    unscored_rows: int = 0
    bundle: str = ""
    error: str = ""
    fingerprint: str = ""
    differences: tuple[str, ...] = ()

    def cell(self, column: str) -> Any:
        """Return the value of one of `COLUMNS`."""
        return getattr(self.measures if column in MEASURES else self, column)


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Test rows as the detector saw them, (N,) each: for pictures.

    Attributes:
        labels: True in an anomaly.
        scores, thresholds: what was compared; NaN = no window ended here, infinity = learning.
        alarms: judged anomalous.
    """

    labels: Flags
    scores: Doubles
    thresholds: Doubles
    alarms: Flags


@dataclass(frozen=True, slots=True)
class Place:
    """Where the result of one series, detector and seed is kept below `folder`."""

    folder: Path
    group: str
    series: str
    detector: str
    seed: int

    @property
    def path(self) -> Path:
        """The figures; the curves lie beside them."""
        name = f"{quote(self.series, safe='')}.{quote(self.detector, safe='+@')}.{self.seed}.json"
        return self.folder / "results" / quote(self.group, safe="") / name

    def load(self) -> Result | None:
        """Return what was kept, None if there is nothing readable."""
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            figures = kept["measures"]
            kept["measures"] = Measures(**{name: math.nan if v is None else v for name, v in figures.items()})
            return Result(**kept | {"differences": tuple(kept["differences"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def save(self, result: Result, curves: Curves | None = None) -> None:
        """Keep a result; what was kept before is replaced."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if curves is not None:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **{name: getattr(curves, name) for name in Curves.__slots__})
            _write(self.path.with_suffix(".npz"), buffer.getvalue())
        plain = asdict(result)
        plain["measures"] = {name: None if math.isnan(v) else v for name, v in plain["measures"].items()}
        _write(self.path, f"{json.dumps(plain, indent=1)}\n".encode())

    def curves(self) -> Curves | None:
        """Return the curves that were kept, None if there are none."""
        try:
            with np.load(self.path.with_suffix(".npz"), allow_pickle=False) as kept:
                return Curves(**{name: kept[name] for name in Curves.__slots__})
        except (OSError, ValueError, KeyError):
            return None


def failure(place: Place, reason: str, rows: int = 0, events: int = 0, fingerprint: str = "") -> Result:
    """Return a result that counts as nothing found; without events in the test rows as nothing at all."""
    return Result(
        place.group,
        place.series,
        place.detector,
        place.seed,
        measures.failed(has_events=events > 0),
        rows=rows,
        events=events,
        error=" ".join(reason.split()),
        fingerprint=fingerprint,
    )


def write_table(path: Path, results: Iterable[Result]) -> None:
    """Write all results as CSV with `COLUMNS`; floats to the last digit, undefined ones empty."""
    stream = io.StringIO()
    _write_rows(stream, results)
    _write(path, stream.getvalue().encode())


def _write_rows(stream: TextIO, results: Iterable[Result]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        cells = [result.cell(column) for column in COLUMNS]
        writer.writerow(["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells])


def _write(path: Path, data: bytes) -> None:
    """Write under another name, then rename: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(data)
    temporary.replace(path)
