"""Several records of one moment through the whole engine: each counts, the same one again does not, whatever the polls."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import jsonschema
import numpy as np
import pytest
from hypothesis import strategies as st

from streamae.connectors.events import schema
from streamae.replay.recording import Recording
from streamae.settings.tree import Settings, fingerprint
from tests.engines import START_MS, STEP_MS, Rig, broker_with, header, settings

Records = list[tuple[bytes, bytes]]
IN_A_SECOND = 6
NO_SHRINKING = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # an example takes a second


def record(row: int, temp: float, key: int = 0, **more: Any) -> tuple[bytes, bytes]:
    """One record of a key."""
    content = {"ts": START_MS + row * STEP_MS, "temp": temp, "load": 0.0} | more
    return b"machine-%d" % key, json.dumps(content).encode()


def payments(keys: int = 2, rows: int = 90, frauds: int = IN_A_SECOND) -> Records:
    """Quiet keys, of which in one second the first has frauds of different amounts, and each record comes twice there."""
    noise = np.random.default_rng(3).normal(size=(rows, keys)).round(4).tolist()
    found = [record(row, noise[row][key], key) for row in range(rows) for key in range(keys)]
    burst = [record(60, 40.0 + fraud) for fraud in range(frauds)]
    place = 61 * keys
    return [*found[:place], *burst, *burst[:2], *found[place:]]


def played(records: Records, polled: int = 40, recording: Recording | None = None, **sections: Any) -> Rig:
    """Return an engine after all records."""
    parts = {} if recording is None else {"observer": recording}
    rig = Rig(broker_with(records), settings=settings(**sections), max_poll_records=polled, parts=parts)
    rig.run_dry()
    return rig


def test_six_frauds_of_one_second_all_count() -> None:
    """Each is a window of its own, and the episode that they open tells of all; none is dropped without a word."""
    recording = Recording()
    rig = played(payments(), recording=recording, threshold={"smoothing": 1.0})
    ends = np.concatenate([batch.end_times_ms for batch in recording.windows])
    slots = np.concatenate([batch.slots for batch in recording.windows])
    at = START_MS + 60 * STEP_MS
    assert np.bincount(slots[ends == at]).tolist() == [1 + IN_A_SECOND, 1]
    assert b'streamae_dropped_records_total{reason="duplicate"} 2.0' in rig.telemetry.render()[0]
    assert rig.dead_letters() == []
    events = [json.loads(record.value or b"") for record in rig.events()]
    (closed,) = [event for event in events if event["kind"] == "closed"]
    assert (closed["key"], closed["anomalous_windows"]) == ("machine-0", IN_A_SECOND)
    assert closed["start_time_ms"] == closed["peak_time_ms"] == closed["end_time_ms"] == at
    assert closed["features"][0]["actual"] == 40.0 + IN_A_SECOND - 1
    for event in events:
        jsonschema.validate(event, schema())


@pytest.mark.parametrize("policy", ["drop", "dead_letter"])
def test_one_row_of_a_time_can_be_asked_for(policy: str) -> None:
    """Who wants it as it was sets it; what is left out is counted, or a dead letter with its reason."""
    rig = played(payments(), window={"equal_time": policy, "duplicate": "dead_letter"})
    letters = [header(letter, "streamae-reason") for letter in rig.dead_letters()]
    lost = IN_A_SECOND + 2  # the first record of the second is that of the quiet stream
    assert letters == ([] if policy == "drop" else ["equal_time"] * lost)
    dropped = float(lost if policy == "drop" else 0)
    assert f'streamae_dropped_records_total{{reason="equal_time"}} {dropped}'.encode() in rig.telemetry.render()[0]
    assert rig.events() == []


def test_own_ids_tell_payments_apart_that_look_alike() -> None:
    """Where records have ids, the same amount in the same second is another payment, and the same id is the same one."""
    quiet = [record(row, 0.1 * (row % 3), id=f"p{row}") for row in range(40)]
    twice = [record(39, 0.0, id="other"), record(39, 0.0, id="other"), record(39, 0.0, id="p39")]
    named, unnamed = (played([*quiet, *twice], input={"id_field": field}) for field in ("id", None))
    assert b'streamae_dropped_records_total{reason="duplicate"} 2.0' in named.telemetry.render()[0]
    assert b'streamae_dropped_records_total{reason="duplicate"} 3.0' in unnamed.telemetry.render()[0]


ROWS = st.tuples(
    st.integers(0, 1),  # key
    st.sampled_from([0, 0, 0, 1, 1, -1, 70]),  # steps since the key's last record
    st.sampled_from([0.0, -0.0, 0.5, 1.0, 40.0, 41.0, 42.0]),
)


def streamed(drawn: list[tuple[int, int, float]]) -> Records:
    """Return the records of a drawn stream, behind rows from which keys learn what is usual."""
    at = [40, 40]
    found = [record(row, float(np.sin(row + key)), key) for row in range(40) for key in range(2)]
    for key, step, temp in drawn:
        at[key] = max(0, at[key] + step)
        found.append(record(at[key], temp, key))
    return found


def outcome(rig: Rig) -> tuple[list[Any], dict[Any, bytes]]:
    """Return the events, those of a key in their order, and what each key knows."""
    events = [(one.key, one.value, one.headers) for one in rig.events()]
    return sorted(events, key=lambda event: event[0] or b""), rig.state()


@pytest.mark.slow
@pytest.mark.parametrize("equal_time", ["keep", "dead_letter"])
@hypothesis.settings(max_examples=15, deadline=None, derandomize=True, phases=NO_SHRINKING)
@hypothesis.given(st.lists(ROWS, min_size=10, max_size=60), st.integers(0, 12))
def test_neither_polls_nor_a_restart_decide_what_is_a_repetition(
    equal_time: str, drawn: list[tuple[int, int, float]], turns: int
) -> None:
    """Cut into polls of 1, 7 or 1,024 records, and gone on from a checkpoint anywhere: the same events and state."""
    records, window = streamed(drawn), {"equal_time": equal_time}
    whole = played(records, 1_024, window=window)
    expected = outcome(whole)
    letters = [letter.value for letter in whole.dead_letters()]
    for polled in (1, 7):
        cut = played(records, polled, window=window)
        assert outcome(cut) == expected
        assert sorted(letter.value or b"" for letter in cut.dead_letters()) == sorted(map(bytes, letters))
    first = Rig(broker_with(records), settings=settings(window=window), max_poll_records=7)
    first.step(turns)
    first.engine.drain(first.now_ms)
    first.broker.expel(first.engine.source)
    first.engine.source.close()
    second = Rig(first.broker, first.store, settings=first.settings, max_poll_records=7)
    second.run_dry()
    assert outcome(second) == expected


def test_the_default_is_no_change_of_settings_and_a_grid_refuses_another() -> None:
    """Events carry the same settings version as before; with a grid nobody is left to believe in a setting without use."""
    assert fingerprint(Settings()) != fingerprint(settings(window={"equal_time": "drop"}))
    with pytest.raises(ValueError, match=r"window\.equal_time: cannot be used with window\.grid_ms"):
        settings(window={"equal_time": "drop", "grid_ms": 1_000})
    settings(window={"equal_time": "keep", "grid_ms": 1_000})
