"""The runner: errors as defined, the same whatever shares a batch, and memory that runs out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from streamae.batches import ErrorBatch, Floats
from streamae.core.scaling import Scaling
from streamae.core.scoring import score
from streamae.errors import ConfigError, DeviceError, FatalError
from streamae.model.architecture import MEMORY, Architecture, Kind
from streamae.model.bundle import Bundle
from streamae.model.networks import network_of, trained_network
from streamae.model.runner import MAX_CPU_CHUNK, ROW_MULTIPLE, Runner
from tests.model.models import KINDS, architecture, bundle, network_weights, raw_windows

WINDOWS = 300
PARTS = ("recent", "forecast", "expected", "memory")  # of errors, always there with a memory


def runner(of: Bundle, chunk_size: int = 256, stride: int = 1) -> Runner:
    """Return a runner on one CPU thread."""
    return Runner(of, "cpu", chunk_size, threads=1, stride=stride)


def together(batches: list[ErrorBatch]) -> ErrorBatch:
    """Concatenate batches."""
    return ErrorBatch(*(np.concatenate([part(b, name) for b in batches]) for name in PARTS))


def part(errors: ErrorBatch, name: str) -> Floats:
    """Return one part of errors that has to be there."""
    found = getattr(errors, name)
    assert isinstance(found, np.ndarray)
    return found


def reference(of: Bundle, values: Floats, stride: int) -> ErrorBatch:
    """Compute the errors with numpy from the network's outputs, window by window, as the definition reads."""
    network = network_of(of.architecture)
    network.load_state_dict(network_weights(of))
    z = of.scaling.apply(values)
    with torch.inference_mode():
        outputs = network.eval()(torch.from_numpy(z), of.architecture.window_size)
    whole, forecasts = (tensor.numpy().astype(np.float64) for tensor in outputs)
    recent = np.square(z - whole)[:, -of.architecture.recent_steps :].mean(axis=1)
    steps = min(stride, of.architecture.window_size - 1)
    forecast = np.square(z[:, -forecasts.shape[1] :] - forecasts)[:, -steps:].max(axis=1)
    apart = z[:, None].astype(np.float64) - of.weights[MEMORY]  # (B, M, W, F)
    memory = np.square(apart).mean(axis=2).min(axis=1)
    return ErrorBatch(recent, forecast, of.scaling.invert(forecasts[:, -1]), memory)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [1, 3, 50])
