"""From series to training windows, through the same grid and windowing as the live stream.

Each series is split by time: its newest share is calibration data, windows that reach across the split belong to
nobody. Scaling is fitted on rows before the split only. This module knows nothing about networks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from streamae.batches import Doubles, Flags, Floats, Ints, Partition, RecordBatch, RowBatch, Series, WindowBatch
from streamae.core.grid import RowGrid, join_rows
from streamae.core.holding import Hold
from streamae.core.key_levels import MIN_ROWS, KeyLevels, standardised
from streamae.core.origins import Origins
from streamae.core.rates import Rates
from streamae.core.scaling import Scaling
from streamae.core.windowing import KeyWindows, select
from streamae.errors import DataError
from streamae.training.data_doubts import data_doubts
from streamae.training.derived_series import DerivedSeries, derive
from streamae.training.options import MIN_WINDOWS, MOST_SHARE, TrainOptions

MAX_CALIBRATION_WINDOWS = 20_000  # error levels need no more
MAX_CELLS = 2**30  # of float32 in all training windows, 4 GiB
MAX_CELLS_A_PUSH = 2**20  # of windows in flight
MAX_SIZE = 1e30  # of a value, as in the live stream


@dataclass(frozen=True, slots=True, eq=False)
class TrainingWindows:
    """What a network is fitted and calibrated on.

    Attributes:
        features: F names.
        derived: the series as features, and how they came to be.
        scaling: of the fit rows; by key, of rows inside of keys.
        inputs: scaling of what the model gets: the same from `origins`, or of windows that are standardised by key.
        origins: what stored rows, and so windows, count from.
        fit: (B, W, F) float32 scaled and squashed windows that end before the split of their series.
        calibration: (B, W, F) float32 as the model gets them, before `inputs`, from after the split.
        fit_starts_ms: (B,) int64 event time of the oldest row of each window of `fit`.
        fit_times_ms, calibration_times_ms: (B,) int64 event time of the newest row of each of these.
        step_ms: median time between two rows of a series.
        rows: rows of all series.
        left_out: records that became no row: late, duplicate, far ahead, or without a required value.
        digest: SHA-256 over keys, features, times and values of the series as given.
        doubts: what is odd about the rows, in sentences.
    """

    features: tuple[str, ...]
    derived: DerivedSeries
    scaling: Scaling
    inputs: Scaling
    origins: Origins
    fit: Floats
    calibration: Floats
    fit_starts_ms: Ints
    fit_times_ms: Ints
    calibration_times_ms: Ints
    step_ms: float
    rows: int
    left_out: int
    digest: str
    doubts: tuple[str, ...] = ()


def training_windows(
    series: Sequence[Series],
    options: TrainOptions,
    max_calibration_windows: int = MAX_CALIBRATION_WINDOWS,
    max_cells_a_push: int = MAX_CELLS_A_PUSH,
) -> TrainingWindows:
    """Cut series into windows to fit on and windows to calibrate on.

    Late and repeated records are left out and counted, exactly as in the live stream, so a series should be in
    the order of time.

    Args:
        series: one per key, all with the same features.
        options: how to cut and split.
        max_calibration_windows: more are thinned evenly.
        max_cells_a_push: bound on the windows in flight, in values; changes nothing but memory.

    Raises:
        DataError: no series, series with different features, a feature without any value, fewer than
            `MIN_WINDOWS` windows of a kind.
        ConfigError: the feature options do not fit the fields.
    """
    _check(series)
    try:
        return _cut(series, options, max_calibration_windows, max_cells_a_push)
    except _TooFewToCalibrateError as error:
        try:  # gaps have left too little of the newest part: a larger one may hold some windows
            more = max(options.train.calibration_share, MOST_SHARE)
            return _cut(series, options.with_train(calibration_share=more), max_calibration_windows, max_cells_a_push)
        except DataError:
            raise DataError(str(error)) from None


class _TooFewToCalibrateError(DataError):
    """There are windows enough to train on."""


def _cut(
    series: Sequence[Series], options: TrainOptions, max_calibration_windows: int, max_cells_a_push: int
) -> TrainingWindows:
    """`training_windows` with the share of calibration rows as it is."""
    derived = derive(series, options)
    features = derived.features
    rows, lost = zip(*(rows_of(derived, number, number, options) for number in range(len(series))), strict=True)
    splits = np.array([_split_time(part, options.calibration_part(len(part))) for part in rows], dtype=np.int64)  # (K,)
    fit_parts, newer_parts = _at_splits(rows, splits, derived.missing.hold)
    fit_rows, newer_rows = np.concatenate(fit_parts), np.concatenate(newer_parts)
    total, left_out = sum(map(len, rows)), derived.left_out + sum(lost)
    _check_fit_rows(features, fit_rows, total, left_out)
    step_ms = _step_ms(rows)
    scaling = _scaling(fit_parts, derived)
    origins = derived.origins(scaling.means)
    inputs = Scaling.unit(len(features)) if derived.is_by_key else scaling.from_origins(origins.levels)
    numeric = len(derived.encoding.fields) if derived.encoding else len(features)  # what is derived comes behind
    limit = max(1, min(options.train.max_windows, MAX_CELLS // (options.train.window_size * len(features))))
    fit = _Thinned(limit, len(fit_rows))
    calibration = _Thinned(min(limit, max_calibration_windows), total - len(fit_rows))
    for batch in windows_of(rows, derived, scaling, options, max_cells_a_push, stride=1):
        split_times = splits[batch.slots]
        fit.add(batch, batch.end_times_ms < split_times, inputs)
        calibration.add(batch, batch.start_times_ms >= split_times)
    if min(len(fit), len(calibration)) < MIN_WINDOWS:
        error = DataError if len(fit) < MIN_WINDOWS else _TooFewToCalibrateError
        raise error(_too_few(fit, calibration, options, total, step_ms))
    return TrainingWindows(
        features,
        derived,
        scaling,
        inputs,
        origins,
        fit.windows(),
        calibration.windows(),
        fit.start_times_ms(),
        fit.end_times_ms(),
        calibration.end_times_ms(),
        step_ms,
        total,
        left_out,
        _digest(series, is_exact=bool(derived.is_exact.any())),
        data_doubts(features[:numeric], fit_rows[:, :numeric], newer_rows[:, :numeric]),
    )


def _check_fit_rows(features: tuple[str, ...], rows: Doubles, total: int, left_out: int) -> None:
    """Raise DataError unless every feature has a value to train on."""
    if not len(rows):
        one_time = ": all rows of a key have one time, look at input.time_field" if total > left_out else ""
        raise DataError(f"only {total} rows, {left_out} records left out (late, duplicate or incomplete){one_time}")
    for empty in np.flatnonzero(np.isnan(rows).all(axis=0)).tolist():
        raise DataError(f"feature {features[empty]!r} has no value in the {len(rows)} training rows: leave it out")


def _too_few(fit: _Thinned, calibration: _Thinned, options: TrainOptions, rows: int, step_ms: float) -> str:
    """Return what there is too little of, and what to do about it."""
    found, use = (fit, "train on") if len(fit) < MIN_WINDOWS else (calibration, "calibrate on")
    text = (
        f"only {len(found)} windows of {options.train.window_size} rows to {use}, at least {MIN_WINDOWS} are needed, "
        f"from {rows} rows: "
    )
    if step_ms > options.max_gap_ms:
        return (
            f"{text}they are usually {step_ms:.0f} ms apart, but after {options.max_gap_ms} ms a window begins anew: "
            "set window.max_gap_ms to some steps"
        )
    least = math.ceil((options.train.window_size + MIN_WINDOWS) / min(1 - options.train.calibration_share, 0.5))
    least += MIN_ROWS if options.features.scaling == "key" else 0
    return (
        f"{text}give a longer series (about {least} rows without gaps or more), a smaller window_size, "
        "or a larger max_gap_ms"
    )


class _Thinned:
    """Keeps every k-th chosen window, with k such that `limit` cannot be exceeded."""

    def __init__(self, limit: int, most: int) -> None:
        self._every = max(1, math.ceil(most / limit))
        self._seen = 0
        self._kept: list[Floats] = []
        self._starts: list[Ints] = []
        self._ends: list[Ints] = []

    def add(self, batch: WindowBatch, chosen: Flags, scaling: Scaling | None = None) -> None:
        positions = np.flatnonzero(chosen)
        kept = positions[(self._seen + np.arange(len(positions))) % self._every == 0]
        self._seen += len(positions)
        if len(kept):
            values = standardised(select(batch, kept))
            self._kept.append(values if scaling is None else scaling.apply(values))
            self._starts.append(batch.start_times_ms[kept])
            self._ends.append(batch.end_times_ms[kept])

    def __len__(self) -> int:
        return sum(map(len, self._kept))

    def windows(self) -> Floats:
        """Return what was kept, (n, W, F)."""
        return np.concatenate(self._kept)

    def end_times_ms(self) -> Ints:
        """Return the event time (n,) of the newest row of each."""
        return np.concatenate(self._ends)

    def start_times_ms(self) -> Ints:
        """Return the event time (n,) of the oldest row of each."""
        return np.concatenate(self._starts)


def _check(series: Sequence[Series]) -> None:
    """Raise DataError unless there are series of the same features with usable values."""
    if not series:
        raise DataError("no series to train on: the data is empty")
    features = series[0].features
    if not features:
        raise DataError(f"series {series[0].key!r} has no features: no numeric column was found")
    for one in series:
        if one.features != features:
            odd = sorted(set(one.features) ^ set(features)) or ["the order of columns"]
            raise DataError(f"series {one.key!r} and {series[0].key!r} have different features: {odd[0]}")
        if one.values.shape != (len(one), len(features)):
            raise DataError(f"series {one.key!r}: values have shape {one.values.shape} for {len(one)} times")
        too_large = np.flatnonzero((np.abs(one.values) > MAX_SIZE).any(axis=0))
        if len(too_large):
            raise DataError(f"series {one.key!r}: {features[too_large[0]]!r} has a value beyond {MAX_SIZE:g}")


def _at_splits(rows: Sequence[RowBatch], splits: Ints, hold: Hold) -> tuple[list[Doubles], list[Doubles]]:
    """Return the rows (N, F) of each series before its split, and those from it on, with the values that stand."""
    old = [part.event_times_ms < split for part, split in zip(rows, splits, strict=True)]
    values = [hold.standing(part.values) for part in rows]
    return (
        [part[is_old] for part, is_old in zip(values, old, strict=True)],
        [part[~is_old] for part, is_old in zip(values, old, strict=True)],
    )


def rows_of(derived: DerivedSeries, number: int, slot: int, options: TrainOptions) -> tuple[RowBatch, int]:
    """Return the rows of one series, by its number, in a slot, and how many records became none."""
    series = derived.series[number]
    rejected = np.isnan(series.values[:, derived.is_required]).any(axis=1)
    kept = np.flatnonzero(~rejected)
    records = RecordBatch(
        [],  # the originals are for dead letters, and a file has none
        [Partition(series.key, 0)] * len(kept),
        [series.key.encode("utf-8", "replace")] * len(kept),
        kept,
        series.event_times_ms[kept],
        series.values[kept],
        contents=derived.contents[number][kept],
    )
    grid = RowGrid(
        1,
        len(series.features),
        grid_ms=options.window.grid_ms,
        merge=options.window.grid_merge,
        max_gap_ms=options.max_gap_ms,
        most_empty=options.train.window_size - 1,
        is_exact=derived.exact_rows,
        keeps_equal=options.window.equal_time == "keep",
    )
    alone = np.zeros(1, dtype=np.int32)
    grid.columns.reset(alone)
    found, strays = grid.push(records, np.zeros(len(kept), dtype=np.int32))
    last = grid.flush(alone)
    rows = join_rows((found, last))
    if derived.encoding is not None and (counters := derived.encoding.counters):
        rates = Rates(1, counters, max_gap_ms=options.max_gap_ms)
        rates.columns.reset(alone)
        rows = rates.of(rows)
    rows = replace(rows, slots=np.full(len(rows), slot, dtype=np.int32))
    return rows, int(rejected.sum()) + len(strays.reasons)


def _split_time(rows: RowBatch, share: float) -> int:
    """Return the event time at which calibration data begins."""
    if not len(rows):
        return 0
    first = min(len(rows) - 1, max(1, math.floor(len(rows) * (1 - share))))
    return int(rows.event_times_ms[first])


def _scaling(parts: Sequence[Doubles], derived: DerivedSeries) -> Scaling:
    """Return the scaling of the rows of each series."""
    if derived.is_by_key:
        return Scaling.within(parts, derived.least_scales)
    return Scaling.fit(np.concatenate(parts), derived.least_scales)


def windows_of(
    rows: Sequence[RowBatch],
    derived: DerivedSeries,
    scaling: Scaling,
    options: TrainOptions,
    max_cells: int,
    stride: int,
) -> Iterator[WindowBatch]:
    """Yield every `stride`-th window of every series, a bounded number (in values) at a time.

    Args:
        rows: of each series, with its number as slot.
        derived: says what stands in for missing values, and which scales are the smallest.
        scaling: of the series; its means fill in missing constants.
        options: how rows become windows.
        max_cells: values in flight.
        stride: rows between two windows.
    """
    size, features = options.train.window_size, len(derived.features)
    windows = KeyWindows(
        len(rows),
        size,
        features,
        stride=stride,
        max_gap_ms=options.max_gap_ms,
        missing=derived.missing.filled_in(scaling.means),
        max_imputed_share=options.window.max_imputed_share,
        levels=KeyLevels.of(scaling, derived.least_scales) if derived.is_by_key else None,
        origins=derived.origins(scaling.means),
    )
    windows.columns.reset(np.arange(len(rows), dtype=np.int32))
    pushed = max(1, max_cells // (size * features * len(rows)))  # rows of each series
    for start in range(0, max(map(len, rows)), pushed):
        parts = [part for part in rows if start < len(part)]
        yield windows.push(
            RowBatch(
                *(np.concatenate([getattr(p, n)[start : start + pushed] for p in parts]) for n in RowBatch.__slots__)
            )
        )


def _step_ms(rows: Sequence[RowBatch]) -> float:
    steps: Ints = np.concatenate([np.diff(part.event_times_ms) for part in rows])
    return float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0


def _digest(series: Sequence[Series], *, is_exact: bool) -> str:
    digest = hashlib.sha256()
    for one in series:
        digest.update(repr((one.key, one.features, len(one))).encode("utf-8", "backslashreplace"))
        digest.update(np.ascontiguousarray(one.event_times_ms, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(one.values, dtype="<f8" if is_exact else "<f4").tobytes())
        if one.words is not None:
            digest.update(repr((one.categories, one.words.tolist())).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
