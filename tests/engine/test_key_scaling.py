"""A bundle that is scaled by key, in the whole engine: visible warm-up, own units, restarts, refused settings."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from streamae.core.key_levels import MIN_ROWS
from streamae.core.scaling import Scaling
from streamae.engine.standing import by_state, standings
from streamae.errors import ConfigError
from streamae.model.bundle import Bundle
from tests.engines import FEATURES, START_MS, STEP_MS, Rig, broker_with, settings, tiny_bundle

SIZES = (1.0, 1e6)  # of the two keys
ROWS, SPIKE = 300, 250


def by_key() -> Bundle:
    """A bundle whose keys have levels of their own."""
    return replace(tiny_bundle(), scaled_by="key", scaling=Scaling(np.zeros(2), np.full(2, 0.5)))


def records(rows: int = ROWS) -> list[tuple[bytes, bytes]]:
    """Two machines six decades apart, each with a spike of 15 of its own deviations at one row."""
    values = 10.0 + np.random.default_rng(0).normal(size=(rows, 2, len(FEATURES))).clip(-2, 2)
    if rows > SPIKE:
        values[SPIKE, :, 0] += 15.0
    return [
        (
            b"machine-%d" % key,
            json.dumps(
                {"ts": START_MS + row * STEP_MS} | dict(zip(FEATURES, (size * values[row, key]).tolist(), strict=True))
            ).encode(),
        )
        for row in range(rows)
        for key, size in enumerate(SIZES)
    ]


def opened(rig: Rig) -> dict[str, dict[str, object]]:
    """Return the opening event of each key, which must be the only one."""
    events = [json.loads(record.value or b"") for record in rig.events()]
    found = {event["key"]: event for event in events if event["kind"] == "opened"}
    assert len(found) == sum(event["kind"] == "opened" for event in events)
    return found


def test_keys_of_any_size_alarm_at_their_own_spikes_in_their_own_units() -> None:
    """Both find the same spike, one in units and one in millions, and say what was expected in these."""
    rig = Rig(broker_with(records()), bundle=by_key())
    rig.run_dry()
    events = opened(rig)
    assert sorted(events) == ["machine-0", "machine-1"]
    for key, size in zip(sorted(events), SIZES, strict=True):
        (worst, *_) = events[key]["features"]  # type: ignore[misc]
        assert events[key]["start_time_ms"] == START_MS + SPIKE * STEP_MS
        assert worst["name"] == FEATURES[0]
        assert worst["actual"] == pytest.approx(25 * size, rel=0.1)
        assert worst["expected"] == pytest.approx(10 * size, rel=0.05)


def test_a_key_is_learning_until_it_knows_its_level() -> None:
    """Counted as learning before; afterwards by what its scores say, here one window of its own."""
    rig = Rig(broker_with(records(MIN_ROWS)), bundle=by_key())
    rig.run_dry()
    assert by_state(standings(rig.engine.stages, rig.engine.states))["learning"] == 2
    slots = rig.engine.states.table.resident()
    assert rig.engine.stages.decision.columns["count"][slots].tolist() == [0, 0]
    for key, value in records(MIN_ROWS + 1)[-2:]:
        rig.broker.produce("sensors", key, value, timestamp=START_MS, partition=sum(key) % 2)
    rig.run_dry()
    assert rig.engine.stages.decision.columns["count"][slots].tolist() == [1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [1, 7, MIN_ROWS, 2 * SPIKE, 2 * SPIKE + 1])
def test_a_crash_changes_no_event(kept: int) -> None:
    """A process that goes away after any number of records, without a clean stop, leaves the same events behind."""
    whole = Rig(broker_with(records()), bundle=by_key())
    whole.run_dry()
    rig = Rig(broker_with(records()), bundle=by_key(), max_poll_records=13)
    while sum(rig.engine.source.lag().values()) > 2 * ROWS - kept or not len(rig.engine.partitions):
        rig.step()
    rig.broker.expel(rig.engine.source)  # type: ignore[arg-type]
    rig.engine = rig.build()
    rig.run_dry()
    assert sorted(record.value or b"" for record in rig.events()) == sorted(
        record.value or b"" for record in whole.events()
    )


def test_the_bundle_says_how_it_is_scaled() -> None:
    """Left out, the setting follows the bundle; said otherwise it is refused with what to do."""
    for bundle, asked in ((by_key(), "global"), (tiny_bundle(), "key")):
        with pytest.raises(ConfigError, match=rf"features.scaling: {asked}, but the bundle .* train again"):
            Rig(broker_with([]), bundle=bundle, settings=settings(features={"scaling": asked}))
        Rig(broker_with([]), bundle=bundle, settings=settings(features={"scaling": bundle.scaled_by}))
    assert by_key().version != tiny_bundle().version
