"""Clocks that run away, through the engine: one wild time costs one record, whatever the polls and whoever takes over."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from streamae.batches import Partition
from streamae.core.encoding import Encoding
from streamae.engine.partition_state import PartitionState
from streamae.observe import logs
from tests.engines import START_MS, STEP_MS, TOPIC, WINDOW, Rig, broker_with, header, ids, settings, stream, tiny_bundle

HOUR_MS = 3_600_000
AHEAD_MS = 20 * HOUR_MS
Records = list[tuple[bytes, bytes]]
SPIKES = [(0, 70), (0, 71), (1, 80), (2, 60)]


def moved(record: tuple[bytes, bytes], by_ms: int) -> tuple[bytes, bytes]:
    """Return a record whose clock stands elsewhere."""
    key, value = record
    content = json.loads(value)
    return key, json.dumps(content | {"ts": content["ts"] + by_ms}).encode()


def one_wild_stamp(keys: int = 3) -> tuple[Records, Records]:
    """Return a stream in which one record of the first key is 20 h ahead, and the same stream without it."""
    plain = stream(keys, 110, spikes=SPIKES)
    at = 50 * keys
    return [*plain[: at + 1], moved(plain[at], AHEAD_MS), *plain[at + 1 :]], plain


def troubled() -> Records:
    """Return a stream with everything in it: wild stamps, a pause of all keys, clocks set ahead and back, one twice."""
    plain = stream(4, 100, spikes=[(0, 35), (0, 36), (1, 80), (2, 90), (3, 60)])
    records: Records = []
    for number, record in enumerate(plain):
        row, key = divmod(number, 4)
        pause_ms = 3 * HOUR_MS if row >= 45 else 0
        is_fast = (key == 2 and (10 <= row < 30 or 55 <= row < 70)) or (key == 1 and 20 <= row < 65)
        fast_ms = 5 * HOUR_MS if is_fast else 0
        records.append(moved(record, pause_ms + fast_ms))
        if (key, row) in {(0, 20), (1, 50), (1, 51), (3, 70)}:
            records.append(moved(record, pause_ms + AHEAD_MS))
    return records


def rig(records: Records, *, poll: int = 40, partitions: int = 2, rig_: Rig | None = None, **sections: Any) -> Rig:
    """Return a process that asks for confirmation of times more than an hour ahead; `rig_` = take over from it."""
    usual = {"window": {"max_jump_ms": HOUR_MS}, "state": {"checkpoint_interval_ms": 15}}
    chosen = settings(**{name: usual.get(name, {}) | sections.get(name, {}) for name in usual.keys() | sections.keys()})
    if rig_ is None:
        return Rig(broker_with(records, partitions), settings=chosen, max_poll_records=poll)
    return Rig(rig_.broker, rig_.store, settings=chosen, max_poll_records=poll, bundle=rig_.bundle)


def letters(process: Rig) -> list[tuple[str | None, bytes | None]]:
    """Return reason and content of each dead letter, sorted."""
    found = [(header(record, "streamae-reason"), record.value) for record in process.dead_letters()]
    return sorted(found, key=lambda one: (one[0] or "", one[1] or b""))


def essence(process: Rig) -> list[tuple[Any, ...]]:
    """Return what the events say of anomalies, without the places of records, sorted."""
    names = ("key", "kind", "start_time_ms", "end_time_ms", "severity")
    return sorted(tuple(json.loads(event.value or b"")[name] for name in names) for event in process.events())


def whole_state(process: Rig) -> Any:
    """Return all that is stored: of keys, and of partitions."""
    manifests = [process.store.manifest(Partition("sensors", number)) for number in (0, 1)]
    return process.state(), [None if one is None else one.partition_state for one in manifests]


def test_one_wild_stamp_costs_one_record() -> None:
    """It is a dead letter with a reason of its own; events and windows are those of the stream without it."""
    wild, plain = one_wild_stamp()
    process, other = rig(wild), rig(plain)
    process.run_dry()
    other.run_dry()
    assert [reason for reason, _ in letters(process)] == ["clock_jump"]
    assert letters(other) == []
    assert len(other.events()) > 2
    assert essence(process) == essence(other)


def test_without_the_setting_a_wild_stamp_silences_its_key() -> None:
    """What the setting is for: all later records of the key are late, for as many hours as the stamp was ahead."""
    wild, _ = one_wild_stamp()
    process = rig(wild, window={"max_jump_ms": None})
    process.run_dry()
    assert {reason for reason, _ in letters(process)} == {"late"}
    assert len(letters(process)) > 50


def test_off_it_leaves_no_trace_in_what_is_stored() -> None:
    """Without the setting neither keys nor partitions have any state of it."""
    process = rig(one_wild_stamp()[0], window={"max_jump_ms": None}, episode={"close_after_ms": 0})
    process.run_dry()
    assert process.engine.stages.clocks is None
    assert whole_state(process)[1] == [b"", b""]


@pytest.mark.parametrize("window", [{}, {"grid_ms": STEP_MS}], ids=["records", "grid"])
@pytest.mark.parametrize("poll", [pytest.param(1, marks=pytest.mark.slow), 7, 1_024])
def test_polls_of_any_size_give_the_same(poll: int, window: dict[str, Any]) -> None:
    """The same records, however they are polled: same events, same dead letters, same stored state."""
    process, other = rig(troubled(), poll=poll, window=window), rig(troubled(), poll=40, window=window)
    process.run_dry()
    other.run_dry()
    assert {reason for reason, _ in letters(other)} == {"clock_jump", "late"}
    assert letters(process) == letters(other)
    assert ids(process.events()) == ids(other.events()) != []
    assert whole_state(process) == whole_state(other)


@examples(max_examples=6, deadline=None, derandomize=True)
@pytest.mark.slow
@given(st.lists(st.integers(1, 25), max_size=5), st.sampled_from([3, 17, 64]), st.booleans())
def test_a_new_owner_anywhere_judges_alike(turns: list[int], poll: int, has_grid: bool) -> None:
    """A process that dies after any step leaves no trace: what was refused, confirmed or set back is so once more."""
    window = {"grid_ms": STEP_MS} if has_grid else {}
    other = rig(troubled(), poll=poll, window=window)
    other.run_dry()
    process = rig(troubled(), poll=poll, window=window)
    for count in turns:
        process.step(count)
        process.broker.expel(process.engine.source)  # type: ignore[arg-type]
        process.engine.source.close()
        process = rig([], poll=poll, rig_=process, window=window)
    process.run_dry()
    assert letters(process) == letters(other)
    assert ids(process.events()) == ids(other.events())
    assert whole_state(process) == whole_state(other)


def test_a_clock_that_is_set_back_begins_a_new_window() -> None:
    """Seven records are late, with the eighth the key is scored anew; the log names it, and it is counted."""
    plain = stream(2, 120, spikes=[(0, 100)])
    records = [moved(one, 5 * HOUR_MS) if number % 2 == 0 and number < 120 else one for number, one in enumerate(plain)]
    process = rig(records)
    windows: list[tuple[int, int]] = []
    process.engine.observer = lambda batch, *_: windows.extend(
        zip(batch.slots.tolist(), batch.start_times_ms.tolist(), strict=True)
    )
    process.run_dry()
    assert [reason for reason, _ in letters(process)] == ["late"] * 7
    (slot,) = {slot for slot, key in process.engine.states.table.entries() if key == b"machine-0"}
    starts = [start_ms for at, start_ms in windows if at == slot]
    first_behind = next(start_ms for start_ms in starts if start_ms < START_MS + HOUR_MS)
    assert first_behind == START_MS + 67 * STEP_MS, "with the eighth record, and nothing from before in it"
    assert max(starts[starts.index(first_behind) :]) < START_MS + HOUR_MS
    assert b'streamae_clock_steps_total{kind="back"} 1.0' in process.telemetry.render()[0]
    assert [json.loads(event.value or b"")["kind"] for event in process.events()] == ["opened", "closed"]


def test_the_open_bucket_of_a_clock_that_is_set_back_is_not_lost() -> None:
    """With a grid the last row before is completed by the record with which the key begins anew."""
    plain = stream(2, 120, spikes=())
    records = [moved(one, 5 * HOUR_MS) if number % 2 == 0 and number < 120 else one for number, one in enumerate(plain)]
    process = rig(records, window={"grid_ms": 2 * STEP_MS})
    ends: list[tuple[int, int]] = []
    process.engine.observer = lambda batch, *_: ends.extend(
        zip(batch.end_times_ms.tolist(), batch.offsets.tolist(), strict=True)
    )
    process.run_dry()
    assert max(ends)[0] == START_MS + 5 * HOUR_MS + 58 * STEP_MS, "the bucket of the last two fast records"
    assert max(ends)[1] == 67, "caused by the eighth record behind them, in a replay too"


def test_intervals_do_not_reach_over_a_clock_that_is_set_back() -> None:
    """The time since the record before is unknown with the record that begins anew, and right from the next one on."""
    encoding = Encoding(("temp", "load"), timed=("interval",))
    plain = stream(1, 120, spikes=())
    records = [moved(one, 5 * HOUR_MS) if number < 60 else one for number, one in enumerate(plain)]
    process = rig(records, poll=1_024)
    process.bundle = replace(tiny_bundle(features=encoding.features), encoding=encoding)
    process = rig([], rig_=process)
    found: list[Any] = []
    process.engine.observer = lambda batch, *_: found.extend(
        zip(batch.start_times_ms, batch.values[:, :, 2], strict=True)
    )
    process.run_dry()
    usual = np.log1p(STEP_MS / 1_000).astype(np.float32)
    first = next(intervals for start_ms, intervals in found if start_ms < START_MS + HOUR_MS)
    assert first.tolist() == [0.0, *[usual] * (WINDOW - 1)], "a constant where it is missing"
    assert found[-1][1].tolist() == [usual] * WINDOW


def test_what_is_refused_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The log names the key and says how far ahead it was; a clock that stays wild is not a line a record."""
    logs.configure("info")
    plain = stream(2, 60, spikes=())
    records = [
        moved(one, (number + 20) * HOUR_MS // 2) if number % 2 == 0 and 20 < number < 60 else one
        for number, one in enumerate(plain)
    ]
    rig(records, poll=4).run_dry()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "clock_jump" in line]
    lines = [line for line in lines if line["event"] == "clock_jump"]
    assert len(lines) == 1
    assert lines[0]["keys"] == "machine-0"
    assert lines[0]["ahead_ms"] > HOUR_MS
    assert "window.max_jump_ms" in lines[0]["remedy"]


