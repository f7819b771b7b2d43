"""The whole way on the embedded connectors: what comes out for what went in, and what a failing service costs."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from streamae.batches import Partition
from streamae.connectors.memory import MemoryBroker, MemorySource
from streamae.connectors.memory_store import MemoryStore
from streamae.engine import standing
from streamae.engine.store_waits import RETRY_MS
from streamae.errors import MembershipError, OutcomeUnknownError, RetryableError, TooLargeError
from streamae.observe.telemetry import KEY_STATES
from tests.engines import (
    DEAD,
    EVENTS,
    FEATURES,
    START_MS,
    STEP_MS,
    TOPIC,
    WINDOW,
    Rig,
    broker_with,
    header,
    ids,
    settings,
    stream,
)


def run(records: list[tuple[bytes, bytes]], partitions: int = 2, polls: int = 40, **sections: Any) -> Rig:
    """Return a rig that has read and drained `records`."""
    rig = Rig(broker_with(records, partitions), settings=settings(**sections), max_poll_records=polls)
    rig.run_dry()
    return rig


def told(rig: Rig) -> list[tuple[str, str, int]]:
    """Return (key, kind, peak row) of every event."""
    return sorted(
        (
            (record.key or b"").decode(),
            (header(record, "ce_type") or "").split(".")[-2],
            (json.loads(record.value or b"")["peak_time_ms"] - START_MS) // STEP_MS,
        )
        for record in rig.events()
    )


def test_each_anomaly_is_opened_and_closed_once() -> None:
    """Two adjacent spikes of one key are one episode; a quiet key has none; the peak is where the spike was."""
    events = told(run(stream()))
    assert [(key, kind) for key, kind, _ in events] == [
        ("machine-1", "closed"),
        ("machine-1", "opened"),
        ("machine-2", "closed"),
        ("machine-2", "opened"),
    ]
    assert events[1][2] == 60
    assert events[2][2] == 90


@pytest.mark.parametrize(("polls", "batch", "wait"), [(1, 1, 0), (7, 3, 20), (1_000, 1_024, 0), (1_000, 5, 0)])
def test_how_records_are_batched_changes_nothing(polls: int, batch: int, wait: int) -> None:
    """Events and stored state are the same, to the byte, whatever was polled and scored together."""
    golden, other = run(stream()), run(stream(), polls=polls, model={"max_batch_size": batch, "max_wait_ms": wait})
    assert ids(golden.events()) == ids(other.events())
    assert golden.state() == other.state()


def test_order_of_other_keys_changes_nothing() -> None:
    """Interleaving the keys differently leaves every key with the same events and the same state."""
    records = stream()
    by_key = sorted(records, key=lambda record: record[0])
    golden, other = run(records, partitions=1), run(by_key, partitions=1)
    assert told(golden) == told(other)

    def of_keys(rig: Rig) -> dict[bytes, Any]:
        columns = rig.engine.stages.decision.columns
        table = rig.engine.states.table
        return {
            table.keys[slot]: [columns[name][slot].tobytes() for name in columns.fields] for slot in table.resident()
        }

    assert of_keys(golden) == of_keys(other)


def test_an_event_is_the_same_alone_and_among_a_thousand_keys() -> None:
    """Neither 1,024 other keys in the same batches nor what comes later changes a byte of a key's events."""
    own = [record for record in stream() if record[0] == b"machine-1"][:90]
    quiet = [value for key, value in stream() if key == b"machine-0"][:90]
    crowded = broker_with(own)
    for value in quiet:
        for number in range(1_024):
            crowded.produce(TOPIC, b"crowd-%d" % number, value, timestamp=START_MS, partition=0)
    sections = settings(model={"max_batch_size": 2_048}, limits={"max_keys": 2_000})
    among, alone, early = (
        Rig(broker, settings=sections, max_poll_records=4_100)
        for broker in (crowded, broker_with(own), broker_with(own[:62]))
    )
    for rig in (among, alone, early):
        rig.run_dry()
    assert len(among.engine.states.table.resident()) == 1_025
    values = [record.value for record in alone.events()]
    assert [record.value for record in among.events()] == values
    assert [json.loads(value or b"")["kind"] for value in values] == ["opened", "closed"]
    assert [record.value for record in early.events()] == values[:1]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "null"])
