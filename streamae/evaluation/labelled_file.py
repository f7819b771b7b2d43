"""One labelled file as a suite: each of its keys is a series. Must not know: detectors, scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from streamae.batches import Flags, Series
from streamae.connectors.files.series import read_series
from streamae.errors import DataError
from streamae.evaluation.metrics import runs
from streamae.evaluation.suite import Suite, SuiteSeries, check_labels, labels_of, usual_step_ms
from streamae.settings.data import InputSettings

LEAST_SHARE = 0.2  # of the rows train: what lies before an earlier anomaly would be too little to learn from


def open_file(path: Path, reading: InputSettings, train_rows: int | None, tell: Callable[[str], None]) -> Suite:
    """Read a file and split each key: half of the rows train, but none from the first labelled anomaly on.

    An anomaly among the first fifth of the rows does not count for that: then half of them train, with it.

    Args:
        path: of the file.
        reading: how it is read.
        train_rows: so many rows of each key train instead, of a shorter one all.
        tell: hears how the file was read and split.

    Raises:
        DataError: the file cannot be used or has no labels.
    """
    found = read_series([path], reading, tell=tell, sorts=True)
    check_labels(found, path)
    group = path.name.partition(".")[0]
    entries = []
    tested = anomalous = 0
    for one in found:
        labels = labels_of(one, path)
        stop = _split(labels) if train_rows is None else min(train_rows, len(one))
        entries.append(_entry(group, path, one, stop, reading))
        tested, anomalous = tested + len(runs(labels[stop:])[0]), anomalous + int(labels[:stop].sum())
    rows, train = sum(entry.rows for entry in entries), sum(entry.train_rows for entry in entries)
    if not rows:
        raise DataError(f"{path}: has no rows")
    keys = f" of {len(entries)} keys" if len(entries) > 1 else ""
    rule = "half, or up to the first anomaly" if train_rows is None else "as --train-rows says"
    tell(f"{path}: {rows:,} rows{keys}, features {', '.join(found[0].features)}")
    tell(
        f"{path}: the first {train:,} rows{' of each key, together,' if keys else ''} train ({rule}),"
        f" {anomalous:,} of them anomalous; {rows - train:,} are tested, anomalies in them: {tested:,};"
        " --train-rows N splits elsewhere"
    )
    return Suite(path, tuple(entries))


def _split(labels: Flags) -> int:
    """Return how many rows train.

    Example:
        >>> _split(np.arange(10) == 7), _split(np.arange(10) == 3), _split(np.arange(10) == 1)
        (5, 3, 5)
    """
    half = max(1, len(labels) // 2)
    first = int(np.argmax(labels)) if labels.any() else len(labels)
    return first if LEAST_SHARE * len(labels) <= first < half else half


def _entry(group: str, path: Path, one: Series, train_rows: int, reading: InputSettings) -> SuiteSeries:
    return SuiteSeries(
        group=group,
        name=one.key,
        path=path,
        rows=len(one),
        channels=len(one.features),
        train_rows=train_rows,
        has_times=True,
        step_ms=usual_step_ms(one.event_times_ms),
        reading=reading,
        key=one.key,
    )
