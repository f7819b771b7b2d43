"""What stands in for missing values, by feature: the same for training and for the live stream.

Must not know: rows, windows, or how records without a required value are refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles
from streamae.core.encoding import Encoding
from streamae.core.holding import Hold
from streamae.core.windowing import Missing
from streamae.settings.data import MissingPolicy, WindowSettings


@dataclass(frozen=True, slots=True)
class MissingValues:
    """The window settings of missing values, for F features.

    Attributes:
        policies: of each feature: that of the input it comes from.
        constants: to fill in; None = the mean of the training rows.
        hold_ms: with the policy `hold`, how long a value stands; None = until the window restarts.
    """

    policies: tuple[MissingPolicy, ...]
    constants: tuple[float | None, ...]
    hold_ms: int | None = None

    @classmethod
    def of(cls, window: WindowSettings, features: tuple[str, ...], encoding: Encoding | None) -> MissingValues:
        """Return those of features that are made by `encoding`; None = they are the inputs."""
        sources, inputs = (features, features) if encoding is None else (encoding.sources, encoding.inputs)
        overrides = {name: policy for name, policy in window.missing_overrides.items() if name in inputs}
        given = window.missing_constant
        by_name = encoding.constants(given) if encoding and given is not None else dict.fromkeys(features, given)
        return cls(
            tuple(overrides.get(source, window.missing) for source in sources),
            tuple(by_name.get(name) for name in features),
            window.hold_ms,
        )

    @property
    def hold(self) -> Hold:
        """Features whose last value stands."""
        return Hold(np.flatnonzero(np.isin(self.policies, "hold")), self.hold_ms)

    def filled_in(self, means: Doubles) -> Missing:
        """Return what the windows take; `means` (F,) of the training rows. `reject` counts as a constant there."""
        pairs = zip(self.constants, means.tolist(), strict=True)
        constants = np.array([mean if constant is None else constant for constant, mean in pairs], dtype=np.float64)
        return Missing(np.isin(self.policies, ("previous", "hold")), constants, self.hold)