def test_a_silent_replay_tells_nothing_again(capsys: pytest.CaptureFixture[str]) -> None:
    """What a former owner refused, confirmed or set back is neither logged nor counted by the next one."""
    process = rig(troubled(), state={"checkpoint_interval_ms": 10**9})
    process.step(2)
    while any(process.engine.source.lag().values()):
        process.step()
    process.engine.commit(process.now_ms)
    process.engine.publisher.settle()
    process.broker.expel(process.engine.source)  # type: ignore[arg-type]
    process.engine.source.close()
    assert len(letters(process)) > 20
    logs.configure("info")
    capsys.readouterr()
    after = rig([], rig_=process)
    after.run_dry()
    assert b"streamae_replayed_records_total 0.0" not in after.telemetry.render()[0]
    told = capsys.readouterr().out
    assert "clock_jump" not in told
    assert "clock_back" not in told
    assert b'streamae_clock_steps_total{kind="back"} 0.0' in after.telemetry.render()[0]
    assert b'streamae_clock_steps_total{kind="confirmed"} 0.0' in after.telemetry.render()[0]
    assert b'streamae_dead_letters_total{reason="clock_jump"} 0.0' in after.telemetry.render()[0]


def test_a_wild_stamp_makes_no_key_idle() -> None:
    """A full table gives no key away because one record says that it is tomorrow."""
    plain = stream(3, 40, spikes=())
    wild = moved((b"machine-3", plain[-1][1]), AHEAD_MS)
    later = [(b"machine-3", plain[-1][1])]
    limits = {"max_keys": 3, "key_idle_ms": 2 * HOUR_MS}
    process = rig([*plain, wild, *later], poll=1, partitions=1, limits=limits)
    process.run_dry()
    assert sorted(key for _, key in process.engine.states.table.entries()) == [b"machine-0", b"machine-1", b"machine-2"]
    assert {reason for reason, _ in letters(process)} == {"too_many_keys"}