def test_one_value_that_is_no_number_is_not_remembered(number: str) -> None:
    """It costs its own record at most: the spike after it is found as ever, and nothing that is stored became NaN."""
    records = stream()
    key, value = records[3 * 40 + 1]
    content = json.loads(value)
    broken = value.replace(json.dumps(content["temp"]).encode(), number.encode())
    rig = run([*records[: 3 * 40 + 1], (key, broken), *records[3 * 40 + 2 :]])
    assert told(rig) == told(run(records))
    columns = rig.engine.stages.decision.columns
    slots = rig.engine.states.table.resident()
    assert len(slots) == 3
    assert all(np.isfinite(columns[name][slots]).all() for name in columns.fields)
    reasons = [header(record, "streamae-reason") for record in rig.dead_letters()]
    assert reasons == ([] if number == "null" else ["not_finite"])


def test_bad_records_become_dead_letters_and_harm_nobody() -> None:
    """A record that is no JSON goes to the dead-letter topic with its bytes; everyone else's events stay the same."""
    records = stream()
    bad = [(b"machine-1", b"\xff\x00 not json"), (b"new", b'{"ts": "yesterday", "temp": 1, "load": 1}')]
    rig = run(records[:30] + bad + records[30:])
    assert told(rig) == told(run(records))
    assert {(record.key, record.value) for record in rig.dead_letters()} == set(bad)
    assert {header(record, "streamae-reason") for record in rig.dead_letters()} == {"not_json", "bad_time"}


def test_late_records_follow_their_policy() -> None:
    """A late record is a dead letter by default, or only counted; never silent, never in a window."""
    records = stream()
    late = [records[0]]
    rig = run(records[:60] + late + records[60:])
    assert [header(record, "streamae-reason") for record in rig.dead_letters()] == ["late"]
    assert told(rig) == told(run(records))
    dropping = run(records[:60] + late + records[60:], window={"late": "drop"})
    assert dropping.dead_letters() == []
    assert b'streamae_dropped_records_total{reason="late"} 1.0' in dropping.telemetry.render()[0]


def test_repeated_records_are_dropped_and_counted() -> None:
    """A producer's retry changes no window."""
    records = stream()
    rig = run(records[:30] + records[27:30] + records[30:])
    assert told(rig) == told(run(records))
    assert rig.dead_letters() == []
    assert b'streamae_dropped_records_total{reason="duplicate"} 3.0' in rig.telemetry.render()[0]


def test_keys_beyond_the_cap_are_refused_and_known_keys_keep_their_state() -> None:
    """With room for two keys the third is sent away with its reason; the first two alert as ever."""
    rig = run(stream(), limits={"max_keys": 2}, partitions=1)
    assert {header(record, "streamae-reason") for record in rig.dead_letters()} == {"too_many_keys"}
    assert {record.key for record in rig.dead_letters()} == {b"machine-2"}
    assert {record.key for record in rig.events()} == {b"machine-1"}


def test_a_metric_per_record_is_merged_on_the_grid() -> None:
    """Long layout: the features of a time bucket form one row, and the episodes are those of wide records."""
    records = stream()
    long = [
        (key, json.dumps({"ts": json.loads(value)["ts"], "name": name, "value": json.loads(value)[name]}).encode())
        for key, value in records
        for name in FEATURES
    ]
    rig = run(long, input={"layout": "long"}, window={"grid_ms": STEP_MS})
    assert told(rig) == told(run(records))


def test_no_event_across_a_gap() -> None:
    """After a silence longer than max_gap the window fills anew, the key says so, and an open episode is closed."""
    records = stream(rows=120, spikes=[(1, 80)])
    shifted = []
    for index, (key, value) in enumerate(records):
        row = index // 3
        content = json.loads(value)
        if row > 80:
            content["ts"] += 3_600_000
        shifted.append((key, json.dumps(content).encode()))
    rig = run(shifted)
    closed = [
        json.loads(record.value or b"") for record in rig.events() if "closed" in (header(record, "ce_type") or "")
    ]
    assert [event["close_reason"] for event in closed] == ["gap"]
    half = run(shifted[: 3 * 83])
    assert standing.by_state(standing.standings(half.engine.stages, half.engine.states)) == dict.fromkeys(
        KEY_STATES, 0
    ) | {"resuming": 3}


