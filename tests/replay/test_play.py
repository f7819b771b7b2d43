"""Series go through the real engine in memory, and what comes out is read back as a consumer would."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from streamae.assembly.build import Parts, build_engine
from streamae.batches import ErrorBatch, Floats, Series
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource, MemoryStore
from streamae.core.scaling import Scaling
from streamae.core.scoring import Calibration
from streamae.engine.engine import Engine
from streamae.model.architecture import Architecture
from streamae.model.bundle import Bundle
from streamae.observe.telemetry import Telemetry
from streamae.replay.play import KEY_FIELD, TIME_FIELD, VALUES_FIELD, arrival, consume_all, play, produce, read_episodes
from streamae.replay.recording import Recording
from streamae.settings.connections import StateSettings
from streamae.settings.data import InputSettings, WindowSettings
from streamae.settings.decisions import EpisodeSettings, ThresholdSettings
from streamae.settings.serving import LimitSettings
from streamae.settings.tree import Settings
from tests.engines import tiny_bundle

ROWS, WINDOW, STEP_MS = 360, 4, 1_000
START_MS = 1_700_000_000_000
SPIKE_ROW = 250


class NewestRow:
    """A model whose error is the newest row's square: an anomaly is whatever is large."""

    def run(self, values: Floats) -> ErrorBatch:
        """Return squares of the newest rows."""
        squares = values[:, -1] ** 2
        return ErrorBatch(squares, squares, np.zeros_like(values[:, -1]))


def series(key: str, spike: float = 0.0) -> Series:
    """Noise in two features, in the second of them perhaps a spike of ten rows."""
    random = np.random.default_rng(len(key))
    values = random.standard_normal((ROWS, 2)).astype(np.float32)
    values[SPIKE_ROW : SPIKE_ROW + 10, 1] += np.float32(spike)
    times = START_MS + STEP_MS * np.arange(ROWS, dtype=np.int64)
    return Series(key, ("flow", "heat"), times, values)


def test_own_ids_go_along() -> None:
    """What tells two payments of one second apart in a file tells them apart in a replay, and events name them."""
    one = series("card", spike=30.0)
    twice = np.array([*range(ROWS - 5), *range(ROWS - 6, ROWS)])  # one row comes twice
    ids = np.array([f'p"{row}' for row in range(len(twice))], dtype=object)
    ids[3] = None
    bundle, counted = tiny_bundle(WINDOW, ("flow", "heat")), []
    for of in (one.take(twice), dataclasses.replace(one.take(twice), ids=ids)):
        played = play([of], bundle, Settings(window=WindowSettings(max_gap_ms=STEP_MS)))
        counted.append(played.recording.count)
    assert counted == [ROWS + 1 - WINDOW, ROWS + 2 - WINDOW]
    told = [batch.ids for batch in played.recording.windows if batch.ids is not None]
    assert np.concatenate(told).tolist() == ids[WINDOW - 1 :].tolist()


def engine_on(broker: MemoryBroker, recording: Recording | None = None) -> Engine:
    """The real engine over the broker, with `NewestRow` for a model."""
    settings = Settings(
        input=InputSettings(
            key_field=KEY_FIELD, time_field=TIME_FIELD, value_fields=(VALUES_FIELD,), max_poll_records=97
        ),
        state=StateSettings(store="memory"),
        threshold=ThresholdSettings(rule="sigma"),  # judges the score itself: one figure to compare
        episode=EpisodeSettings(update_interval_ms=2 * STEP_MS),
        limits=LimitSettings(max_keys=8),
    )
    bundle = Bundle(
        Architecture("gru", WINDOW, 2, 2, 1, 1),
        ("flow", "heat"),
        Scaling(np.zeros(2), np.ones(2)),
        Calibration(np.ones(2), np.ones(2), 1.0, 0.5),
        {},
        float(STEP_MS),
    )
    bundle.__dict__["version"] = "test"  # its weights are not used, so there are none to take a digest of
    source = MemorySource(broker, settings.kafka.group_id, settings.input.topics, settings.input.max_poll_records)
    parts = Parts(source, MemorySink(broker), MemoryStore(), bundle, NewestRow(), recording)
    return build_engine(settings, Telemetry(), parts)


def test_records_are_json_in_order_of_time_with_null_for_missing() -> None:
    """All keys advance together, and a missing value is null, since JSON has no NaN."""
    broker = MemoryBroker()
    first, second = series("a"), series("bb")
    first.values[0, 1] = np.nan
    assert produce(broker, "sensors", [first, second]) == 2 * ROWS
    records = broker.records("sensors")
    fields = [json.loads(record.value or b"") for record in records]
    assert fields[0]["values"] == [float(first.values[0, 0]), None]
    assert [one["key"] for one in fields[:4]] == ["a", "bb", "a", "bb"]
    assert [one["time"] for one in fields] == sorted(record.timestamp for record in records)
    assert [one["key"].encode() for one in fields] == [record.key for record in records]


