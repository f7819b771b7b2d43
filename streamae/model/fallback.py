"""A runner that outlives its device: after the first failure the CPU does the work.

The batch at hand is run again, from the same windows, so that nothing is lost and nothing doubled; a key's score
moves by rounding only. The device is not tried again in this process, since a context that failed stays broken.
This module must not know what is logged about it.
"""

from __future__ import annotations

from collections.abc import Callable

from streamae.batches import ErrorBatch, Floats
from streamae.errors import ConfigError, DeviceError, StreamaeError
from streamae.model.runner import Runner


class FallbackRunner:
    """Runs windows on a device until that fails, then on the CPU. Not thread-safe."""

    def __init__(
        self,
        open_device: Callable[[], Runner],
        open_cpu: Callable[[], Runner],
        on_fallback: Callable[[StreamaeError], None],
    ) -> None:
        """Open the device, or the CPU when that fails at once.

        Args:
            open_device: makes the runner to begin with.
            open_cpu: makes the one to go on with; called at the failure.
            on_fallback: told why, before the CPU is opened.

        Raises:
            DeviceError: neither works.
        """
        self._open_cpu, self._on_fallback = open_cpu, on_fallback
        self._has_fallen = False
        try:
            self._runner = open_device()
        except (DeviceError, ConfigError) as error:
            self._fall_back(error)

    @property
    def device_name(self) -> str:
        """Where windows run now."""
        return self._runner.device_name

    def run(self, values: Floats) -> ErrorBatch:
        """Return the errors of each window; see `Runner.run`.

        Raises:
            DeviceError: the CPU failed as well.
        """
        try:
            return self._runner.run(values)
        except DeviceError as error:
            if self._has_fallen:
                raise
            self._fall_back(error)
        return self._runner.run(values)

    def _fall_back(self, error: StreamaeError) -> None:
        self._has_fallen = True
        self._on_fallback(error)
        self._runner = self._open_cpu()