def test_coming_back_from_a_silence_is_no_anomaly() -> None:
    """Keys that were away for an hour, one of them in the middle of an episode, and go on as before open nothing."""
    records = stream(rows=160, spikes=[(1, 80)])
    late = []
    for key, value in records[3 * 81 :]:
        content = json.loads(value)
        late.append((key, json.dumps(content | {"ts": content["ts"] + 3_600_000}).encode()))
    rig = run(records[: 3 * 81] + late)
    assert [(key, kind) for key, kind, _ in told(rig)] == [("machine-1", "closed"), ("machine-1", "opened")]
    ready = standing.by_state(standing.standings(rig.engine.stages, rig.engine.states))
    assert ready == dict.fromkeys(KEY_STATES, 0) | {"ready": 3}


def test_a_failed_commit_is_repeated_with_the_same_outputs() -> None:
    """Nothing is visible of a transaction that failed, nothing new is read meanwhile, and all arrives in the end."""
    golden = run(stream())
    broker = broker_with(stream())
    broker.create_topic("scores", 2)
    rig = Rig(broker, settings=settings(output={"scores_topic": "scores"}))
    rig.step(4)
    rig.broker.fail_at("before_commit", RetryableError("no answer"), times=3)  # of windows, so that there is output
    failures = 0
    for _ in range(80):
        try:
            rig.step()
        except RetryableError:
            failures += 1
            assert rig.engine.status().commit_blocked
    rig.run_dry()
    assert failures == 3
    assert len(broker.records("scores")) == 3 * (120 - WINDOW + 1)
    assert ids(rig.events()) == ids(golden.events())
    assert rig.state() == golden.state()


def test_a_dead_letter_too_large_for_its_topic_is_shortened_and_arrives() -> None:
    """One record at the broker's limit, which our headers push over it, must not stop the partition for ever."""
    records = stream()
    huge = (b"machine-1", b"x" * 1_000)
    rig = Rig(broker_with([huge, *records], 1))
    rig.broker.fail_at("after_send", TooLargeError("1,300 bytes, allowed are 1,000", 0))
    with pytest.raises(RetryableError):
        rig.step(3)
    rig.run_dry()
    (letter,) = rig.dead_letters()
    assert letter.value == b"x" * 500
    assert header(letter, "streamae-truncated") == "true"
    assert header(letter, "streamae-reason") == "not_json"
    assert told(rig) == told(run(records, partitions=1))


def test_an_event_too_large_for_its_topic_waits_whole() -> None:
    """Half an event is none: it is neither shortened nor skipped, nothing is read meanwhile, and it comes out unchanged."""
    golden = run(stream())
    rig = Rig(broker_with(stream()), settings=settings(output={"commit_interval_ms": 40}))
    while not rig.engine.outbox.waiting:
        rig.step()
    rig.broker.fail_at("after_send", TooLargeError("1,300 bytes, allowed are 1,000", 0), times=1_000)
    rig.now_ms += 40
    with pytest.raises(TooLargeError):
        rig.step()
    waiting = list(rig.engine.outbox.waiting)
    before = [progress.position for _, progress in rig.engine.partitions.items()]
    for _ in range(20):
        with pytest.raises(TooLargeError):
            rig.step()
    assert rig.engine.outbox.waiting == waiting
    assert [progress.position for _, progress in rig.engine.partitions.items()] == before
    assert rig.engine.status().commit_blocked
    rig.engine.report()
    assert b'streamae_partition_state{state="paused"} 2.0' in rig.telemetry.render()[0]
    rig.broker._waiting.clear()
    rig.run_dry()
    assert ids(rig.events()) == ids(golden.events())
    assert [record.value for record in rig.events()] == [record.value for record in golden.events()]


def test_a_refused_membership_is_counted_as_fenced() -> None:
    """An alert on many of them tells a process that is always too slow from a broker that is away."""
    rig = Rig(broker_with(stream()))
    rig.step(5)
    rig.broker.fail_at("before_commit", MembershipError("generation 3 is over"))
    rig.broker.fail_at("before_commit", RetryableError("no broker"))
    for _ in range(2):
        with pytest.raises(RetryableError):
            rig.step()
    rig.run_dry()
    text = rig.telemetry.render()[0]
    assert b'streamae_transactions_total{outcome="fenced"} 1.0' in text
    assert b'streamae_transactions_total{outcome="aborted"} 1.0' in text


