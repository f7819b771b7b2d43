"""Tags that speak on change, through the engine: with `hold` their keys are scored, as training saw them, and replayed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from streamae.batches import Series
from streamae.settings.data import WindowSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions
from streamae.training.windows import training_windows
from tests.engines import START_MS, STEP_MS, WINDOW, Rig, broker_with, settings, tiny_bundle

TAGS = ("temp", "valve", "mode")
ROWS, GRID_MS = 240, 2 * STEP_MS
HOUR_MS = 3_600_000
# How often each kind of tag changes, in rows; 0 = once, at the beginning.
KINDS: dict[str, tuple[int, int, int]] = {
    "one tag speaks always": (1, 90, 0),
    "all are rare": (40, 90, 150),
    "rarer than a window": (3 * WINDOW, 5 * WINDOW, 0),
}
kinds = pytest.mark.parametrize("every", KINDS.values(), ids=KINDS)


def changes(every: tuple[int, int, int], key: int) -> Iterator[tuple[int, str, float]]:
    """Yield time, name and value of what one tank says."""
    random = np.random.default_rng(key)
    for row in range(ROWS):
        for name, beat in zip(TAGS, every, strict=True):
            if row == 0 or (beat and (row + key) % beat == 0):
                yield START_MS + row * GRID_MS, name, round(float(random.normal()), 3)


def long_records(every: tuple[int, int, int], keys: int = 2) -> list[tuple[bytes, bytes]]:
    """One metric a record, as gateways report by exception; in the order of event time."""
    said = [
        (time_ms, b"tank-%d" % key, name, value) for key in range(keys) for time_ms, name, value in changes(every, key)
    ]
    said.sort(key=lambda one: one[0])
    return [
        (key, json.dumps({"ts": time_ms, "name": name, "value": value}).encode()) for time_ms, key, name, value in said
    ]


def rig(records: list[tuple[bytes, bytes]], window: Mapping[str, Any], **more: Any) -> Rig:
    """A process that reads one metric a record on a grid."""
    chosen = settings(
        input={"layout": "long"},
        window={"grid_ms": GRID_MS, "max_gap_ms": HOUR_MS, "max_imputed_share": 0.3} | window,
    )
    return Rig(
        broker_with(records), settings=chosen, bundle=tiny_bundle(features=TAGS), **{"max_poll_records": 500} | more
    )


def scored(rig: Rig) -> list[tuple[int, int, bytes]]:
    """Read all records; return slot, time and content of each window that was scored, in order."""
    found: list[tuple[int, int, bytes]] = []

    def note(batch: Any, *_: Any) -> None:
        found.extend(
            zip(
                batch.slots.tolist(),
                batch.end_times_ms.tolist(),
                [values.tobytes() for values in batch.values],
                strict=True,
            )
        )

    rig.engine.observer = note
    rig.run_dry()
    return sorted(found)


@kinds
def test_every_record_of_a_rare_tag_is_judged(every: tuple[int, int, int]) -> None:
    """Each change is the newest row of a window that is scored, however rarely its key speaks; nothing is starved."""
    records = long_records(every, keys=1)
    process = rig(records, {"missing": "hold"})
    ends = {time_ms for _, time_ms, _ in scored(process)}
    times = sorted({json.loads(value)["ts"] for _, value in records})
    judged = [time_ms for time_ms in times[:-1] if time_ms >= START_MS + WINDOW * GRID_MS]  # the last bucket is open
    assert judged
    assert set(judged) <= ends
    assert process.engine.stages.windows.withheld == 0


def test_the_same_stream_is_starved_when_silence_counts_as_missing() -> None:
    """What `hold` changes: two of three tags that rarely speak leave nothing to be scored under `previous`."""
    records = long_records(KINDS["one tag speaks always"])
    assert not scored(rig(records, {"missing": "previous"}))
    some = {"missing": "previous", "missing_overrides": {"valve": "hold", "mode": "hold"}}
    assert len(scored(rig(records, some))) == len(scored(rig(records, {"missing": "hold"}))) == 2 * (ROWS - WINDOW)


def test_a_tag_that_fell_silent_for_too_long_is_missing() -> None:
    """With `hold_ms` a key is judged as long as its tags are fresh, and starved when they are not."""
    records = long_records(KINDS["one tag speaks always"], keys=1)
    fresh = 50 * GRID_MS
    ends = [time_ms for _, time_ms, _ in scored(rig(records, {"missing": "hold", "hold_ms": fresh}))]
    assert 30 < len(ends) < ROWS - WINDOW
    assert max(ends) <= max(
        time_ms for time_ms, name, _ in changes(KINDS["one tag speaks always"], 0) if name == "valve"
    ) + (fresh + WINDOW * GRID_MS)


@pytest.mark.slow
@pytest.mark.parametrize("hold_ms", [None, 30 * GRID_MS])
@kinds
@pytest.mark.parametrize("stop_after", [4, 7])
def test_a_crash_in_mid_stream_changes_no_window(
    every: tuple[int, int, int], hold_ms: int | None, stop_after: int
) -> None:
    """What stands, and since when, is part of a key's stored state."""
    records, window = long_records(every), {"missing": "hold", "hold_ms": hold_ms}
    whole, first = (
        rig(records, window),
        rig(records, window, max_poll_records=len(records) // 8),
    )
    expected = scored(whole)
    first.step(stop_after)
    first.broker.expel(first.engine.source)  # type: ignore[arg-type]
    first.engine = first.build()
    rest = scored(first)
    assert first.state() == whole.state()
    assert expected
    assert set(rest) <= set(expected)


@pytest.mark.slow
@kinds
def test_live_windows_are_the_windows_of_training(every: tuple[int, int, int]) -> None:
    """A history of the same records, one tag a row, is learnt as it will be served."""
    window = WindowSettings(grid_ms=GRID_MS, max_gap_ms=HOUR_MS, missing="hold", hold_ms=HOUR_MS)
    series = []
    for key in range(2):
        said = list(changes(every, key))
        values = np.full((len(said), len(TAGS)), np.nan, np.float32)
        values[np.arange(len(said)), [TAGS.index(name) for _, name, _ in said]] = [value for *_, value in said]
        series.append(Series(f"tank-{key}", TAGS, np.array([time_ms for time_ms, *_ in said]), values, None))
    train = TrainSettings(window_size=WINDOW, calibration_share=0.5)
    found = training_windows(series, TrainOptions(train, window))
    live = {content for *_, content in scored(rig(long_records(every), {"missing": "hold", "hold_ms": HOUR_MS}))}
    is_over = found.calibration_times_ms < max(one.event_times_ms.max() for one in series) - 5 * WINDOW * GRID_MS
    assert is_over.sum() > WINDOW
    assert all(content.tobytes() in live for content in found.calibration[is_over])


def test_what_stands_for_how_long_decides_whether_state_fits() -> None:
    """State under another policy or time is another state; where no time is set, the fingerprint is what it was."""

    def fingerprint(**window: Any) -> str:
        return rig([], window).engine.checkpointer.fingerprint

    found = [fingerprint(), fingerprint(missing="hold"), *(fingerprint(missing="hold", hold_ms=ms) for ms in (1, 2))]
    assert len(set(found)) == len(found)
