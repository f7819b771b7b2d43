"""A new group that reads back before it goes live: silent, learnt, and at the same place whoever dies meanwhile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamae.batches import Partition
from streamae.connectors.memory import MemoryBroker
from streamae.connectors.memory_store import MemoryStore
from streamae.engine.standing import by_state, standings
from streamae.errors import RetryableError
from tests.engine.test_crash_resume import Crash, Fuse
from tests.engines import START_MS, TOPIC, Rig, broker_with, ids, settings, stream
from tests.sweeps import Sweep

KEYS, BEFORE, ROWS = 4, 80, 130
PARTS = 40  # of a bootstrap
SPIKES = [(0, 40), (1, 60), (2, 70), (0, 100), (3, 110), (2, 120)]  # (key, row): three before it goes live
RECORDS = stream(KEYS, ROWS, spikes=SPIKES)
HISTORY, NEWER = RECORDS[: KEYS * BEFORE], RECORDS[KEYS * BEFORE :]


def rig(broker: MemoryBroker, store: MemoryStore, **state: Any) -> Rig:
    """A process of a group that begins at the end and reads back as far as there is."""
    chosen = settings(
        input={"start": "latest", "bootstrap_records": 10_000},
        state={"checkpoint_interval_ms": 15} | state,
    )
    return Rig(broker, store, settings=chosen, max_poll_records=17)


def go_on(process: Rig) -> None:
    """Let the newer records come, and read them all."""
    for key, value in NEWER:
        process.broker.produce(TOPIC, key, value, timestamp=START_MS, partition=sum(key) % 2)
    process.run_dry()


def caught_up(process: Rig) -> None:
    """Turn until the bootstrap is over."""
    process.step(2)
    while process.engine.partitions.replaying():
        process.step()


@pytest.fixture(scope="module")
def whole() -> Rig:
    """A group that has read everything from the beginning, and published all of it."""
    process = Rig(broker_with(RECORDS), settings=settings(), max_poll_records=17)
    process.run_dry()
    return process


@pytest.fixture(scope="module")
def newer_ids(whole: Rig) -> list[str | None]:
    """Ids of the events that records behind the bootstrap cause in a group that has read everything."""
    return ids(event for event in whole.events() if source_row(event) >= BEFORE)


@pytest.fixture(scope="module")
def total() -> int:
    """Executed lines of the engine until it is live."""
    process = rig(broker_with(HISTORY), MemoryStore())
    with Fuse(None) as fuse:
        caught_up(process)
    return fuse.lines


GOES_LIVE = {Partition(TOPIC, index): sum(sum(key) % 2 == index for key, _ in HISTORY) for index in (0, 1)}


def source_row(event: Any) -> int:
    """The row of the record that caused an event."""
    place = json.loads(event.value)["source"]
    partition = Partition(place["topic"], place["partition"])
    rows = [row for row in range(ROWS) for key in range(KEYS) if sum(b"machine-%d" % key) % 2 == partition.index]
    return rows[place["offset"]]


def test_what_is_learnt_silently_is_learnt_as_if_it_had_been_read_from_the_start(
    whole: Rig, newer_ids: list[str | None]
) -> None:
    """No event before it goes live, and behind it exactly those of a reader of everything; state is equal too."""
    process = rig(broker_with(HISTORY), MemoryStore())
    caught_up(process)
    assert process.events() == []
    assert process.dead_letters() == []
    go_on(process)
    assert ids(process.events()) == newer_ids
    assert 0 < len(process.events()) < len(whole.events())
    assert process.state() == whole.state()


def test_keys_show_what_they_know_meanwhile() -> None:
    """Learning at first, ready before the first live record: the states count while nothing is published."""
    process = rig(broker_with(HISTORY), MemoryStore())
    seen = set()
    process.step(2)
    while process.engine.partitions.replaying():
        process.step()
        seen |= {
            name for name, count in by_state(standings(process.engine.stages, process.engine.states)).items() if count
        }
        assert process.events() == []
    assert seen == {"learning", "ready"}
    assert by_state(standings(process.engine.stages, process.engine.states))["ready"] == KEYS


def test_only_so_many_records_are_read() -> None:
    """The setting is records a partition; a group with offsets does not look back again."""
    broker, store = broker_with(HISTORY), MemoryStore()
    few = Rig(broker, store, settings=settings(input={"start": "latest", "bootstrap_records": 11}))
    few.run_dry()
    replayed = "streamae_replayed_records_total 22.0"
    assert replayed in few.telemetry.render()[0].decode()
    few.broker.expel(few.engine.source)  # type: ignore[arg-type]
    again = Rig(broker, store, settings=few.settings)
    again.run_dry()
    assert "streamae_replayed_records_total 0.0" in again.telemetry.render()[0].decode()


def test_the_group_says_where_it_goes_live_before_it_has_learnt() -> None:
    """The first commit is that place, whatever was read until then: records that come meanwhile are not skipped."""
    process = rig(broker_with(HISTORY), MemoryStore())
    while process.broker.committed("group", Partition(TOPIC, 0)) is None:
        process.step()
    assert process.engine.partitions.replaying()
    assert {at: process.broker.committed("group", at) for at in GOES_LIVE} == GOES_LIVE


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_after_any_line_of_it_leaves_no_trace(
    part: int, sweep: Sweep, total: int, whole: Rig, newer_ids: list[str | None]
) -> None:
    """The next process goes on silently and goes live at the same place, with the same knowledge."""
    for at in sweep.lines(total, part, PARTS):
        broker, store = broker_with(HISTORY), MemoryStore()
        process, place = rig(broker, store), f"line {at} of {total} ({sweep})"
        with pytest.raises(Crash), Fuse(at):
            caught_up(process)
        broker.expel(process.engine.source)  # type: ignore[arg-type]
        process.engine.source.close()
        last = rig(broker, store)
        caught_up(last)
        assert last.events() == [], place
        go_on(last)
        assert ids(last.events()) == newer_ids, place
        assert last.state() == whole.state(), place


@pytest.mark.parametrize("on_loss", ["rebuild", "warm_up", "halt"])
def test_a_saved_bootstrap_goes_on_under_every_policy(on_loss: str, newer_ids: list[str | None]) -> None:
    """Once a checkpoint is stored nothing is lost that a policy would have to answer for."""
    broker, store = broker_with(HISTORY), MemoryStore()
    process = rig(broker, store, on_loss=on_loss)
    while len(store.snapshot()) < 2:
        process.step()
    assert process.engine.partitions.replaying() == 2
    broker.expel(process.engine.source)  # type: ignore[arg-type]
    last = rig(broker, store, on_loss=on_loss)
    caught_up(last)
    go_on(last)
    assert ids(last.events()) == newer_ids


def test_records_that_come_while_it_learns_are_published(newer_ids: list[str | None]) -> None:
    """Also when the store is away all the while and the process dies: the place to go live was committed."""
    broker, store = broker_with(HISTORY), MemoryStore()
    process = rig(broker, store)
    store.fail_at("before_checkpoint", RetryableError("down"), times=10_000)
    while process.broker.committed("group", Partition(TOPIC, 1)) is None:
        process.step()
    assert process.engine.partitions.replaying()
    broker.expel(process.engine.source)  # type: ignore[arg-type]
    last = Rig(broker, MemoryStore(), settings=process.settings, max_poll_records=17)
    go_on(last)
    assert ids(last.events()) == newer_ids


def test_reading_back_from_the_beginning_is_refused() -> None:
    """Nothing lies before the earliest record: the two settings contradict each other."""
    with pytest.raises(ValueError, match=r"bootstrap_records: needs input.start = latest"):
        settings(input={"bootstrap_records": 5})