def test_what_is_committed_and_how_old_it_is_shows() -> None:
    """Offsets as the group has them, and a lag in seconds that ends with the lag."""
    rig = Rig(broker_with(stream(), 1))
    rig.step(3)
    rig.now_ms = START_MS + 20_000
    rig.engine.report()
    text = rig.telemetry.render()[0].decode()
    committed = rig.broker.committed("group", Partition(TOPIC, 0))
    assert f'streamae_committed_offset{{partition="0",topic="{TOPIC}"}} {committed}.0' in text
    assert f'streamae_consumer_lag_seconds{{partition="0",topic="{TOPIC}"}} 20.0' in text
    rig.run_dry()
    rig.engine.report()
    assert f'streamae_consumer_lag_seconds{{partition="0",topic="{TOPIC}"}} 0.0' in rig.telemetry.render()[0].decode()


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_an_unknown_outcome_is_looked_up_not_guessed(point: str) -> None:
    """Whether the lost answer was a yes or a no: every event is published exactly once."""
    golden = run(stream())
    rig = Rig(broker_with(stream()))
    for _ in range(90):
        rig.broker.fail_at(point, OutcomeUnknownError("the answer was lost"))
        try:
            rig.step()
        except RetryableError:
            assert rig.engine.status().commit_blocked
        try:
            rig.step()
        except RetryableError:
            rig.step()
    rig.run_dry()
    assert ids(rig.events()) == ids(golden.events())
    assert rig.state() == golden.state()


def test_records_whose_state_cannot_be_read_are_read_again() -> None:
    """With the store down at a key's first record, the poll is repeated later; nothing is lost or scored twice."""
    golden = run(stream())
    store, broker = MemoryStore(), broker_with(stream())
    first = Rig(broker, store, max_poll_records=30)
    first.step(4)
    first.engine.drain(first.now_ms + 50)
    first.engine.close()
    rig = Rig(broker, store, now_ms=1_000)
    store.fail_at("load", RetryableError("Redis is down"), times=2)
    rig.step(3)
    assert b"streamae_store_errors_total 2.0" in rig.telemetry.render()[0]
    assert rig.engine.status().store_failing_since_ms is not None
    rig.now_ms += RETRY_MS
    rig.run_dry()
    assert rig.engine.status().store_failing_since_ms is None
    assert ids(rig.events()) == ids(golden.events())
    assert rig.state() == golden.state()


def test_a_new_key_during_an_outage_of_the_store_stops_its_own_partition_only() -> None:
    """Keys in memory are scored and committed while a key of another partition waits; then nothing is missing."""
    records = [*stream(), (b"newcomer-0", stream()[0][1])]
    golden = run(records)
    broker, store = broker_with(records), MemoryStore()
    at = {index: Partition(TOPIC, index) for index in (sum(b"newcomer-0") % 2, 1 - sum(b"newcomer-0") % 2)}
    waiting, other = at.values()
    held = broker.log(waiting).records.pop()  # the newcomer comes later
    rig = Rig(broker, store)
    rig.step(12)
    rig.engine.partitions[waiting].unread = 1  # as if a former process had stored one more key
    store.fail_at("load", RetryableError("Redis is down"), times=10_000)
    store.fail_at("before_checkpoint", RetryableError("Redis is down"), times=10_000)
    rig.step(40)
    assert broker.committed("group", other) == broker.log(other).end
    broker.log(waiting).records.append(held)
    late = broker.log(other).records[-1]
    broker.produce(TOPIC, late.key, late.value, late.timestamp, partition=other.index)  # a duplicate: dropped
    broker.produce(TOPIC, b"newcomer-1", late.value, late.timestamp, partition=other.index)  # new for certain
    rig.step(5)
    assert broker.committed("group", other) == broker.log(other).end
    assert broker.committed("group", waiting) == broker.log(waiting).end - 1
    rig.engine.report()
    text = rig.telemetry.render()[0]
    assert b'streamae_partition_state{state="paused"} 1.0' in text
    assert b'streamae_partition_state{state="running"} 1.0' in text
    assert rig.engine.status().store_failing_since_ms is not None
    store._waiting.clear()
    rig.now_ms += RETRY_MS
    rig.run_dry()
    rig.engine.report()
    assert b'streamae_partition_state{state="running"} 2.0' in rig.telemetry.render()[0]
    assert ids(rig.events()) == ids(golden.events())
    assert {name: state for name, state in rig.state().items() if name[1] != b"newcomer-1"} == golden.state()


