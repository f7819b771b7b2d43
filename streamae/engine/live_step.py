"""How far apart the rows of live keys are. Reads what the windows keep; must not know what it is held against."""

from __future__ import annotations

import numpy as np

from streamae.batches import Doubles, Slots
from streamae.core.windowing import KeyWindows

LEAST_ROWS = 8  # of a key, to call the step between them usual
SAMPLE_KEYS = 1_000  # are enough for a median over keys


def usual_steps_ms(windows: KeyWindows, slots: Slots) -> Doubles:
    """Return the median time between two rows, in ms of event time, of a sample of keys; as in training, of two times.

    Args:
        windows: of all keys.
        slots: (n,) of live keys; those with fewer than `LEAST_ROWS` rows, or of one time, have no usual step.

    Returns:
        (m,) at most `SAMPLE_KEYS`, taken evenly from `slots`.
    """
    columns, size = windows.columns, windows.ring_size
    slots = slots[columns["written"][slots] >= LEAST_ROWS]
    slots = slots[:: max(1, -(-len(slots) // SAMPLE_KEYS))]
    if not len(slots):
        return np.zeros(0)
    written, back = columns["written"][slots][:, None], np.arange(size)
    times = columns["times"][slots[:, None], (written - 1 - back) % size]  # newest first
    steps = np.where(back[1:] < written, times[:, :-1] - times[:, 1:], 0).astype(np.float64)
    steps[steps <= 0] = np.nan
    found: Doubles = np.nanmedian(steps[~np.isnan(steps).all(axis=1)], axis=1)
    return found
