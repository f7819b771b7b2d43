"""A benchmark suite: a folder of labelled series with a `MANIFEST.csv` that says where each one is split.

The manifest has one row a series and at least the columns `COLUMNS`; the series are CSV (also gzipped) or Parquet
files with a `timestamp`, value columns and `is_anomaly`. The first `train_rows` rows train, the rest test. Checksums
are not verified. This module knows nothing about detectors or scores.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from streamae.batches import Flags, Ints, Series
from streamae.connectors.files.series import read_series
from streamae.errors import DataError
from streamae.settings.data import InputSettings

MANIFEST = "MANIFEST.csv"
ROW_MS = 1_000  # rows without any time are so far apart, where the manifest does not say
COLUMNS = ("dataset", "series", "file", "rows", "channels", "train_rows", "timestamp_kind", "step_seconds")


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSeries:
    """A series whose anomalies are known.

    Attributes:
        series: N rows in the order of the file; event times strictly increasing; `labels` None, so that no detector
            can see them.
        labels: (N,) bool, True in an anomaly.
        train_rows: rows [0, train_rows) train, the others test; may be N.
    """

    series: Series
    labels: Flags
    train_rows: int


@dataclass(frozen=True, slots=True)
class SuiteSeries:
    """One row of the manifest: where a series is and what it must look like.

    Attributes:
        group: the dataset it belongs to; averages are taken within a group first.
        name: unique in its group.
        path: of the file.
        rows, channels: what the file must hold.
        train_rows: in [1, rows].
        has_times: the timestamps are times; else row numbers.
        step_ms: usual distance of two rows; None = unknown.
    """

    group: str
    name: str
    path: Path
    rows: int
    channels: int
    train_rows: int
    has_times: bool
    step_ms: int | None

    def load(self) -> LabelledSeries:
        """Read the file; the key of the series is `group/name`.

        Row numbers become times `step_ms` apart from the epoch on (a second where the step is unknown).

        Raises:
            DataError: the file cannot be used, or does not hold what the manifest says.
        """
        step_ms = self.step_ms or ROW_MS
        (one,) = read_series([self.path], InputSettings(row_ms=None if self.has_times else step_ms))
        if one.labels is None:
            raise DataError(f"{self.path}: no label column: add is_anomaly with 0 or 1 a row")
        for what, found, expected in (("rows", len(one), self.rows), ("channels", len(one.features), self.channels)):
            if found != expected:
                raise DataError(
                    f"{self.path}: {found} {what}, {MANIFEST} says {expected}: mend the manifest or the file"
                )
        numbers = np.arange(len(one), dtype=np.int64) * step_ms
        times = in_order(one.event_times_ms) if self.has_times else numbers
        series = replace(one, key=f"{self.group}/{self.name}", event_times_ms=times, labels=None)
        return LabelledSeries(series, one.labels, self.train_rows)


@dataclass(frozen=True, slots=True)
class Suite:
    """The series of a folder, in the order of its manifest."""

    folder: Path
    series: tuple[SuiteSeries, ...]

    @classmethod
    def open(cls, folder: Path) -> Suite:
        """Read the manifest and see that every file is there.

        Raises:
            DataError: no manifest, columns missing, a value out of range, a series twice, or a file missing.
        """
        path = folder / MANIFEST
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.DictReader(stream)
                rows, header = list(reader), tuple(reader.fieldnames or ())
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path}: not readable: {error}: a suite is a folder with a {MANIFEST}") from error
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise DataError(f"{path}: no column {', '.join(missing)}; a manifest has {', '.join(COLUMNS)}")
        if not rows:
            raise DataError(f"{path}: lists no series")
        series = tuple(_entry(path, number, row) for number, row in enumerate(rows, start=2))
        seen: set[tuple[str, str]] = set()
        for number, entry in enumerate(series, start=2):
            if (entry.group, entry.name) in seen:
                raise DataError(f"{path}, line {number}: series {entry.group}/{entry.name} stands twice")
            seen.add((entry.group, entry.name))
        return cls(folder, series)

    @property
    def groups(self) -> tuple[str, ...]:
        """Return the names of the groups, in order of appearance."""
        return tuple(dict.fromkeys(entry.group for entry in self.series))

    def select(self, groups: Sequence[str]) -> Suite:
        """Return the suite with these groups only, in the order of the manifest; none named = all.

        Raises:
            DataError: there is no such group.
        """
        unknown = [group for group in groups if group not in self.groups]
        if unknown:
            raise DataError(f"{self.folder}: no group {', '.join(unknown)}; there are {', '.join(self.groups)}")
        chosen = groups or self.groups
        return Suite(self.folder, tuple(entry for entry in self.series if entry.group in chosen))


def in_order(times_ms: Ints) -> Ints:
    """Return (N,) int64 strictly increasing times: rows stay where they are, so that scores align with labels.

    A row keeps its own time if that is later than all before it; else (a repeated stamp, a step back) it is one
    millisecond after the row before.

    Example:
        >>> in_order(np.array([5, 5, 3, 9])).tolist()
        [5, 6, 7, 9]
    """
    numbers = np.arange(len(times_ms), dtype=np.int64)
    ordered: Ints = np.maximum.accumulate(times_ms - numbers) + numbers
    return ordered


def _entry(manifest: Path, line: int, row: Mapping[str, str | None]) -> SuiteSeries:
    """Return one row of the manifest, checked."""
    where = f"{manifest}, line {line}"
    texts = {column: (row[column] or "").strip() for column in COLUMNS}
    empty = [column for column in COLUMNS if not texts[column] and column != "step_seconds"]
    if empty:
        raise DataError(f"{where}: {', '.join(empty)} is empty")
    rows, channels, train_rows = (_whole(where, name, texts[name]) for name in ("rows", "channels", "train_rows"))
    if not 1 <= train_rows <= rows:
        raise DataError(f"{where}: train_rows {train_rows} is out of range: 1 to {rows}, the rows of the series")
    if texts["timestamp_kind"] not in {"iso", "index"}:
        raise DataError(f"{where}: timestamp_kind {texts['timestamp_kind']!r} is neither iso nor index")
    path = manifest.parent / texts["file"]
    if not path.is_file():
        raise DataError(f"{where}: there is no file {path}")
    return SuiteSeries(
        group=texts["dataset"],
        name=texts["series"],
        path=path,
        rows=rows,
        channels=channels,
        train_rows=train_rows,
        has_times=texts["timestamp_kind"] == "iso",
        step_ms=_step_ms(where, texts["step_seconds"]),
    )


def _whole(where: str, name: str, text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise DataError(f"{where}: {name} is {text!r}, not a whole number from 1")
    return number


def _step_ms(where: str, text: str) -> int | None:
    if not text:
        return None
    try:
        step_ms = round(float(text) * 1_000)
    except (ValueError, OverflowError):
        step_ms = 0
    if step_ms < 1:
        raise DataError(f"{where}: step_seconds is {text!r}, not a number of seconds from 0.001")
    return step_ms
