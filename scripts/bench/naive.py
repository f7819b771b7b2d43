"""The loop one writes first: one record at a time, a deque a key, a forward pass of one window, a dict of statistics.

Written with care rather than to lose: inference mode, the same network, the same number of decoded steps, rows
kept as arrays, no work for keys that are still filling.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamae.batches import Record
from streamae.core.scaling import squash
from streamae.model.autoencoder import Autoencoder
from streamae.model.bundle import Bundle

Score = Callable[[NDArray[np.float32]], float]


@dataclass
class KeyStatistics:
    """Rolling statistics of one key's score."""

    count: int = 0
    mean: float = 1.0
    variance: float = 0.1
    smoothed: float = 1.0


@dataclass
class NaiveDetector:
    """Consumes records one by one; `alerts` grows with what would be published."""

    features: Sequence[str]
    window_size: int
    score: Score
    k: float = 8.0
    alpha: float = 1 - 0.5 ** (1 / 500)
    min_windows: int = 64
    alerts: list[bytes] = field(default_factory=list)
    windows: dict[str, deque[NDArray[np.float32]]] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    statistics: dict[str, KeyStatistics] = field(default_factory=dict)

    def consume(self, record: Record) -> None:
        """Decode, append, score, compare, learn."""
        fields: dict[str, Any] = json.loads(record.value or b"")
        key, time_ms = fields["machine"], fields["time"]
        if time_ms <= self.newest.get(key, -1):
            return
        self.newest[key] = time_ms
        window = self.windows.setdefault(key, deque(maxlen=self.window_size))
        window.append(np.array([fields[name] for name in self.features], dtype=np.float32))
        if len(window) < self.window_size:
            return
        self._judge(key, time_ms, self.score(np.stack(window)))

    def _judge(self, key: str, time_ms: int, score: float) -> None:
        statistics = self.statistics.setdefault(key, KeyStatistics())
        statistics.smoothed += 0.3 * (score - statistics.smoothed)
        spread = max(math.sqrt(statistics.variance), 0.1 * max(statistics.mean, 1.0))
        threshold = statistics.mean + self.k * spread
        if statistics.count >= self.min_windows and statistics.smoothed > threshold:
            event = {"key": key, "time": time_ms, "score": statistics.smoothed, "threshold": threshold}
            self.alerts.append(json.dumps(event).encode())
        weight = max(self.alpha, 1.0 / (statistics.count + 2))
        step = weight * max(-3.0 * spread, min(statistics.smoothed - statistics.mean, 3.0 * spread))
        statistics.mean += step
        statistics.variance = (1.0 - weight) * (statistics.variance + step * (statistics.smoothed - statistics.mean))
        statistics.count += 1


def network_score(bundle: Bundle) -> Score:
    """Return the bundle's score of one window (W, F), by a forward pass of one."""
    network = Autoencoder(bundle.architecture)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in bundle.weights.items()})
    network.eval()
    means, scales, recent_levels, forecast_levels = (
        torch.from_numpy(np.asarray(array, dtype=np.float32))
        for array in (
            bundle.scaling.means,
            bundle.scaling.scales,
            bundle.calibration.recent_levels,
            bundle.calibration.forecast_levels,
        )
    )
    steps = bundle.architecture.recent_steps

    def score(window: NDArray[np.float32]) -> float:
        with torch.inference_mode():
            z = squash((torch.from_numpy(window) - means) / scales, torch)[None]
            reconstruction, forecast = network(z, steps, 1)
            recent = ((z[:, -steps:] - reconstruction) ** 2).mean(dim=1) / recent_levels
            ahead = ((z[:, -1:] - forecast) ** 2).amax(dim=1) / forecast_levels
            return float((0.5 * (recent + ahead)).mean())

    return score


def null_score(window: NDArray[np.float32]) -> float:
    """Stand in for a network that costs nothing: mean square of the window."""
    return float(np.mean(window * window))