def test_a_store_that_is_down_delays_checkpoints_only() -> None:
    """Events go out while Redis is away; readiness can tell since when; the state is saved once it is back."""
    golden = run(stream())
    rig = Rig(broker_with(stream()))
    rig.step(2)
    rig.store.fail_at("before_checkpoint", RetryableError("Redis is down"), times=1_000)
    rig.step(80)
    assert rig.engine.status().store_failing_since_ms is not None
    assert ids(rig.events()) == ids(golden.events())
    rig.store._waiting.clear()
    rig.run_dry()
    assert rig.engine.status().store_failing_since_ms is None
    assert rig.state() == golden.state()


def test_a_partition_without_answer_from_the_store_waits() -> None:
    """A partition taken over while Redis is down starts when it is back, from its stored offset."""
    rig = Rig(broker_with(stream()))
    rig.store.fail_at("manifest", RetryableError("Redis is down"), times=3)
    rig.step(2)
    assert rig.engine.status().recovering > 0
    assert rig.engine.status().store_failing_since_ms == 5
    rig.run_dry()
    assert rig.engine.status().recovering == 0
    assert rig.engine.status().store_failing_since_ms is None
    assert ids(rig.events()) == ids(run(stream()).events())


def test_lost_state_is_noticed_and_rebuilt() -> None:
    """Redis emptied under a running engine: the next checkpoint sees it, the partition is replayed, nothing is
    published twice, and the state ends as if nothing had happened."""
    golden = run(stream())
    rig = Rig(broker_with(stream()))
    rig.step(5)
    assert rig.state()
    rig.store.flush()
    rig.run_dry()
    rig.run_dry()
    assert ids(rig.events()) == ids(golden.events())
    assert rig.state() == golden.state()


def test_a_second_process_shares_the_work() -> None:
    """When another member joins in the middle and leaves again, every event is published once, by somebody."""
    golden = run(stream(keys=8, spikes=[(k, 40 + 5 * k) for k in range(8)]), partitions=4)
    broker, store = broker_with(stream(keys=8, spikes=[(k, 40 + 5 * k) for k in range(8)]), 4), MemoryStore()
    one = Rig(broker, store, max_poll_records=20)
    one.step(12)
    two = Rig(broker, store, max_poll_records=20)
    for _ in range(12):
        one.step()
        two.step()
    assert len(one.engine.partitions) == len(two.engine.partitions) == 2
    two.engine.drain(two.now_ms + 5)
    two.engine.close()
    one.run_dry()
    one.run_dry()
    assert ids(one.events()) == ids(golden.events())
    assert one.state() == golden.state()


def test_scaling_out_and_in_while_episodes_are_open() -> None:
    """One process, three, one again, in the middle of six episodes: each id opens once and closes once."""
    records = stream(keys=6, rows=130, spikes=[(key, row) for key in range(6) for row in range(40, 90)])
    broker, store = broker_with(records, 6), MemoryStore()

    def kinds() -> Counter[str]:
        return Counter(json.loads(record.value or b"")["kind"] for record in broker.records(EVENTS))

    one = Rig(broker, store, max_poll_records=3)
    while kinds()["opened"] < 6:
        one.step()
    two, three = (Rig(broker, store, max_poll_records=3) for _ in range(2))
    for _ in range(8):
        for rig in (one, two, three):
            rig.step()
    assert [len(rig.engine.partitions) for rig in (one, two, three)] == [2, 2, 2]
    assert kinds()["closed"] == 0
    two.engine.drain(two.now_ms + 5)
    two.engine.close()
    three.engine.source.close()  # killed: nothing more of it is sent or saved
    one.step(8)
    assert len(one.engine.partitions) == 6
    assert kinds()["closed"] == 0
    one.run_dry()
    one.run_dry()
    assert ids(one.events()) == ids(run(records, partitions=6).events())
    found = Counter(
        (event["episode_id"], event["kind"]) for event in (json.loads(each.value or b"") for each in one.events())
    )
    episodes = {episode for episode, _ in found}
    assert len(episodes) == 6
    assert all(found[episode, kind] == 1 for episode in episodes for kind in ("opened", "closed"))