def test_errors_are_those_of_the_definition(kind: Kind, stride: int) -> None:
    """Newest steps are averaged, forecasts of the rows that are new in the window compete, units come back."""
    of = bundle(architecture(kind))
    values = raw_windows(of, 20)
    found, expected = runner(of, stride=stride).run(values), reference(of, values, stride)
    for name in PARTS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=2e-4, atol=1e-5, err_msg=name)
        assert part(found, name).dtype == np.float32


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", [3, 38])
def test_errors_do_not_depend_on_what_shares_the_batch(kind: Kind, features: int) -> None:
    """A replay batches otherwise than the first run and must come to the same verdicts.

    Errors may differ in the last bits on some CPU (1e-5 relative is the tolerance here, on those measured it was 0);
    the rounded scores that decide must be equal to the last bit.
    """
    of = bundle(architecture(kind, 32, features, hidden_size=64, recent_steps=8))
    values = raw_windows(of, WINDOWS)
    whole = runner(of).run(values)
    scores = score(whole, of.calibration).totals
    order = np.random.default_rng(2).permutation(WINDOWS)
    back = np.argsort(order)
    variants = {f"chunks of {size}": runner(of, size).run(values) for size in (7, 32)}
    for size in (1, 2, 7, 32, 256):
        parts = [runner_of.run(values[i : i + size]) for runner_of in [runner(of)] for i in range(0, WINDOWS, size)]
        variants[f"calls of {size}"] = together(parts)
    permuted = runner(of).run(values[order])
    variants["permuted"] = ErrorBatch(*(part(permuted, name)[back] for name in PARTS))
    for name, errors in variants.items():
        np.testing.assert_allclose(errors.recent, whole.recent, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(errors.forecast, whole.forecast, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(part(errors, "memory"), part(whole, "memory"), rtol=1e-5, err_msg=name)
        np.testing.assert_array_equal(score(errors, of.calibration).totals, scores, err_msg=name)


def test_an_empty_batch_is_fine() -> None:
    """Nothing due is no error."""
    errors = runner(bundle()).run(np.zeros((0, 12, 3), dtype=np.float32))
    assert [part(errors, name).shape for name in PARTS] == [(0, 3)] * 4


def test_a_model_without_memory_says_nothing_of_it() -> None:
    """Who needs the state or the time can do without."""
    of = bundle(architecture(memory_windows=0))
    errors = runner(of).run(raw_windows(of, 9))
    assert errors.memory is None
    assert score(errors, of.calibration).totals.shape == (9,)


def test_far_out_values_stay_finite() -> None:
    """A sensor that shows 1e30 is an anomaly, not the end of the process."""
    of = bundle()
    values = raw_windows(of, 4)
    values[0, -1], values[1, -1] = 1e30, -3e38
    errors = runner(of).run(values)
    assert np.isfinite(errors.recent).all()
    assert bool((errors.recent[:2] > 100 * errors.recent[2:]).all())


def test_tiny_scales_stay_finite() -> None:
    """A nearly constant feature has a scale near zero; dividing by it must not overflow 32 bits."""
    of = bundle()
    of = replace(of, scaling=Scaling(of.scaling.means, np.full(3, 1e-12)))
    errors = runner(of).run(np.full((1, 12, 3), 1e30, dtype=np.float32))
    assert np.isfinite(errors.recent).all()


def test_large_offsets_lose_no_precision() -> None:
    """A counter near 1e7 that moves by one is scaled in 64 bits: the device sees what `Scaling.apply` says."""
    of = bundle()
    of = replace(of, scaling=Scaling(np.full(3, 1e7 + 0.3), np.ones(3)))
    seen: list[Tensor] = []

    def network(z: Tensor, decode_steps: int, forecast_steps: int) -> tuple[Tensor, Tensor]:
        seen.append(z)
        return z[:, -decode_steps:], z[:, -forecast_steps:]

    values = (1e7 + np.arange(36.0).reshape(1, 12, 3) % 11 - 5).astype(np.float32)
    Runner(of, "cpu", network=network).run(values)
    np.testing.assert_allclose(seen[-1][:1], of.scaling.apply(values), rtol=1e-6)


def test_values_that_are_not_finite_are_an_error_of_ours() -> None:
    """Windowing fills in what is missing; a NaN here would poison every statistic it reaches."""
    values = np.full((1, 12, 3), np.nan, dtype=np.float32)
    with pytest.raises(FatalError, match="not finite"):
        runner(bundle()).run(values)


def test_input_is_not_changed() -> None:
    """Batches are read-only by convention; windows may be views into a ring."""
    of = bundle()
    values = raw_windows(of, 5)
    before = values.copy()
    values.setflags(write=False)
    errors = runner(of).run(values[::-1])
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(errors.recent, runner(of).run(before[::-1].copy()).recent)


def test_loading_draws_no_random_numbers() -> None:
    """Serving must not disturb whoever else uses the global generator."""
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    runner(bundle())
    assert torch.rand(1) == expected


class SmallDevice:
    """A network on a device with memory for `limit` windows; records the batches that fitted."""

    def __init__(self, of: Bundle, limit: int, error: RuntimeError) -> None:
        self.limit, self.error, self.fitted = limit, error, list[int]()
        self.network = network_of(of.architecture).eval()
        self.network.load_state_dict(network_weights(of))

    def __call__(self, z: Tensor, decode_steps: int, forecast_steps: int) -> tuple[Tensor, Tensor]:
        if len(z) > self.limit:
            raise self.error
        self.fitted.append(len(z))
        found: tuple[Tensor, Tensor] = self.network(z, decode_steps, forecast_steps)
        return found


OUT_OF_MEMORY = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), RuntimeError("HIP Out of memory")]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["torch", "text"])
def test_out_of_memory_halves_the_chunk_and_goes_on(error: RuntimeError) -> None:
    """A neighbour on the GPU costs speed, not the service; no window is lost, doubled or changed."""
    of = bundle()
    values = raw_windows(of, WINDOWS)
    device = SmallDevice(of, limit=70, error=error)
    small = Runner(of, "cpu", 256, threads=1, network=device)
    errors = small.run(values)
    assert small.chunk_size == 64
    assert max(device.fitted) == 64
    np.testing.assert_allclose(errors.recent, runner(of).run(values).recent, rtol=1e-5)
    device.fitted.clear()
    small.run(values[:64])
    assert device.fitted == [64], "the smaller chunk is kept"


