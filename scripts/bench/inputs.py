"""What both sides of a bench get: one untrained network and JSON records of many keys.

Speed does not depend on the weights, so none are trained; errors on noise are about 1 and raise no alarms.
"""

from __future__ import annotations

import numpy as np
import torch

from streamae.batches import Record
from streamae.core.scaling import Scaling
from streamae.core.scoring import Calibration
from streamae.model.architecture import Architecture
from streamae.model.autoencoder import Autoencoder
from streamae.model.bundle import Bundle

TOPIC = "bench"
STEP_MS = 1_000
START_MS = 1_700_000_000_000


def untrained_bundle(window_size: int, features: int, hidden_size: int) -> Bundle:
    """Return an LSTM bundle with its first random weights, for standard normal features."""
    torch.manual_seed(0)
    architecture = Architecture("lstm", window_size, features, hidden_size, 1, min(8, window_size))
    weights = {name: tensor.numpy() for name, tensor in Autoencoder(architecture).state_dict().items()}
    return Bundle(
        architecture,
        tuple(f"sensor_{i}" for i in range(features)),
        Scaling(np.zeros(features), np.ones(features)),
        Calibration(np.ones(features), np.ones(features), 1.0, 0.3),
        weights,
        float(STEP_MS),
    )


class Traffic:
    """Rows of `keys` keys, key after key within a row, with offsets that go on from call to call."""

    def __init__(self, keys: int, features: tuple[str, ...], seed: int = 0) -> None:
        self.keys, self.features = keys, features
        names = [f"machine-{number:06d}" for number in range(keys)]
        cells = ", ".join(f'"{name}": %.4f' for name in features)
        self._keys = [name.encode() for name in names]
        self._templates = [f'{{"machine": "{name}", "time": %d, {cells}}}' for name in names]
        self._random = np.random.default_rng(seed)
        self._row = 0

    def rows(self, count: int) -> list[Record]:
        """Return the next `count` rows: `count * keys` records."""
        records: list[Record] = []
        for _ in range(count):
            values = self._random.standard_normal((self.keys, len(self.features))).tolist()
            time_ms, first = START_MS + STEP_MS * self._row, self._row * self.keys
            for number, (key, template, row) in enumerate(zip(self._keys, self._templates, values, strict=True)):
                value = (template % (time_ms, *row)).encode()
                records.append(Record(TOPIC, 0, first + number, time_ms, key, value, []))
            self._row += 1
        return records
