"""Play series through the real engine in memory: records in as JSON, events out as a consumer reads them.

Also holds the tap that remembers what the engine thought of every window, for pictures and figures. Processing
time is virtual: nothing waits. This module knows nothing about how the series came to be or what is drawn from
the outcome.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Floats, Ints, ScoreBatch, Series, Slots, VerdictBatch, WindowBatch
from streamae.connectors.memory import MemoryBroker
from streamae.runtime.engine import Engine

KEY_FIELD, TIME_FIELD = "key", "time"  # of the JSON records; the features' fields have the features' names
TURN_MS = 10  # virtual processing time of one turn of the engine


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What the engine thought of one key's windows, in order of event time.

    Attributes:
        end_times_ms: (B,) int64 event time of each window's newest row.
        scores: (B,) float64 smoothed score that was compared.
        thresholds: (B,) float64; infinity while learning.
        expected: (B, F) float32 forecast of the newest row.
    """

    end_times_ms: Ints
    scores: Doubles
    thresholds: Doubles
    expected: Floats


@dataclass(frozen=True, slots=True)
class Episode:
    """A published anomaly as its consumer knows it.

    Attributes:
        key: of the stream.
        start_ms, end_ms: event time of the first and the newest anomalous window.
        severity: 0 to 100, 50 = at the threshold.
        features: names, most guilty first.
        is_closed: its end is known.
    """

    key: str
    start_ms: int
    end_ms: int
    severity: float
    features: tuple[str, ...]
    is_closed: bool


class Tap:
    """An engine's observer that keeps everything; memory grows with the windows, so not for a daemon."""

    def __init__(self) -> None:
        self.windows = 0
        self._parts: list[tuple[Slots, Judgement]] = []

    def __call__(self, windows: WindowBatch, scores: ScoreBatch, verdicts: VerdictBatch) -> None:
        """Keep what matters of a scored batch."""
        self.windows += len(windows)
        judgement = Judgement(windows.end_times_ms, verdicts.scores, verdicts.thresholds, scores.expected)
        self._parts.append((windows.slots, judgement))

    def of(self, slot: int) -> Judgement:
        """Return everything about one key slot.

        Raises:
            ValueError: nothing was scored at all.
        """
        chosen = [(np.flatnonzero(slots == slot), part) for slots, part in self._parts]
        return Judgement(
            np.concatenate([part.end_times_ms[rows] for rows, part in chosen]),
            np.concatenate([part.scores[rows] for rows, part in chosen]),
            np.concatenate([part.thresholds[rows] for rows, part in chosen]),
            np.concatenate([part.expected[rows] for rows, part in chosen]),
        )


def produce(broker: MemoryBroker, topic: str, series: Sequence[Series]) -> int:
    """Put all rows into the topic as JSON records, in order of event time over all keys; return how many."""
    rows = sorted(_rows(series), key=lambda row: row[0])
    for time_ms, key, value in rows:
        broker.produce(topic, key, value, timestamp=time_ms)
    return len(rows)


def _rows(series: Sequence[Series]) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (event time, key, JSON value) of every row; missing values become null."""
    for one in series:
        for time_ms, cells in zip(one.event_times_ms.tolist(), one.values.astype(np.float64).tolist(), strict=True):
            values = {
                name: None if cell != cell else round(cell, 4)  # noqa: PLR0124 - NaN differs from itself
                for name, cell in zip(one.features, cells, strict=True)
            }
            yield time_ms, one.key.encode(), json.dumps({KEY_FIELD: one.key, TIME_FIELD: time_ms} | values).encode()


def consume_all(engine: Engine, on_turn: Callable[[int], None] = lambda _: None) -> None:
    """Turn the engine until its input is used up, then drain and close it.

    Args:
        engine: on a source whose input ends.
        on_turn: told before each turn, and at the end, how many records are still unread.
    """
    now_ms = 0
    engine.step(now_ms)  # joins the group: only then the lag is known
    while lag := sum(engine.source.lag().values()):
        on_turn(lag)
        now_ms += TURN_MS
        engine.step(now_ms)
    engine.drain(now_ms)
    on_turn(0)
    engine.close()


def read_episodes(broker: MemoryBroker, topic: str) -> list[Episode]:
    """Return what the newest event of each published episode says, in order of opening."""
    newest: dict[str, Episode] = {}
    for record in broker.records(topic):
        event = json.loads(record.value or b"")
        newest[event["episode_id"]] = Episode(
            event["key"],
            event["start_time_ms"],
            event["end_time_ms"],
            event["severity"],
            tuple(part["name"] for part in event["features"]),
            is_closed=event["kind"] == "closed",
        )
    return list(newest.values())