def test_values_read_back_to_the_last_bit() -> None:
    """A feature that lives far below one loses nothing on its way through JSON."""
    broker, whole = MemoryBroker(), series("a")
    whole.values[:] = np.float32(1e-9) * whole.values
    produce(broker, "sensors", [whole])
    read = [json.loads(record.value or b"")["values"] for record in broker.records("sensors")]
    assert np.array_equal(np.array(read, dtype=np.float32), whole.values)


def test_a_single_feature_is_a_number() -> None:
    """The array layout begins at two features: one alone is a plain field, and null where it is missing."""
    broker, whole = MemoryBroker(), series("a")
    one = Series("a", ("flow",), whole.event_times_ms[:2], np.array([[0.5], [np.nan]], dtype=np.float32))
    produce(broker, "sensors", [one])
    assert [json.loads(record.value or b"")["values"] for record in broker.records("sensors")] == [0.5, None]


def test_late_rows_keep_their_place() -> None:
    """Keys advance together, but within a key the order is the file's: a late row arrives late, as it would live."""
    times = [np.array([0, 3, 1, 4], dtype=np.int64), np.array([2, 3], dtype=np.int64)]
    owners, rows = arrival(
        [Series(str(i), ("flow",), part, np.zeros((len(part), 1), np.float32)) for i, part in enumerate(times)]
    )
    assert list(zip(owners.tolist(), rows.tolist(), strict=True)) == [(0, 0), (1, 0), (0, 1), (0, 2), (1, 1), (0, 3)]


def test_everything_is_read_scored_and_committed() -> None:
    """At the end no record is unread, no window waits, and the group has committed all of it."""
    broker, recording, lags = MemoryBroker(2), Recording(), []
    produce(broker, "sensors", [series("a"), series("bb"), series("ccc")])
    engine = engine_on(broker, recording)
    consume_all(engine, lags.append)
    assert recording.count == 3 * (ROWS - WINDOW + 1)
    assert lags[-1] == 0
    assert lags == sorted(lags, reverse=True)
    assert engine.status().waiting_windows == engine.status().waiting_messages == 0
    committed = [broker.committed("streamae", partition) for partition in ((("sensors", 0)), ("sensors", 1))]
    assert sum(offset or 0 for offset in committed) == 3 * ROWS


def test_a_recording_returns_one_key_in_order_of_time() -> None:
    """Scores of many batches come back per key, one a window, with no threshold while the key learns."""
    broker, recording = MemoryBroker(), Recording()
    both = [series("a"), series("bb", spike=30.0)]
    produce(broker, "sensors", both)
    engine = engine_on(broker, recording)
    consume_all(engine)
    quiet, judgement = (recording.of(engine.states.table.keys.index(key)) for key in (b"a", b"bb"))
    for one in (quiet, judgement):
        assert one.end_times_ms.tolist() == both[1].event_times_ms[WINDOW - 1 :].tolist()
    assert quiet.scores.max() < judgement.scores.max() / 10
    assert np.isinf(judgement.thresholds[:64]).all()
    assert np.isfinite(judgement.thresholds[64:]).all()
    assert judgement.expected.shape == (ROWS - WINDOW + 1, 2)
    assert int(np.argmax(judgement.scores)) + WINDOW - 1 in range(SPIKE_ROW, SPIKE_ROW + 10)


def test_keys_are_judged_alike_in_one_partition_or_many() -> None:
    """Whoever plays series chooses how they are spread; each key's slot, scores and thresholds are its own all the same."""
    bundle = tiny_bundle()
    given = [dataclasses.replace(series(key, spike=30.0), features=bundle.features) for key in ("a", "bb", "ccc")]
    one, many = (play(given, bundle, Settings(), partitions=partitions) for partitions in (1, 3))
    assert len(one.episodes) == len(many.episodes) > 0
    assert sorted(many.slots) == [0, 1, 2]
    for slots in zip(one.slots, many.slots, strict=True):
        first, second = (run.recording.of(slot) for run, slot in zip((one, many), slots, strict=True))
        for name in ("end_times_ms", "scores", "thresholds", "expected"):
            assert np.array_equal(getattr(first, name), getattr(second, name)), name


def test_episodes_come_back_once_each_with_their_newest_state() -> None:
    """Opened, updated and closed events of one anomaly are one episode, on the key that has it."""
    broker = MemoryBroker()
    produce(broker, "sensors", [series("a"), series("bb", spike=30.0)])
    consume_all(engine_on(broker))
    kinds = [json.loads(record.value or b"")["kind"] for record in broker.records("anomalies")]
    assert {"opened", "updated", "closed"} == set(kinds)
    (episode,) = read_episodes(broker, "anomalies")
    assert episode.key == "bb"
    assert episode.is_closed
    assert episode.start_ms == START_MS + STEP_MS * SPIKE_ROW
    assert SPIKE_ROW + 9 <= (episode.end_ms - START_MS) // STEP_MS < SPIKE_ROW + 30
    assert episode.features[0] == "heat"
    assert 50 < episode.severity <= 100


def test_quiet_topic_has_no_episodes() -> None:
    """Nothing published, nothing read."""
    assert read_episodes(MemoryBroker(), "anomalies") == []
