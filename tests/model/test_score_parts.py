"""Memory and linear companion from rows to scores: neither looks ahead, and neither carries over from key to key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from streamae.batches import Floats, RowBatch
from streamae.core.scoring import score
from streamae.core.windowing import KeyWindows, Missing, join
from streamae.model.architecture import COMPANION
from streamae.model.bundle import Bundle
from streamae.model.runner import Runner
from tests.core_batches import START_MS, cleared
from tests.model.models import STEP_MS, architecture, bundle, without_companion

KEYS, ROWS, FEATURES, SIZE = 3, 90, 3, 12
GAP_AT, POISONED_AT = 30, 50
POISONED_KEY, POISONED_FEATURE = 1, 1
WHOLE = bundle(architecture("lstm", SIZE, FEATURES, companion_components=4))
FAR = [np.nan, np.inf, -np.inf, 1e30, -1e30]


def linear(of: Bundle) -> Bundle:
    """Return the same bundle whose errors are the linear companion's alone: all weight on its side."""
    shares = {f"{COMPANION}shares": np.ones(2, dtype=np.float32)}
    return replace(of, weights=dict(of.weights) | shares)


def memory_part(values: Floats) -> Floats:
    """Return distances from all that is remembered, and what the memory adds to the score, (B, 2 F)."""
    errors = Runner(WHOLE, "cpu", threads=1).run(values)
    silent = replace(errors, recent=np.zeros_like(errors.recent), forecast=np.zeros_like(errors.forecast))
    assert errors.memory is not None
    return np.concatenate([errors.memory, score(silent, WHOLE.calibration).channels], axis=1)


def companion_part(values: Floats) -> Floats:
    """Return the closed forms' errors of the newest rows and of the forecast, (B, 2 F)."""
    errors = Runner(linear(WHOLE), "cpu", threads=1).run(values)
    return np.concatenate([errors.recent, errors.forecast], axis=1)


def whole_score(values: Floats) -> Floats:
    """Return the score of each feature and of the window, of network, companion and memory, (B, F + 1)."""
    found = score(Runner(WHOLE, "cpu", threads=1).run(values), WHOLE.calibration)
    return np.concatenate([found.channels, found.totals[:, None]], axis=1)


PARTS: dict[str, Callable[[Floats], Floats]] = {
    "memory": memory_part,
    "companion": companion_part,
    "score": whole_score,
}
each_part = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)


def rows(seed: int = 0) -> Floats:
    """Return (N, K, F) rows of the keys in the features' own units, a few of them far out."""
    numbers = np.random.default_rng(seed).standard_t(3, (ROWS, KEYS, FEATURES))
    return (numbers * WHOLE.scaling.scales + WHOLE.scaling.means).astype(np.float32)


def figures(part: Callable[[Floats], Floats], values: Floats, batch_rows: int = ROWS) -> Floats:
    """Play rows (N, K, F) of the keys through windows and model; return a part of each score, (N, K, ...).

    All keys are away for long before row `GAP_AT`. NaN where a key has no window yet, or none again.

    Args:
        part: what to return of windows.
        values: rows of all keys in lock-step.
        batch_rows: how many of them arrive together.
    """
    count = len(values)
    times = START_MS + STEP_MS * (np.arange(count) + 1_000 * (np.arange(count) >= GAP_AT))
    arriving = RowBatch(
        np.tile(np.arange(KEYS, dtype=np.int32), count),
        np.arange(count * KEYS),
        np.repeat(times, KEYS),
        values.reshape(-1, FEATURES),
    )
    missing = Missing(np.ones(FEATURES, dtype=np.bool_), WHOLE.scaling.means.astype(np.float32))
    windows: KeyWindows = cleared(
        KeyWindows(KEYS, SIZE, FEATURES, stride=1, max_gap_ms=10 * STEP_MS, missing=missing, max_imputed_share=1.0),
        KEYS,
    )
    step = KEYS * batch_rows
    cuts = [slice(start, start + step) for start in range(0, count * KEYS, step)]
    found = join(
        [windows.push(RowBatch(*(getattr(arriving, name)[cut] for name in RowBatch.__slots__))) for cut in cuts]
    )
    told = part(found.values)
    placed = np.full((count * KEYS, told.shape[1]), np.nan, dtype=np.float32)
    placed[found.offsets] = told
    return placed.reshape(count, KEYS, -1)