def test_after_a_clean_stop_nothing_is_replayed() -> None:
    """Drain saves the state at the committed offset: the next process goes on at once."""
    rig = run(stream())
    rig.engine.close()
    again = Rig(rig.broker, rig.store)
    again.step(3)
    assert again.engine.partitions.replaying() == 0
    assert b"streamae_replayed_records_total 0.0" in again.telemetry.render()[0]


def test_changed_thresholds_keep_what_keys_have_learnt() -> None:
    """Another k must not send every key back to learning; another stride must, for its windows are others."""
    rig = run(stream())
    rig.engine.close()
    sharper = Rig(rig.broker, rig.store, settings=settings(threshold={"k": 3.0}))
    sharper.step(2)
    assert [progress for _, progress in sharper.engine.partitions.items() if progress.base is None] == []
    sharper.engine.close()
    wider = Rig(rig.broker, rig.store, settings=settings(window={"stride": 2}))
    wider.step(1)
    assert {progress.base for _, progress in wider.engine.partitions.items()} == {None}


def test_the_same_key_in_two_partitions_is_counted() -> None:
    """State is per partition, so a producer that does not partition by key is reported."""
    broker = MemoryBroker(2)
    for topic in (TOPIC, "anomalies", DEAD):
        broker.create_topic(topic, 2)
    for index, (key, value) in enumerate(stream(keys=1, rows=10, spikes=[])):
        broker.produce(TOPIC, key, value, timestamp=START_MS, partition=index % 2)
    rig = Rig(broker)
    rig.run_dry()
    assert b"streamae_split_keys_total 1.0" in rig.telemetry.render()[0]


def test_the_summary_says_where_the_engine_stands() -> None:
    """Readiness and status lines are made of these numbers."""
    rig = run(stream())
    rig.engine.report()
    summary = rig.engine.status().plain()
    assert summary["partitions"] == 2
    assert summary["keys"] == 3
    assert summary["joined"] is True
    assert summary["replaying"] == summary["recovering"] == summary["waiting_messages"] == 0
    text = rig.telemetry.render()[0]
    assert b'streamae_keys{state="ready"} 3.0' in text
    assert b'streamae_consumer_lag_records{partition="0",topic="sensors"} 0.0' in text


def test_a_step_leaves_windows_beyond_its_budget_to_the_next() -> None:
    """The group hears of a process in time, however slow its model is; what waits is scored later, and nothing changes."""
    slow = Rig(broker_with(stream()), settings=settings(model={"max_batch_size": 4, "max_wait_ms": 0}))
    ticks = itertools.count()
    slow.engine.clock = lambda: float(next(ticks))  # each look is a second later: one batch uses the budget up
    slow.step(10)
    assert slow.engine.status().waiting_windows > 4
    slow.run_dry()
    assert ids(slow.events()) == ids(run(stream()).events()) != []


def test_the_observer_sees_every_scored_window() -> None:
    """Pictures and backtests look over the engine's shoulder, at the very numbers it decides on."""
    seen: list[int] = []
    rig = Rig(broker_with(stream()), parts={"observer": lambda windows, scores, verdicts: seen.append(len(windows))})
    rig.run_dry()
    assert sum(seen) == 3 * (120 - 7)


def test_a_partition_that_is_taken_away_takes_its_outputs_along() -> None:
    """What a former owner had decided but not committed is decided again by the new one, and published once."""
    rig = Rig(broker_with(stream(), 1), settings=settings(output={"commit_interval_ms": 10_000_000}))
    rig.step(20)
    assert rig.engine.status().waiting_messages > 0
    rig.broker.expel(rig.engine.source)  # type: ignore[arg-type]
    assert isinstance(rig.engine.source, MemorySource)
    rig.step(2)
    assert rig.events() == []
    assert rig.engine.partitions[Partition(TOPIC, 0)].committed is None
    rig.run_dry()
    assert told(rig) == told(run(stream(), partitions=1))
