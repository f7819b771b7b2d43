"""A device that fails: the batch at hand is done on the CPU, and so is everything after it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from streamae.errors import ConfigError, DeviceError, FatalError, StreamaeError
from streamae.model.autoencoder import Autoencoder
from streamae.model.bundle import Bundle
from streamae.model.fallback import FallbackRunner
from streamae.model.runner import Runner
from tests.model.models import bundle, network_weights, raw_windows

ILLEGAL = RuntimeError("CUDA error: an illegal memory access was encountered")


class Device:
    """A network on a device that works for so many forward passes, then raises."""

    def __init__(self, of: Bundle, passes: int, error: RuntimeError = ILLEGAL) -> None:
        self.passes, self.error, self.tries = passes, error, 0
        self.network = Autoencoder(of.architecture).eval()
        self.network.load_state_dict(network_weights(of))

    def __call__(self, z: Tensor, decode_steps: int, forecast_steps: int) -> tuple[Tensor, Tensor]:
        self.tries += 1
        if self.tries > self.passes:
            raise self.error
        found: tuple[Tensor, Tensor] = self.network(z, decode_steps, forecast_steps)
        return found


def on_cpu(of: Bundle) -> Runner:
    """Return the runner that takes over."""
    return Runner(of, "cpu", threads=1)


@pytest.mark.parametrize(
    "error", [ILLEGAL, torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("cuDNN error: EXECUTION_FAILED")]
)
@pytest.mark.parametrize("passes", [0, 1, 2])
def test_no_window_is_lost_or_changed(passes: int, error: RuntimeError) -> None:
    """At the start, in the first batch or later: the errors are those of the CPU, and the failure is told once."""
    of = bundle()
    values, expected = raw_windows(of, 40), on_cpu(of).run(raw_windows(of, 40))
    told: list[StreamaeError] = []
    runner = FallbackRunner(
        lambda: Runner(of, "cpu", threads=1, network=Device(of, passes, error)), lambda: on_cpu(of), told.append
    )
    for _ in range(4):
        found = runner.run(values)
        np.testing.assert_allclose(found.recent, expected.recent, rtol=1e-5)
        np.testing.assert_allclose(found.forecast, expected.forecast, rtol=1e-5)
    assert [type(each) for each in told] == [DeviceError]
    assert str(told[0]).startswith("cpu: ")
    assert runner.device_name == "cpu"


def test_a_failed_device_is_left_alone() -> None:
    """A context that failed once stays broken; trying it each time would cost every batch the time of the failure."""
    of, opened = bundle(), [0]
    device = Device(of, 1)

    def open_cpu() -> Runner:
        opened[0] += 1
        return on_cpu(of)

    runner = FallbackRunner(lambda: Runner(of, "cpu", threads=1, network=device), open_cpu, lambda _: None)
    for _ in range(5):
        runner.run(raw_windows(of, 8))
    assert device.tries == 2
    assert opened == [1]


def test_a_device_that_is_not_there_counts_as_failed() -> None:
    """`model.device = cuda` with a fallback starts without a GPU."""
    of = bundle()
    told: list[StreamaeError] = []

    def open_device() -> Runner:
        raise ConfigError(["model.device: cuda, but torch sees no GPU"])

    runner = FallbackRunner(open_device, lambda: on_cpu(of), told.append)
    assert len(runner.run(raw_windows(of, 3)).recent) == 3
    assert len(told) == 1


def test_a_cpu_that_fails_too_is_the_end() -> None:
    """There is nothing behind it; going round in circles would look alive and do nothing."""
    of = bundle()
    runner = FallbackRunner(
        lambda: Runner(of, "cpu", threads=1, network=Device(of, 1)),
        lambda: Runner(of, "cpu", threads=1, network=Device(of, 2)),
        lambda _: None,
    )
    runner.run(raw_windows(of, 8))
    with pytest.raises(DeviceError, match="illegal memory access"):
        runner.run(raw_windows(of, 8))


def test_bad_windows_are_no_failure_of_the_device() -> None:
    """An error that is not finite comes from the windows, which would be as bad on the CPU."""
    of = bundle()
    told: list[StreamaeError] = []
    runner = FallbackRunner(lambda: on_cpu(of), lambda: on_cpu(of), told.append)
    with pytest.raises(FatalError, match="not finite"):
        runner.run(np.full((1, 12, 3), np.nan, dtype=np.float32))
    assert told == []
