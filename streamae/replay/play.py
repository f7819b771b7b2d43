"""Play series through the real engine in memory: records in as JSON, events out as a consumer reads them.

Also holds the tap that remembers what the engine thought of every window, for pictures and figures. Processing
time is virtual: nothing waits. This module knows nothing about how the series came to be or what is drawn from
the outcome.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Floats, Ints, ScoreBatch, Series, Slots, VerdictBatch, WindowBatch
from streamae.connectors.memory import MemoryBroker
from streamae.engine.engine import Engine

KEY_FIELD, TIME_FIELD, VALUES_FIELD = "key", "time", "values"  # of the JSON records
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
        severity: 0 to 100, 50 = rare enough for one false alarm in 2,500 windows.
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


def arrival(series: Sequence[Series]) -> tuple[Ints, Ints]:
    """Return the order in which rows arrive: numbers (N,) of their series and of the row in it.

    Keys advance together in event time; the rows of a series keep their order, also where one is late.
    """
    owners = np.repeat(np.arange(len(series), dtype=np.int64), [len(one) for one in series])
    rows = np.concatenate([np.arange(len(one), dtype=np.int64) for one in series])
    times = np.concatenate([np.maximum.accumulate(one.event_times_ms) for one in series])
    order = np.argsort(times, kind="stable")
    return owners[order], rows[order]


def produce(broker: MemoryBroker, topic: str, series: Sequence[Series]) -> int:
    """Put all rows into the topic as JSON records, in order of `arrival`; return how many."""
    keys = [one.key.encode() for one in series]
    names = [json.dumps(one.key) for one in series]
    times = [one.event_times_ms.tolist() for one in series]
    owners, rows = arrival(series)
    for owner, row in zip(owners.tolist(), rows.tolist(), strict=True):
        time_ms, cells = times[owner][row], _cells(series[owner].values[row])
        words = _words(series[owner], row)
        value = f'{{"{KEY_FIELD}": {names[owner]}, "{TIME_FIELD}": {time_ms}, "{VALUES_FIELD}": {cells}{words}}}'
        broker.produce(topic, keys[owner], value.encode(), timestamp=time_ms)
    return len(rows)


def _cells(values: Floats) -> str:
    """Return values (F,) as a JSON array that reads back to the same float32, a single feature as a number; NaN is null."""
    cells = [None if cell != cell else cell for cell in values.tolist()]  # noqa: PLR0124 - NaN differs from itself
    return json.dumps(cells if len(cells) > 1 else cells[0])


def _words(series: Series, row: int) -> str:
    """Return the category fields of a row as the rest of a JSON object."""
    if series.words is None:
        return ""
    words = zip(series.categories, series.words[row].tolist(), strict=True)
    return "".join(f", {json.dumps(name)}: {json.dumps(word)}" for name, word in words)


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
