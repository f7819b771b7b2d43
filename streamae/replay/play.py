"""Play series through the real engine in memory: records in as JSON, events out as a consumer reads them.

The codec, the windows, the model, the decision and the episodes are those of the daemon; only the edges are in memory.
Processing time is virtual: nothing waits. This module knows nothing about how the series came to be or what is made of
the outcome.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from streamae.assembly.build import Parts, build_engine
from streamae.batches import Doubles, Ints, Series
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource, MemoryStore
from streamae.core.key_table import NO_SLOT
from streamae.engine.engine import Engine
from streamae.engine.stages import Observer
from streamae.engine.unscored import why_unscored
from streamae.model.bundle import Bundle
from streamae.replay.recording import Recording
from streamae.settings.connections import OutputSettings, StateSettings
from streamae.settings.data import InputSettings
from streamae.settings.tree import Settings

KEY_FIELD, TIME_FIELD, VALUES_FIELD, ID_FIELD = "key", "time", "values", "record_id"  # of the JSON records
TURN_MS = 10  # virtual processing time of one turn of the engine


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


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """What came of series that went through an engine.

    Attributes:
        episodes: as published.
        recording: every scored batch.
        slots: key slot of each series, -1 where none of its rows was admitted.
        seconds: of wall time from the first record to the last.
        has_own_times: a row has the time of its record; with a grid it has that of its bucket.
        unscored: why no window was scored, a sentence; "" where some were.
        warnings: what `run` would warn of, such as another step than in training, a sentence each.
    """

    episodes: list[Episode]
    recording: Recording
    slots: list[int]
    seconds: float
    has_own_times: bool
    unscored: str
    warnings: tuple[str, ...]


class PlayedSource(MemorySource):
    """Series that were all produced before the first poll: their end is the end."""

    @property
    def is_finished(self) -> bool:
        """Whether everything was delivered."""
        lag = self.lag()
        return bool(lag) and not any(lag.values())


def play(
    series: Sequence[Series],
    bundle: Bundle,
    settings: Settings,
    on_turn: Callable[[int], None] = lambda _: None,
    partitions: int = 1,
) -> Played:
    """Feed all rows of all series through an engine, and return what it thought and published.

    Args:
        series, bundle, settings, partitions: see `embedded_engine`.
        on_turn: told, turn by turn, how many records are still unread.

    Raises:
        ConfigError: settings do not fit the bundle.
    """
    recording = Recording()
    engine, broker = embedded_engine(series, bundle, _in_order(settings), recording, partitions)
    started = time.perf_counter()
    consume_all(engine, on_turn)
    seconds = time.perf_counter() - started
    known = {key: slot for slot, key in enumerate(engine.states.table.keys) if key}
    slots = [known.get(one.key.encode(), NO_SLOT) for one in series]
    episodes = read_episodes(broker, OutputSettings().topic)
    unscored = "" if recording.count else why_unscored(engine.watch, engine.stages, engine.states)
    engine.watch.report()
    warnings = tuple(engine.watch.warnings)
    return Played(episodes, recording, slots, seconds, settings.window.grid_ms is None, unscored, warnings)


def embedded_engine(
    series: Sequence[Series], bundle: Bundle, settings: Settings, observer: Observer | None = None, partitions: int = 1
) -> tuple[Engine, MemoryBroker]:
    """Return an engine before its first turn, and the broker that holds all rows of all series as its input.

    Args:
        series: one a key of the stream, with the bundle's features in its order; NaN = missing.
        bundle: the model.
        settings: window, model, threshold, episode and alerts sections count; the edges are replaced.
        observer: told of every scored batch.
        partitions: of the input; with one, the offset of a row is its place in `arrival`.

    Raises:
        ConfigError: settings do not fit the bundle.
    """
    settings = _embedded(settings, series, len(bundle.features))
    broker = MemoryBroker(partitions)
    produce(broker, settings.input.topics[0], series)
    source = PlayedSource(broker, settings.kafka.group_id, settings.input.topics, settings.input.max_poll_records)
    parts = Parts(source=source, sink=MemorySink(broker), store=MemoryStore(), bundle=bundle, observer=observer)
    return build_engine(settings, parts=parts), broker


def _in_order(settings: Settings) -> Settings:
    """Return the settings without lateness: rows of series come in order, and each is judged at its own offset."""
    return settings.model_copy(update={"window": settings.window.model_copy(update={"lateness_ms": 0})})


def _embedded(settings: Settings, series: Sequence[Series], features: int) -> Settings:
    """Return the settings with edges that fit what `produce` writes, and room for all keys."""
    reads = InputSettings(
        key_field=KEY_FIELD,
        time_field=TIME_FIELD,
        time_unit="ms",
        value_fields=(VALUES_FIELD,),
        id_field=ID_FIELD if any(one.ids is not None for one in series) else None,
        max_record_bytes=max(settings.input.max_record_bytes, 64 * features + 4_096),
        max_key_bytes=4_096,
        min_time_ms=min(settings.input.min_time_ms, 0),
        missing_values=settings.input.missing_values,  # nothing is left of them here, but key state depends on them
    )
    return settings.model_copy(
        update={
            "input": reads,
            "output": OutputSettings(top_features=settings.output.top_features),
            "state": StateSettings(store="memory"),
            "limits": settings.limits.model_copy(update={"max_keys": len(series)}),
        }
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
        words, own_id = _words(series[owner], row), _own_id(series[owner], row)
        value = (
            f'{{"{KEY_FIELD}": {names[owner]}, "{TIME_FIELD}": {time_ms}, "{VALUES_FIELD}": {cells}{own_id}{words}}}'
        )
        broker.produce(topic, keys[owner], value.encode(), timestamp=time_ms)
    return len(rows)


def _cells(values: Doubles) -> str:
    """Return values (F,) as a JSON array that reads back to the same bits, one feature as a number; NaN is null."""
    cells = [None if cell != cell else cell for cell in values.tolist()]  # noqa: PLR0124 - NaN differs from itself
    return json.dumps(cells if len(cells) > 1 else cells[0])


def _words(series: Series, row: int) -> str:
    """Return the category fields of a row as the rest of a JSON object."""
    if series.words is None:
        return ""
    words = zip(series.categories, series.words[row].tolist(), strict=True)
    return "".join(f", {json.dumps(name)}: {json.dumps(word)}" for name, word in words)


def _own_id(series: Series, row: int) -> str:
    """Return the own id of a row as the next part of a JSON object."""
    return "" if series.ids is None else f', "{ID_FIELD}": {json.dumps(series.ids[row])}'


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
