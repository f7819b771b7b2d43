"""Series of raw fields to series of features, through the same encoding as the live stream.

What comes out is as if the features had been recorded: the rest of training knows nothing of fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Floats, Partition, RecordBatch, Series, Words
from streamae.core.encoding import Encoder, Encoding
from streamae.core.windowing import Missing
from streamae.errors import ConfigError, DataError
from streamae.settings.data import MissingPolicy
from streamae.training.options import TrainOptions


@dataclass(frozen=True, slots=True, eq=False)
class DerivedSeries:
    """Series of F features, and how they came to be.

    Attributes:
        series: one per key, without words.
        encoding: that made them; None = they are the series as given.
        policies: for missing values of each feature; nothing is left to `reject` where there is an encoding.
        constants: to fill in, by feature; of others it is the mean of the training rows.
        left_out: records without a required value.
    """

    series: Sequence[Series]
    encoding: Encoding | None
    policies: tuple[MissingPolicy, ...]
    constants: Mapping[str, float]
    left_out: int = 0

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features."""
        return self.series[0].features

    @property
    def least_scales(self) -> Doubles | None:
        """(F,) smallest scale of each feature; None = there is none."""
        return None if self.encoding is None else self.encoding.least_scales

    def missing(self, means: Doubles) -> Missing:
        """Return what stands in for missing values; `means` (F,) of the training rows."""
        constants = [self.constants.get(name, mean) for name, mean in zip(self.features, means.tolist(), strict=True)]
        is_previous = np.array([policy == "previous" for policy in self.policies])
        return Missing(is_previous, np.array(constants, dtype=np.float64).astype(np.float32))


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
    encoding, window, fields = _learn(series, options), options.window, series[0].features
    given = window.missing_constant
    if encoding is None:
        policies = tuple(window.missing_overrides.get(name, window.missing) for name in fields)
        return DerivedSeries(series, None, policies, {} if given is None else dict.fromkeys(fields, given))
    by_input = {name: window.missing_overrides.get(name, window.missing) for name in encoding.inputs}
    derived = [_encoded(one, encoding, [by_input[name] == "reject" for name in encoding.inputs]) for one in series]
    of_features = [by_input.get(source, window.missing) for source in encoding.sources]
    return DerivedSeries(
        derived,
        encoding,
        tuple("constant" if policy == "reject" else policy for policy in of_features),
        {} if given is None else encoding.constants(given),
        sum(map(len, series)) - sum(map(len, derived)),
    )


def _words(series: Series) -> Words:
    return np.empty((len(series), 0), dtype=object) if series.words is None else series.words


def _learn(series: Sequence[Series], options: TrainOptions) -> Encoding | None:
    """Learn categories from the part of each series that is fitted on, so that calibration meets unknown ones too."""
    counts = [math.ceil(len(one) * (1 - options.calibration_part(len(one)))) for one in series]
    words = np.concatenate([_words(one)[:count] for one, count in zip(series, counts, strict=True)])
    try:
        return Encoding.learn(series[0].features, series[0].categories, words, options.features)
    except ValueError as error:
        raise ConfigError([f"features: {error}"]) from error


def _encoded(series: Series, encoding: Encoding, is_required: list[bool]) -> Series:
    """Return the features of those rows that have every required input."""
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
    encoder, slot = Encoder(1, encoding), np.zeros(1, dtype=np.int32)
    encoder.columns.reset(slot)
    values = encoder.encode(records, np.zeros(len(kept), dtype=np.int32)).values
    labels = None if series.labels is None else series.labels[kept]
    return Series(series.key, encoding.features, records.event_times_ms, values, labels)


def _inputs(series: Series, encoding: Encoding) -> Floats:
    """Return (N, I) float32 as the codec delivers it: numbers, then codes."""
    codes = [of.codes(words.tolist()) for of, words in zip(encoding.categories, _words(series).T, strict=True)]
    return np.column_stack([series.values, *codes]).astype(np.float32)
