"""Series of raw fields to series of features, through the same encoding as the live stream.

What comes out is as if the features had been recorded: the rest of training knows nothing of fields.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Digests, Doubles, Flags, Partition, RecordBatch, Series, Words
from streamae.core.contents import contents_of
from streamae.core.encoding import Encoder, Encoding
from streamae.core.origins import Origins, is_coarse
from streamae.core.scaling import Scaling
from streamae.errors import ConfigError, DataError
from streamae.time_zones import read_zone
from streamae.training.clock_jumps import without_jumps
from streamae.training.missing_values import MissingValues
from streamae.training.options import TrainOptions


@dataclass(frozen=True, slots=True, eq=False)
class DerivedSeries:
    """Series of F features, and how they came to be.

    Attributes:
        series: one per key, without words.
        encoding: that made them; None = they are the series as given.
        missing: what stands in for missing values of each feature.
        is_exact: (F,) features whose stored rows count from an origin.
        is_by_key: each key counts from its own first values.
        contents: of each series the digests (N,) of what its rows say, as of the records of the live stream.
        left_out: records without a required value, or of which the time is refused.
    """

    series: Sequence[Series]
    encoding: Encoding | None
    missing: MissingValues
    is_exact: Flags
    is_by_key: bool
    contents: Sequence[Digests]
    left_out: int = 0

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features."""
        return self.series[0].features

    @property
    def least_scales(self) -> Doubles | None:
        """(F,) smallest scale of each feature; None = there is none."""
        return None if self.encoding is None else self.encoding.least_scales

    @property
    def is_required(self) -> Flags:
        """(F,) whether a record without this feature is left out; where features are derived, that has been done."""
        return np.array([policy == "reject" and self.encoding is None for policy in self.missing.policies])

    @property
    def exact_rows(self) -> Flags:
        """(F,) features that keep 64 bits up to the rows."""
        return self.is_exact if self.encoding is None else self.encoding.exact_rows(self.is_exact)

    def origins(self, means: Doubles) -> Origins:
        """Return what stored rows count from; `means` (F,) of the training rows."""
        return Origins(np.where(self.is_exact & (not self.is_by_key), means, 0.0), self.is_by_key)


def derive(series: Sequence[Series], options: TrainOptions) -> DerivedSeries:
    """Learn the encoding that the options ask for, and apply it.

    Args:
        series: at least one, all with the same features and categories.
        options: what to derive, and the policies for missing values.

    Raises:
        DataError: words do not fit the rows of their series.
        ConfigError: the options do not fit the fields.
    """
    for one in series:
        if one.categories != series[0].categories or _words(one).shape != (len(one), len(one.categories)):
            raise DataError(f"series {one.key!r}: words do not fit its rows or the categories of {series[0].key!r}")
    total = sum(map(len, series))
    series = without_jumps(series, options.window.max_jump_ms)
    encoding, is_by_key = _learn(series, options), options.features.scaling == "key"
    is_exact = np.ones(len(series[0].features), dtype=np.bool_) if is_by_key else _coarse(series, options)
    features = series[0].features if encoding is None else encoding.features
    missing = MissingValues.of(options.window, features, encoding)
    if encoding is None:
        contents = [contents_of(one.values, _ids(one)) for one in series]
        return DerivedSeries(series, None, missing, is_exact, is_by_key, contents, total - sum(map(len, series)))
    of_inputs = MissingValues.of(options.window, encoding.inputs, None)
    is_required = [policy == "reject" for policy in of_inputs.policies]
    is_exact = np.ones(len(features), dtype=np.bool_) if is_by_key else encoding.exact_features(is_exact)
    derived, digests = zip(*(_encoded(one, encoding, is_exact, is_required) for one in series), strict=True)
    left_out = total - sum(map(len, derived))
    return DerivedSeries(derived, encoding, missing, is_exact, is_by_key, digests, left_out)


def _words(series: Series) -> Words:
    return np.empty((len(series), 0), dtype=object) if series.words is None else series.words


def _ids(series: Series) -> list[str | None] | None:
    return None if series.ids is None else series.ids.tolist()


def _learn(series: Sequence[Series], options: TrainOptions) -> Encoding | None:
    """Learn categories from the part of each series that is fitted on, so that calibration meets unknown ones too."""
    pairs = zip(series, _fit_counts(series, options), strict=True)
    words = np.concatenate([_words(one)[:count] for one, count in pairs])
    try:
        zone = None if options.features.time_zone is None else read_zone(options.features.time_zone)
        return Encoding.learn(series[0].features, series[0].categories, words, options.features, zone)
    except ValueError as error:
        raise ConfigError([f"features: {error}"]) from error


def _coarse(series: Sequence[Series], options: TrainOptions) -> Flags:
    """Tell for which numeric fields 32 bits are too few, by the rows that are fitted on."""
    rows = np.concatenate([one.values[:count] for one, count in zip(series, _fit_counts(series, options), strict=True)])
    rows = rows.astype(np.float64, copy=False)
    found = np.zeros(rows.shape[1], dtype=np.bool_)
    known = np.flatnonzero(np.isfinite(rows).any(axis=0))  # training refuses the others, by name
    if len(known):
        found[known] = is_coarse(rows[:, known], Scaling.fit(rows[:, known]).scales)
    return found


def _fit_counts(series: Sequence[Series], options: TrainOptions) -> list[int]:
    """Return how many rows of each series are fitted on."""
    return [math.ceil(len(one) * (1 - options.calibration_part(len(one)))) for one in series]


def _encoded(series: Series, encoding: Encoding, is_exact: Flags, is_required: list[bool]) -> tuple[Series, Digests]:
    """Return the features of those rows that have every required input, and the digests of what these say."""
    inputs = _inputs(series, encoding)
    kept = np.flatnonzero(~np.isnan(inputs[:, is_required]).any(axis=1))
    records = RecordBatch(
        [],  # the originals are for dead letters, and a file has none
        [Partition(series.key, 0)] * len(kept),
        [series.key.encode("utf-8", "replace")] * len(kept),
        kept,
        series.event_times_ms[kept],
        inputs[kept],
    )
    encoder, slot = Encoder(1, encoding, encoding.exact_rows(is_exact)), np.zeros(1, dtype=np.int32)
    encoder.columns.reset(slot)
    values = encoder.encode(records, np.zeros(len(kept), dtype=np.int32)).values
    labels = None if series.labels is None else series.labels[kept]
    contents = contents_of(inputs, _ids(series))[kept]
    return Series(series.key, encoding.features, records.event_times_ms, values, labels), contents


def _inputs(series: Series, encoding: Encoding) -> Doubles:
    """Return (N, I) float64 as the codec delivers it: numbers, then codes."""
    codes = [of.codes(words.tolist()) for of, words in zip(encoding.categories, _words(series).T, strict=True)]
    return np.column_stack([series.values, *codes]).astype(np.float64)
