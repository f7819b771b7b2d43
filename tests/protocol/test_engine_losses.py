"""What brokers and operators do to a group, on the whole engine: the policy is followed, and never in silence."""

from __future__ import annotations

from typing import Any

import pytest

from streamae.batches import Partition
from streamae.connectors.memory import MemoryBroker
from streamae.connectors.memory_store import MemoryStore
from streamae.engine.recovery import HALT_RETRY_MS
from tests.engines import DEAD, START_MS, STEP_MS, TOPIC, Rig, broker_with, header, ids, settings, stream

P0 = Partition(TOPIC, 0)
RECORDS = stream(spikes=[(0, 40), (1, 60), (1, 61), (2, 90)])
OTHER = stream(seed=1, spikes=[(0, 50), (2, 100)])


def golden(records: list[tuple[bytes, bytes]] = RECORDS) -> Rig:
    """Return the undisturbed run."""
    rig = Rig(broker_with(records, 1))
    rig.run_dry()
    return rig


def stopped(broker: MemoryBroker, store: MemoryStore, turns: int = 4) -> None:
    """Let a process work for some turns and stop in order."""
    rig = Rig(broker, store)
    rig.step(turns)
    rig.engine.drain(rig.now_ms + 5)
    rig.engine.close()


def counted(rig: Rig, reason: str) -> float:
    """Return how many partitions were started for this reason."""
    lines = rig.telemetry.render()[0].decode().splitlines()
    series = f'streamae_partition_starts_total{{reason="{reason}"}}'
    return float(next(line for line in lines if line.startswith(series)).split()[-1])


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_topic_created_again_is_read_from_its_beginning(is_alive: bool) -> None:
    """Neither offset nor state of the former topic counts, for a living owner or a new one."""
    broker, store = broker_with(RECORDS, 1), MemoryStore()
    rig = Rig(broker, store)
    rig.run_dry()
    before = len(rig.events())
    if not is_alive:
        rig.engine.close()
    broker.recreate(TOPIC)
    for key, value in OTHER:
        broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)
    if not is_alive:
        rig = Rig(broker, store)
    rig.run_dry()
    assert ids(rig.events()[before:]) == ids(golden(OTHER).events())
    assert rig.state() == golden(OTHER).state()
    assert counted(rig, "recreated") == 1


def test_a_lost_offset_is_resumed_at_the_stored_state() -> None:
    """What was published since the last checkpoint comes again under the same ids; nothing else does."""
    broker, store = broker_with(RECORDS, 1), MemoryStore()
    stopped(broker, store, turns=7)
    kept = store.snapshot()
    rig = Rig(broker, store)
    rig.run_dry()
    rig.engine.close()
    store.restore(kept)  # as if the last checkpoint was long ago
    broker.set_committed("group", P0, None)
    again = Rig(broker, store)
    again.run_dry()
    assert set(ids(again.events())) == set(ids(golden().events()))
    assert len(again.events()) < 2 * len(golden().events())
    assert again.state() == golden().state()
    assert counted(again, "offsets_lost") == 1


def test_a_lost_offset_may_mean_a_new_start() -> None:
    """Whoever deletes a group to begin anew gets that, and keys begin anew with it."""
    broker, store = broker_with(RECORDS, 1), MemoryStore()
    stopped(broker, store, turns=40)
    broker.set_committed("group", P0, None)
    again = Rig(broker, store, settings(input={"on_lost_offsets": "start"}))
    again.run_dry()
    assert ids(again.events()) == sorted(2 * ids(golden().events()))
    assert again.state() == golden().state()
    assert counted(again, "offsets_lost") == 1


def test_an_offset_moved_back_is_obeyed() -> None:
    """Records from there on are judged again, on the state they had then; replayed ones before stay silent."""
    broker, store = broker_with(RECORDS, 1), MemoryStore()
    stopped(broker, store, turns=40)
    broker.set_committed("group", P0, 150)
    again = Rig(broker, store)
    again.run_dry()
    assert set(ids(again.events())) == set(ids(golden().events()))
    assert len(golden().events()) < len(again.events()) < 2 * len(golden().events())
    assert again.state() == golden().state()
    assert counted(again, "moved_back") == 1


