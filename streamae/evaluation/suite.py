"""A benchmark suite: a folder of labelled series with a `MANIFEST.csv` that says where each one is split.

The manifest has one row a series and at least the columns `COLUMNS`; the series are files as `train` reads them, with
labels. The first `train_rows` rows train, the rest test. What else the manifest says of a series is counted here, and
a difference told; checksums are not verified. This module knows nothing about detectors or scores.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from streamae.batches import Flags, Ints, Series
from streamae.connectors.files.series import read_series
from streamae.errors import DataError
from streamae.evaluation.metrics import runs
from streamae.settings.data import InputSettings

MANIFEST = "MANIFEST.csv"
ROW_MS = 1_000  # rows without any time are so far apart, where the manifest does not say
COLUMNS = ("dataset", "series", "file", "train_rows")
COUNTED = (
    *("rows", "channels", "missing_values"),
    *("anomaly_rows", "anomaly_events", "train_anomaly_rows", "test_anomaly_events"),
)  # columns that may stand there too


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSeries:
    """A series whose anomalies are known.

    Attributes:
        series: N rows in the order of the file; event times strictly increasing; `labels` None, so that no detector
            can see them.
        labels: (N,) bool, True in an anomaly.
        train_rows: rows [0, train_rows) train, the others test; may be N.
        differences: what the manifest says otherwise than it was counted, in words.
    """

    series: Series
    labels: Flags
    train_rows: int
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SuiteSeries:
    """Where a series is, how it is read, and what is said of it.

    Attributes:
        group: the dataset it belongs to; averages are taken within a group first.
        name: unique in its group.
        path: of the file.
        rows, channels: as said, else as counted.
        train_rows: at least 1.
        has_times: rows have times; else row numbers.
        step_ms: usual distance of two rows; None = unknown.
        said: what the manifest says of the columns `COUNTED`.
        reading: how the file is read.
        key: of several keys in the file the one that is meant, its rows in the order of time; None = the file is one
            series in its own order.
    """

    group: str
    name: str
    path: Path
    rows: int
    channels: int
    train_rows: int
    has_times: bool
    step_ms: int | None
    said: Mapping[str, int] = field(default_factory=dict)
    reading: InputSettings = field(default_factory=InputSettings)
    key: str | None = None

    def load(self) -> LabelledSeries:
        """Read the file; the key of the series is `group/name`.

        Row numbers become times `step_ms` apart from the epoch on (a second where the step is unknown).

        Raises:
            DataError: the file cannot be used, has no labels, or not as many rows as are to train.
        """
        one = self._read()
        labels = labels_of(one, self.path)
        if len(one) < self.train_rows:
            raise DataError(f"{self.path}: {len(one)} rows, but train_rows is {self.train_rows}: mend the manifest")
        counts = _counts(one, labels, self.train_rows)
        differences = tuple(
            f"{MANIFEST} says {name} {number}, counted {counts[name]}"
            for name, number in self.said.items()
            if number != counts[name]
        )
        numbers = np.arange(len(one), dtype=np.int64) * (self.step_ms or ROW_MS)
        times = in_order(one.event_times_ms) if self.has_times else numbers
        series = replace(one, key=f"{self.group}/{self.name}", event_times_ms=times, labels=None)
        return LabelledSeries(series, labels, self.train_rows, differences)

    def sized(self, *, has_step: bool) -> SuiteSeries:
        """Return it with rows, channels and step as the file has them.

        Args:
            has_step: leave the step as it is.
        """
        try:
            one = self._read()
        except DataError:  # said where it is loaded, as the failure of this series alone
            return replace(self, rows=self.train_rows + 1, channels=1)
        step_ms = self.step_ms if has_step else usual_step_ms(one.event_times_ms)
        return replace(self, rows=len(one), channels=len(one.features), step_ms=step_ms)

    def _read(self) -> Series:
        update = {} if self.has_times else {"row_ms": self.step_ms or ROW_MS}
        found = read_series([self.path], self.reading.model_copy(update=update), sorts=self.key is not None)
        meant = [one for one in found if self.key in {None, one.key}]
        if len(meant) != 1:
            raise DataError(f"{self.path}: {len(meant)} keys, but it is one series: leave input.key_field out")
        return meant[0]


@dataclass(frozen=True, slots=True)
class Suite:
    """The series of a folder, in the order of its manifest."""

    folder: Path
    series: tuple[SuiteSeries, ...]

    @classmethod
    def open(cls, folder: Path, reading: InputSettings | None = None) -> Suite:
        """Read the manifest and see that every file is there; count rows where the manifest does not say how many.

        Args:
            folder: of the suite.
            reading: how its files are read; None = as without any settings.

        Raises:
            DataError: no manifest, columns missing, a value out of range, a series twice, or a file missing.
        """
        path = folder / MANIFEST
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.DictReader(stream)
                rows, header = list(reader), tuple(reader.fieldnames or ())
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            what = f"a suite is a folder with a {MANIFEST}, or one labelled file"
            raise DataError(f"{path}: not readable: {error}: {what}") from error
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise DataError(f"{path}: no column {', '.join(missing)}; a manifest has {', '.join(COLUMNS)}")
        if not rows:
            raise DataError(f"{path}: lists no series")
        reading = reading or InputSettings()
        series = tuple(_entry(path, number, row, reading) for number, row in enumerate(rows, start=2))
        seen: set[tuple[str, str]] = set()
        for number, entry in enumerate(series, start=2):
            if (entry.group, entry.name) in seen:
                raise DataError(f"{path}, line {number}: series {entry.group}/{entry.name} stands twice")
            seen.add((entry.group, entry.name))
        has_step = "step_seconds" in header
        is_said = [has_step and {"rows", "channels"} <= entry.said.keys() for entry in series]
        both = zip(series, is_said, strict=True)
        return cls(folder, tuple(one if is_enough else one.sized(has_step=has_step) for one, is_enough in both))

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


def labels_of(one: Series, path: Path) -> Flags:
    """Return (N,) bool, True in an anomaly.

    Raises:
        DataError: the file has no labels.
    """
    if one.labels is None:
        raise DataError(f"{path}: no labels: name their field with input.label_field, or call it is_anomaly")
    return one.labels


def check_labels(series: Sequence[Series], source: object) -> None:
    """Take labels that leave something normal: where all rows are anomalies, whatever alarms would look excellent.

    Raises:
        DataError: every labelled row is one, as where labels are 1 and -1, or words that nobody here knows.
    """
    labels = [one.labels for one in series if one.labels is not None]
    if labels and all(map(np.all, labels)):
        raise DataError(
            f"{source}: every row is labelled as an anomaly: input.label_field names another field, or its words are not known;"
            " normal rows need 0, false, no, normal, ok, benign or nothing"
        )


def usual_step_ms(times_ms: Ints) -> int | None:
    """Return the median distance of two rows of different times, None where there are no two.

    Example:
        >>> usual_step_ms(np.array([0, 60_000, 60_000, 120_000, 999_000]))
        60000
    """
    steps = np.diff(times_ms)
    return max(1, round(float(np.median(steps[steps > 0])))) if (steps > 0).any() else None


def _counts(one: Series, labels: Flags, train_rows: int) -> dict[str, int]:
    """Return what `COUNTED` names."""
    return {
        "rows": len(one),
        "channels": len(one.features),
        "missing_values": int(np.isnan(one.values).sum()),
        "anomaly_rows": int(labels.sum()),
        "anomaly_events": len(runs(labels)[0]),
        "train_anomaly_rows": int(labels[:train_rows].sum()),
        "test_anomaly_events": len(runs(labels[train_rows:])[0]),
    }


def _entry(manifest: Path, line: int, row: Mapping[str, str | None], reading: InputSettings) -> SuiteSeries:
    """Return one row of the manifest, checked."""
    where = f"{manifest}, line {line}"
    texts = {column: (text or "").strip() for column, text in row.items() if column}
    empty = [column for column in (*COLUMNS, "timestamp_kind") if not texts.get(column, column)]
    if empty:
        raise DataError(f"{where}: {', '.join(empty)} is empty")
    train_rows = _whole(where, "train_rows", texts["train_rows"])
    if not train_rows:
        raise DataError(f"{where}: train_rows is '0', not a whole number from 1")
    said = {column: _whole(where, column, texts[column]) for column in COUNTED if texts.get(column)}
    rows = said.get("rows", train_rows)
    if train_rows > rows:
        raise DataError(f"{where}: train_rows {train_rows} is out of range: 1 to {rows}, the rows of the series")
    kind = texts.get("timestamp_kind", "iso")
    if kind not in {"iso", "index"}:
        raise DataError(f"{where}: timestamp_kind {kind!r} is neither iso nor index")
    path = manifest.parent / texts["file"]
    if not path.is_file():
        raise DataError(f"{where}: there is no file {path}")
    return SuiteSeries(
        group=texts["dataset"],
        name=texts["series"],
        path=path,
        rows=rows,
        channels=said.get("channels", 1),
        train_rows=train_rows,
        has_times=kind == "iso",
        step_ms=_step_ms(where, texts.get("step_seconds", "")),
        said=said,
        reading=reading,
    )


def _whole(where: str, name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise DataError(f"{where}: {name} is {text!r}, not a whole number")
    return int(text)


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