def test_what_waits_to_be_confirmed_is_stored() -> None:
    """A refused record changes its key: the next owner knows the candidate, though nothing else came of the key."""
    plain = stream(2, 40, spikes=())
    parts: list[Records] = [
        plain[:60],
        [moved(plain[60], AHEAD_MS)],
        [plain[61], plain[63], moved(plain[62], AHEAD_MS)],
    ]
    process = rig([], partitions=1)
    for part in parts:
        for key, value in part:
            process.broker.produce(TOPIC, key, value, timestamp=START_MS, partition=0)
        process = rig([], rig_=process)
        process.run_dry()
        process.engine.close()
    assert [reason for reason, _ in letters(process)] == ["clock_jump"]
    assert b'streamae_clock_steps_total{kind="confirmed"} 1.0' in process.telemetry.render()[0]


def test_the_time_of_a_partition_is_stored_with_its_keys() -> None:
    """What two keys have reached comes back with the next owner, before the first record is judged."""
    process = rig(stream(3, 50, spikes=()), partitions=1, episode={"close_after_ms": 0})
    process.run_dry()
    manifest = process.store.manifest(Partition("sensors", 0))
    assert manifest is not None
    state = PartitionState.unpack(manifest.partition_state)
    assert state is not None
    assert state.clock.reached_ms == START_MS + 49 * STEP_MS
    assert state.clock.active_ms == 0, "nobody asks for active time"