def test_an_offset_moved_far_forward_is_told() -> None:
    """What was skipped changes the state silently, publishes nothing, and nobody is left to wonder."""
    broker, store = broker_with(RECORDS, 1), MemoryStore()
    stopped(broker, store, turns=2)
    broker.set_committed("group", P0, 300)
    again = Rig(broker, store, settings(state={"rebuild_max_records": 100, "checkpoint_interval_ms": 10}))
    again.run_dry()
    assert set(ids(again.events())) < set(ids(golden().events()))
    assert again.state() == golden().state()
    assert counted(again, "long_replay") == 1


def test_records_deleted_before_they_were_processed_are_told() -> None:
    """Retention passed the committed offset: the stream goes on where it can, keys learn anew."""
    broker, store = broker_with(RECORDS, 1), MemoryStore()
    stopped(broker, store, turns=2)
    broker.delete_before(P0, 200)
    again = Rig(broker, store)
    again.run_dry()
    assert broker.committed("group", P0) == len(RECORDS)
    assert counted(again, "expired") == 1


def lost(on_loss: str, **sections: Any) -> tuple[Rig, dict[Any, Any]]:
    """Return a process that finds the store emptied, and what was in it."""
    broker, store = broker_with(RECORDS, 1), MemoryStore()
    stopped(broker, store)
    kept = store.snapshot()
    store.flush()
    state = {"on_loss": on_loss, "checkpoint_interval_ms": 10}
    return Rig(broker, store, settings(state=state, **sections)), kept


def test_halting_waits_for_somebody() -> None:
    """Nothing is read, committed or published without the state; once it is restored the stream goes on as ever."""
    rig, kept = lost("halt")
    published, committed = len(rig.events()), rig.broker.committed("group", P0)
    rig.step(20)
    rig.engine.report()
    assert rig.engine.status().halted == 1
    assert b'streamae_partition_state{state="halted"} 1.0' in rig.telemetry.render()[0]
    assert b'streamae_partition_state{state="loading"} 0.0' in rig.telemetry.render()[0]
    assert (len(rig.events()), rig.broker.committed("group", P0)) == (published, committed)
    rig.store.restore(kept)
    rig.now_ms += HALT_RETRY_MS
    rig.step(2)
    rig.run_dry()
    assert rig.engine.status().halted == 0
    assert ids(rig.events()) == ids(golden().events())
    assert rig.state() == golden().state()


def test_warming_up_replays_nothing_and_repeats_nothing() -> None:
    """Keys learn again from where the stream goes on."""
    rig, _ = lost("warm_up")
    rig.run_dry()
    assert b"streamae_replayed_records_total 0.0" in rig.telemetry.render()[0]
    assert len(set(ids(rig.events()))) == len(rig.events())
    assert rig.state().keys() == golden().state().keys()
    assert rig.state() != golden().state()


def test_rebuilding_leaves_no_trace() -> None:
    """The default: as if nothing had happened, as far as the log reaches."""
    rig, _ = lost("rebuild")
    rig.run_dry()
    assert ids(rig.events()) == ids(golden().events())
    assert rig.state() == golden().state()
    assert counted(rig, "no_state") == 1


@pytest.mark.parametrize("is_open", [True, False])
def test_a_key_whose_episode_is_open_keeps_its_place(is_open: bool) -> None:
    """It may be idle for long, but an opened event without a closed one would alarm somebody for ever."""
    rows = 44 if is_open else 80
    first = stream(keys=1, rows=rows, spikes=[(0, 40), (0, 41), (0, 42)])
    late = stream(keys=2, rows=rows + 40, spikes=())[2 * (rows + 30) + 1 :: 2]  # another key, much later
    limits = {"max_keys": 1, "key_idle_ms": 10 * STEP_MS}
    rig = Rig(broker_with(first, 1), settings=settings(limits=limits, window={"max_gap_ms": 600_000}))
    rig.run_dry()
    for key, value in late:
        rig.broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)
    rig.run_dry()
    kinds = [header(event, "ce_type") for event in rig.events()]
    assert ("io.streamae.anomaly.closed.v1" in kinds) is not is_open
    assert len(rig.broker.records(DEAD)) == (len(late) if is_open else 0)
    assert {key for _, key in rig.state()} == {b"machine-0" if is_open else b"machine-1"}
