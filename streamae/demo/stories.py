"""Choose keys worth looking at, and cut what is known of them down to what one picture shows.

Selection over arrays only; knows nothing about how a story is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Ints, Series
from streamae.demo.sensors import Injection, Kind, SyntheticStream
from streamae.evaluation.metrics import Matching
from streamae.replay.play import Episode
from streamae.replay.recording import Judgement

CURVES = 3
ROWS_BEFORE, ROWS_AFTER = 110, 90
FAVOURITES = (Kind.CORRELATION_BREAK, Kind.LEVEL_SHIFT, Kind.FROZEN_SENSOR, Kind.SPIKE, Kind.DROPOUT)


@dataclass(frozen=True, slots=True)
class Span:
    """Event time [start_ms, end_ms] with a word for it."""

    start_ms: int
    end_ms: int
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class Story:
    """One key over one stretch of time.

    Attributes:
        key: its name.
        features: names of the C curves to draw.
        times_ms: (N,) int64 event time.
        values: (N, C) float64 measured, in the features' units.
        expected: (N, C) float64 forecasts of the same rows; NaN = none.
        scores: (N,) float64 score that was compared; NaN = not scored.
        thresholds: (N,) float64; NaN or infinity = none yet.
        truth: injected or labelled anomalies.
        episodes: published ones.
    """

    key: str
    features: tuple[str, ...]
    times_ms: Ints
    values: Doubles
    expected: Doubles
    scores: Doubles
    thresholds: Doubles
    truth: Sequence[Span]
    episodes: Sequence[Span]


def choose(injections: Sequence[Injection], matching: Matching, count: int = 3) -> list[Injection]:
    """Return up to `count` injections, each of another kind and key: found before missed, then by short delay.

    Kinds come in the order of `FAVOURITES`.
    """
    order = sorted(
        range(len(injections)),
        key=lambda i: (
            bool(matching.episode_of[i] < 0),
            FAVOURITES.index(injections[i].kind),
            int(matching.delays_ms[i]),
        ),
    )
    chosen: list[Injection] = []
    for injection in (injections[i] for i in order):
        is_taken = any(other.kind is injection.kind or other.key == injection.key for other in chosen)
        if not is_taken and len(chosen) < count:
            chosen.append(injection)
    return chosen


def story(
    stream: SyntheticStream, injection: Injection, judgements: Mapping[str, Judgement], episodes: Sequence[Episode]
) -> Story:
    """Cut the surroundings of an injection out of its key's stream.

    Args:
        stream: all curves and injections.
        injection: what the story is about; its features come first.
        judgements: by key, what the engine thought.
        episodes: all published ones.
    """
    series = next(one for one in stream.series if one.key == injection.key)
    first = max(0, injection.start_row - ROWS_BEFORE)
    rows = slice(first, min(len(series), injection.end_row + ROWS_AFTER))
    others = [feature for feature in range(len(series.features)) if feature not in injection.features]
    features = [*injection.features, *others][:CURVES]
    times_ms, judgement = series.event_times_ms[rows], judgements[injection.key]
    expected = _aligned(times_ms, judgement.end_times_ms, judgement.expected.astype(np.float64))
    return Story(
        injection.key,
        tuple(series.features[feature] for feature in features),
        times_ms,
        series.values[rows][:, features],
        expected[:, features],
        _aligned(times_ms, judgement.end_times_ms, judgement.scores),
        _aligned(times_ms, judgement.end_times_ms, judgement.thresholds),
        [span for other in stream.injections if other.key == series.key and (span := _truth(series, other, times_ms))],
        [
            Span(episode.start_ms, episode.end_ms, f"severity {episode.severity:.0f}")
            for episode in episodes
            if episode.key == series.key and episode.end_ms >= times_ms[0] and episode.start_ms <= times_ms[-1]
        ],
    )


def _aligned(times_ms: Ints, known_ms: Ints, column: Doubles) -> Doubles:
    """Return `column` (B, ...) of the sorted `known_ms` (B,) at `times_ms` (N,), NaN where a time is not known."""
    found = np.full((len(times_ms), *column.shape[1:]), np.nan)
    _, here, there = np.intersect1d(times_ms, known_ms, return_indices=True)
    found[here] = column[there]
    return found


def _truth(series: Series, injection: Injection, times_ms: Ints) -> Span | None:
    """Return the injection as a span, None if it lies outside of `times_ms`."""
    start_ms, end_ms = (int(series.event_times_ms[row]) for row in (injection.start_row, injection.end_row - 1))
    if end_ms < times_ms[0] or start_ms > times_ms[-1]:
        return None
    return Span(start_ms, end_ms, injection.kind.replace("_", " "))
