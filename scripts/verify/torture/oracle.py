"""What must come out, computed from the records alone: no code of the engine takes part.

With stride 1 the k-th record of a key completes a window from k = W on; each such record yields one audit message
whose score is the exponentially smoothed mean of its squared values. Every planted anomaly opens one episode.
Must not know: the engine, Kafka, Redis.
"""

from __future__ import annotations

import numpy as np

from scripts.verify.torture.checkers import Output
from scripts.verify.torture.workload import START_MS, STEP_MS, Workload

WINDOW = 8
SMOOTHING = 0.3  # threshold.smoothing of the workers


def expected_audit(workload: Workload) -> list[Output]:
    """Return one message a window, in order of production."""
    smoothed = _smoothed(workload)
    found = []
    for number in range((WINDOW - 1) * workload.keys, workload.records):
        key, row = int(workload.order[number]), number // workload.keys
        found.append(
            Output(
                (key % workload.partitions, int(workload.offsets[number])),
                workload.key(key),
                (START_MS + row * STEP_MS, float(smoothed[row, key])),
            )
        )
    return found


def expected_openings(workload: Workload) -> set[tuple[int, int]]:
    """Return (partition, offset) of the record that opens each episode."""
    spikes = workload.spikes.items()
    at = {(int(key), number // workload.keys): number for number, key in enumerate(workload.order.tolist())}
    return {(key % workload.partitions, int(workload.offsets[at[key, row]])) for key, row in spikes}


def _smoothed(workload: Workload) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the smoothed score by row and key, NaN where there is no window yet."""
    totals = (workload.values.astype(np.float64) ** 2).mean(axis=2)
    smoothed = np.full(totals.shape, np.nan)
    smoothed[WINDOW - 1] = totals[WINDOW - 1]
    for row in range(WINDOW, workload.rows):
        smoothed[row] = smoothed[row - 1] + SMOOTHING * (totals[row] - smoothed[row - 1])
    return smoothed