def has_window() -> np.ndarray:
    """Tell at which rows (N,) a key has a window."""
    places = np.arange(ROWS)
    return np.where(places < GAP_AT, places, places - GAP_AT) >= SIZE - 1


@each_part
@pytest.mark.parametrize("stop", [12, GAP_AT, 45, 89])
def test_a_prefix_has_the_figures_of_the_whole(part: Callable[[Floats], Floats], stop: int) -> None:
    """What is said of a row is the same to the bit when the series ends there, goes on, or goes on quite otherwise."""
    values = rows()
    values[[11, GAP_AT - 1, 44, 88], :, 0] = np.nan  # filled in by what came before, though better may come after
    other = values.copy()
    other[stop:] = 1e3 * rows(seed=1)[stop:] - 500.0
    whole = figures(part, values)
    assert np.isfinite(whole[has_window()]).all()
    np.testing.assert_array_equal(figures(part, values[:stop]), whole[:stop])
    np.testing.assert_array_equal(figures(part, other)[:stop], whole[:stop])
    np.testing.assert_array_equal(figures(part, values, batch_rows=7), whole)
    assert not np.array_equal(figures(part, other)[ROWS - 1], whole[ROWS - 1])


@each_part
@pytest.mark.parametrize("features", [[POISONED_FEATURE], [0, 1, 2]], ids=["one-feature", "all-features"])
@pytest.mark.parametrize("poison", FAR)
def test_poison_stays_with_its_key_and_leaves_with_its_window(
    part: Callable[[Floats], Floats], features: list[int], poison: float
) -> None:
    """Missing, infinite or absurd values change no figure of another key, make none infinite, and do not linger."""
    values = rows()
    clean = figures(part, values)
    values[POISONED_AT, POISONED_KEY, features] = poison
    found = figures(part, values)
    others = [key for key in range(KEYS) if key != POISONED_KEY]
    np.testing.assert_array_equal(found[:, others], clean[:, others])
    assert np.isfinite(found[has_window()]).all()
    touched = slice(POISONED_AT, POISONED_AT + SIZE)
    for rest in (slice(POISONED_AT), slice(touched.stop, None)):
        np.testing.assert_array_equal(found[rest, POISONED_KEY], clean[rest, POISONED_KEY])
    assert not np.array_equal(found[touched, POISONED_KEY], clean[touched, POISONED_KEY])


@pytest.mark.parametrize("poison", FAR)
def test_a_poisoned_feature_moves_no_other_feature_of_the_memory(poison: float) -> None:
    """Each feature is remembered by itself, so that an absurd one leaves the distances of its neighbours as they were."""
    values = rows()
    clean = figures(memory_part, values)
    values[POISONED_AT, POISONED_KEY, POISONED_FEATURE] = poison
    found = figures(memory_part, values)
    spared = [place for place in range(2 * FEATURES) if place % FEATURES != POISONED_FEATURE]
    np.testing.assert_array_equal(found[..., spared], clean[..., spared])


def test_each_part_has_a_say_in_the_score() -> None:
    """Without its memory, or without its companion, a window scores otherwise: the parts above are parts of it."""
    values = np.swapaxes(rows(), 0, 1)[:, -SIZE:]
    errors = Runner(WHOLE, "cpu", threads=1).run(values)
    whole = score(errors, WHOLE.calibration).totals
    forgetful = score(replace(errors, memory=None), WHOLE.calibration).totals
    unaccompanied = score(Runner(without_companion(WHOLE), "cpu", threads=1).run(values), WHOLE.calibration).totals
    assert (whole > forgetful).all()
    assert (np.abs(whole - unaccompanied) > 1e-3).all()