def test_memory_for_nothing_is_fatal() -> None:
    """Retrying for ever would look alive and do nothing."""
    of = bundle()
    with pytest.raises(DeviceError, match="out of memory"):
        Runner(of, "cpu", network=SmallDevice(of, 0, torch.OutOfMemoryError("out of memory")))


def test_other_errors_of_the_device_come_through() -> None:
    """Only memory is worth another try; anything else says that the device is done for, and which one it was."""
    of = bundle()
    with pytest.raises(DeviceError, match="cpu: illegal instruction"):
        Runner(of, "cpu", network=SmallDevice(of, 0, RuntimeError("illegal instruction")))


@pytest.mark.parametrize(("asked", "got"), [(1, ROW_MULTIPLE), (100, 112), (10_000, MAX_CPU_CHUNK)])
def test_chunks_are_padded_and_capped(asked: int, got: int) -> None:
    """Small batches are filled up, and beyond the cache a larger chunk is slower."""
    assert runner(bundle(), asked).chunk_size == got


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    """Give the process its torch threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads_as_before")
@pytest.mark.parametrize("count", [1, 7, 8, 250, WINDOWS])
def test_threads_side_by_side_change_no_bit(count: int) -> None:
    """How many cores share the work is a question of speed alone."""
    of = bundle()
    values = raw_windows(of, count)
    alone, shared = runner(of).run(values), Runner(of, "cpu", threads=3).run(values)
    assert all(
        np.array_equal(getattr(alone, name), getattr(shared, name)) for name in ("recent", "forecast", "expected")
    )


@pytest.mark.usefixtures("threads_as_before")
def test_all_threads_have_work_before_a_chunk_is_full() -> None:
    """A batch smaller than a chunk is shared too; without a number every core counts."""
    of = bundle()
    sizes: list[int] = []

    def network(scaled: Tensor, recent: int, forecasts: int) -> tuple[Tensor, Tensor]:
        sizes.append(len(scaled))
        return scaled[:, -recent:], scaled[:, -forecasts:]

    Runner(of, "cpu", threads=4, network=network).run(raw_windows(of, 128))
    assert sorted(sizes)[-4:] == [32] * 4
    sizes.clear()
    Runner(of, "cpu", network=network).run(raw_windows(of, 96))
    assert len(sizes) - 1 == len(os.sched_getaffinity(0))


@pytest.mark.usefixtures("threads_as_before")
def test_torch_does_not_split_operations() -> None:
    """Threads inside an operation wait for each other: on a busy machine that costs nearly everything."""
    torch.set_num_threads(2)
    Runner(bundle(), "cpu", threads=2)
    assert torch.get_num_threads() == 1


def test_the_cpu_has_a_name() -> None:
    """`streamae check` and the log say where the model runs."""
    assert runner(bundle()).device_name == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_a_settings_error() -> None:
    """Asking for cuda where there is none must not end in a silent, slow CPU."""
    with pytest.raises(ConfigError, match=r"model\.device"):
        Runner(bundle(), "cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_auto_is_the_cpu_without_a_gpu() -> None:
    """The default works everywhere."""
    assert Runner(bundle()).device_name == "cpu"


gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")]


class TestOnGpu:
    """The same on a GPU, up to rounding."""

    pytestmark = gpu

    @pytest.mark.parametrize("kind", KINDS)
    def test_errors_equal_those_of_the_cpu(self, kind: Kind) -> None:
        """A bundle calibrated on one kind of device may be served on the other."""
        of = bundle(architecture(kind, 32, 8, hidden_size=64, recent_steps=8))
        values = raw_windows(of, WINDOWS)
        on_cpu, on_gpu = runner(of).run(values), Runner(of, "cuda").run(values)
        for name in PARTS:
            np.testing.assert_allclose(getattr(on_gpu, name), getattr(on_cpu, name), rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("kind", KINDS)
    def test_batch_company_moves_scores_by_rounding_only(self, kind: Kind) -> None:
        """A replay batches otherwise; scores may move within the last of their kept bits."""
        of = bundle(architecture(kind, 32, 8, hidden_size=64, recent_steps=8))
        values = raw_windows(of, WINDOWS)
        on_gpu = Runner(of, "cuda")
        whole = score(on_gpu.run(values), of.calibration).totals
        alone = score(together([on_gpu.run(values[i : i + 7]) for i in range(0, WINDOWS, 7)]), of.calibration).totals
        np.testing.assert_allclose(alone, whole, rtol=5e-5)

    def test_memory_stays_flat(self) -> None:
        """A daemon that leaks on the device dies at night."""
        of = bundle()
        on_gpu, values = Runner(of, "cuda"), raw_windows(of, 512)
        on_gpu.run(values)
        before = torch.cuda.memory_allocated()
        for _ in range(200):
            on_gpu.run(values)
        assert torch.cuda.memory_allocated() == before

    def test_the_gpu_has_a_name(self) -> None:
        """`streamae check` and the log say where the model runs."""
        assert Runner(bundle(), "auto").device_name == torch.cuda.get_device_name()


def test_scores_of_quiet_windows_are_comparable() -> None:
    """Runner and scoring fit together: whitened by its own errors, a batch scores one on average."""
    of = bundle(architecture(memory_windows=0))
    errors = runner(of).run(raw_windows(of, WINDOWS))
    calibration = type(of.calibration).fit(errors)
    assert float(score(errors, calibration).totals.mean()) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_those_of_the_network_and_change_nothing_else(kind: Kind) -> None:
    """One a window, whatever shares its batch; errors are the same bit by bit with and without them."""
    of = bundle(architecture(kind, bottleneck_size=3))
    values = raw_windows(of, 21)
    plain, coded = runner(of).run(values), Runner(of, "cpu", 8, threads=1, latent=True)
    found = coded.run(values)
    network = trained_network(of.architecture)
    network.load_state_dict(network_weights(of))
    with torch.inference_mode():
        expected = network.eval().encode(torch.from_numpy(of.scaling.apply(values)), 1)[0].numpy()
    assert plain.latent is None
    assert found.latent is not None
    assert (found.latent.shape, found.latent.dtype) == ((21, 3), np.float32)
    np.testing.assert_allclose(found.latent, expected, rtol=1e-4, atol=1e-5)
    for name in PARTS:
        np.testing.assert_array_equal(part(found, name), part(plain, name))
    alone = np.concatenate([part(coded.run(values[i : i + 1]), "latent") for i in range(21)])
    np.testing.assert_allclose(alone, found.latent, rtol=1e-5, atol=1e-6)


def test_codes_of_no_window_are_an_empty_array() -> None:
    """As the errors are, with the size of the code."""
    of = bundle(architecture("gru"))
    found = Runner(of, "cpu", threads=1, latent=True).run(raw_windows(of, 0))
    assert part(found, "latent").shape == (0, of.architecture.code_size)


def test_codes_survive_a_device_that_runs_out_of_memory() -> None:
    """Smaller chunks, the same codes, none lost."""
    of = bundle(architecture("dense"))
    values = raw_windows(of, 40)
    coded = Runner(of, "cpu", 32, threads=1, latent=True)
    expected = part(coded.run(values), "latent")
    coded._halve()
    np.testing.assert_allclose(part(coded.run(values), "latent"), expected, rtol=1e-5, atol=1e-6)


def test_a_network_without_a_code_is_refused() -> None:
    """At once, not with the first window."""
    shapes = Architecture("zscore", 12, 3, 1, 1, 4)
    of = replace(bundle(architecture(memory_windows=0)), architecture=shapes, weights={})
    with pytest.raises(ConfigError, match=r"output\.latent: zscore has no code"):
        Runner(of, "cpu", latent=True)
