"""Training: it learns, it is reproducible, it stops, and its bundle tells spikes from quiet."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from streamae.batches import Floats, Series
from streamae.core.scoring import score
from streamae.errors import ConfigError, DataError
from streamae.model.architecture import MEMORY, Kind
from streamae.model.bundle import Bundle, load_bundle
from streamae.model.networks import network_of
from streamae.model.runner import Runner
from streamae.training.objective import losses
from streamae.training.run import train
from tests.model.models import KINDS, QUICK, architecture, changed, network_weights, series, sines

pytestmark = pytest.mark.slow


class Recorder:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.steps = 0
        self.told: list[tuple[int, float, float | None]] = []
        self.summaries: list[str] = []

    def start(self, steps: int, summary: str) -> None:
        self.steps = steps
        self.summaries.append(summary)

    def step(self, step: int, train_loss: float, validation_loss: float | None) -> None:
        self.told.append((step, train_loss, validation_loss))

    def finish(self, summary: str) -> None:
        self.summaries.append(summary)

    @property
    def checks(self) -> list[tuple[int, float]]:
        """Steps and losses of the validation checks."""
        return [(step, loss) for step, _, loss in self.told if loss is not None]


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest) -> Bundle:
    """A bundle trained on sines, one of each kind."""
    return train([sines("a"), sines("b", seed=1)], changed(QUICK, kind=request.param))


def totals(of: Bundle, values: Floats) -> Floats:
    """Return the scores of windows."""
    return score(Runner(of, "cpu", threads=1).run(values), of.calibration).totals


def cut(of: Bundle, one: Series) -> Floats:
    """Return all windows of a series, (B, W, F)."""
    views = np.lib.stride_tricks.sliding_window_view(one.values, of.architecture.window_size, axis=0)
    return np.ascontiguousarray(views.transpose(0, 2, 1))


def test_it_learns(trained: Bundle) -> None:
    """On data it has not seen it is far better than always saying the mean."""
    assert trained.metrics["validation_loss"] < 0.25 * trained.metrics["validation_loss_of_mean"]


def test_the_loss_of_the_mean_is_about_two(trained: Bundle) -> None:
    """Two heads, each with the variance of scaled data: the yardstick beside the loss is right."""
    assert trained.metrics["validation_loss_of_mean"] == pytest.approx(2.0, rel=0.1)


def test_a_spike_scores_far_above_quiet_windows(trained: Bundle) -> None:
    """The point of it all, on a series the network has never seen."""
    fresh = sines("c", seed=9)
    quiet = totals(trained, cut(trained, fresh))
    fresh.values[300, 1] += 25.0
    loud = totals(trained, cut(trained, fresh))
    first = 300 - trained.architecture.window_size + 1
    assert loud[first] > 10 * quiet.max()
    np.testing.assert_array_equal(loud[:first], quiet[:first])


def test_the_guilty_feature_stands_out(trained: Bundle) -> None:
    """Events name features; the score says which."""
    fresh = sines("c", seed=9)
    fresh.values[300, 1] += 25.0
    newest = cut(trained, fresh)[300 - trained.architecture.window_size + 1 :][:1]
    channels = score(Runner(trained, "cpu", threads=1).run(newest), trained.calibration).channels
    assert channels[0, 1] > 10 * channels[0, 0]


def test_the_expected_value_is_near_the_truth(trained: Bundle) -> None:
    """Events show actual beside expected, in the feature's own units."""
    windows = cut(trained, sines("c", seed=9))
    expected = Runner(trained, "cpu", threads=1).run(windows).expected
    assert float(np.abs(expected - windows[:, -1]).mean()) < 1.5  # amplitude 5, noise 0.2


def test_quiet_data_scores_about_one(trained: Bundle) -> None:
    """Calibration puts scores of any model on one scale."""
    assert trained.calibration.score_mean == pytest.approx(1.0, abs=0.9)
    assert float(totals(trained, cut(trained, sines("c", seed=9))).mean()) == pytest.approx(
        trained.calibration.score_mean, rel=0.5
    )


def test_the_bundle_says_what_it_is(trained: Bundle) -> None:
    """Everything a person or the daemon asks about a model later."""
    assert trained.features == ("x0", "x1")
    assert trained.architecture == architecture(
        trained.architecture.kind,
        window_size=12,
        features=2,
        hidden_size=16,
        recent_steps=4,
        memory_windows=64,
        companion_components=12,  # half of the window's numbers
    )
    assert trained.step_ms == 60_000.0
    assert trained.metrics["rows"] == 1_200
    assert trained.metrics["fit_windows"] == 2 * (480 - 11)
    assert trained.metrics["calibration_windows"] == 2 * (120 - 11)
    assert (trained.options["kind"], trained.options["seed"]) == (trained.architecture.kind, 0)
    assert trained.versions.keys() == {"streamae", "torch", "python"}
    assert len(trained.digest) == 64


def test_the_bundle_survives_saving(trained: Bundle, tmp_path: pytest.TempPathFactory) -> None:
    """What was calibrated is what is served."""
    directory = tmp_path / "bundle"  # type: ignore[operator]
    trained.save(directory)
    found = load_bundle(directory)
    values = cut(trained, sines("c", rows=60))
    assert found.version == trained.version
    np.testing.assert_array_equal(totals(found, values), totals(trained, values))


SHORT = changed(QUICK, max_steps=12, dropout=0.2, layers=2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bundle(kind: Kind) -> None:
    """A training can be repeated and audited: order, dropout and weights come from the seed alone."""
    options = changed(SHORT, kind=kind)
    first = train([sines()], options)
    torch.manual_seed(77)
    second = train([sines()], options)
    assert first.version == second.version
    assert all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_another_seed_gives_another_bundle() -> None:
    """The seed is used."""
    assert train([sines()], SHORT).version != train([sines()], changed(SHORT, seed=1)).version


def test_the_callers_random_numbers_are_left_alone() -> None:
    """A library must not reseed its host."""
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    train([sines()], SHORT)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


@pytest.mark.parametrize(("threads", "hidden_size", "expected"), [(0, 16, 1), (2, 16, 2), (0, 129, 3)])
def test_threads_are_lent(threads: int, hidden_size: int, expected: int) -> None:
    """Small networks train on one thread unless asked otherwise; the process gets its own number back, also after errors."""
    seen: list[int] = []

    class Watcher(Recorder):
        def start(self, steps: int, summary: str) -> None:
            seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        options = changed(QUICK, max_steps=1, threads=threads, hidden_size=hidden_size)
        train([sines()], options, Watcher())
        assert (seen, torch.get_num_threads()) == ([expected], 3)
        with pytest.raises(DataError):
            train([], options)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_progress_hears_every_step_and_the_checks() -> None:
    """A person sees where training stands; validation every epoch, at most 50 steps apart, and at the end."""
    recorder = Recorder()
    train([sines()], changed(QUICK, max_steps=40), recorder)
    assert recorder.steps == 40
    assert [step for step, _, _ in recorder.told] == list(range(1, 41))
    assert [step for step, _ in recorder.checks] == [15, 30, 40]  # 469 windows are 15 steps of 32
    assert recorder.summaries[0] == "training on 469 windows, validating on 109, on cpu"
    assert recorder.summaries[1].startswith("limit reached after 40 steps: validation loss ")


def test_epochs_are_limited_too() -> None:
    """Whichever limit comes first."""
    recorder = Recorder()
    train([sines()], changed(QUICK, max_epochs=2), recorder)
    assert (recorder.steps, len(recorder.told)) == (30, 30)


def test_training_stops_when_validation_gets_no_better_and_keeps_the_best() -> None:
    """Noise cannot be learnt: going on only fits the training rows."""
    noise = series(np.random.default_rng(0).normal(size=(160, 2)))
    recorder = Recorder()
    options = changed(
        QUICK, hidden_size=48, learning_rate=3e-2, batch_size=16, max_steps=1_000, patience=3, dropout=0.2
    )
    found = train([noise], options, recorder)
    steps, checked = zip(*recorder.checks, strict=True)
    assert len(recorder.told) < 1_000
    assert recorder.summaries[1].startswith("no better for a while")
    assert len(checked) - 1 - int(np.argmin(checked)) == 3
    assert found.metrics["validation_loss"] == min(checked)
    assert found.metrics["steps"] == steps[-1]
    # The weights are those of the best check, not of the last step.
    network = network_of(found.architecture)
    network.load_state_dict(network_weights(found))
    rows = cut(found, noise)[-(32 - found.architecture.window_size + 1) :]
    with torch.inference_mode():
        again = float(losses(network.eval(), torch.from_numpy(found.scaling.apply(rows))))
    assert again == pytest.approx(min(checked), rel=1e-4)


def test_the_loss_is_that_of_both_heads() -> None:
    """Reconstruction of all rows, forecasts but of the first rows, each a mean of squares."""
    torch.manual_seed(0)
    network = network_of(architecture()).eval()
    z = torch.randn(5, 12, 3)
    with torch.inference_mode():
        reconstruction, forecasts = network(z, 12)
        found = float(losses(network, z))
    expected = (reconstruction - z).square().mean() + (forecasts[:, 3:] - z[:, 4:]).square().mean()
    assert found == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("window_size", [2, 3, 4, 5, 12])
def test_short_windows_have_a_loss(window_size: int) -> None:
    """The burn-in leaves at least one forecast."""
    of = architecture(window_size=window_size, recent_steps=1)
    assert math.isfinite(float(losses(network_of(of), torch.randn(2, window_size, 3)).detach()))


@pytest.mark.parametrize(("field", "value"), [("weight_decay", 1.0), ("l1", 1e-2)])
def test_penalties_shrink_the_weights(field: str, value: float) -> None:
    """Both regularisers act, each in its own way."""
    options = changed(QUICK, max_steps=60, weight_decay=0.0)
    plain, penalised = train([sines()], options), train([sines()], changed(options, **{field: value}))

    def size(of: Bundle) -> float:
        return float(
            sum(np.abs(array).sum() for name, array in of.weights.items() if name != MEMORY and array.ndim > 1)
        )

    assert size(penalised) < 0.9 * size(plain)


def test_gradients_are_clipped() -> None:
    """A norm far below the optimiser's own floor leaves nothing to step along; the usual one lets it move."""

    def moved(clip_norm: float) -> float:
        options = changed(QUICK, weight_decay=0.0, clip_norm=clip_norm)
        start, end = (train([sines()], changed(options, max_steps=steps)) for steps in (1, 15))
        return max(float(np.abs(end.weights[name] - start.weights[name]).max()) for name in start.weights)

    assert moved(1e-14) < 1e-5
    assert moved(1.0) > 1e-2


def test_a_burst_in_the_data_does_not_break_training() -> None:
    """Real training data holds sensor faults."""
    wild = sines()
    wild.values[100:110] = 1e20
    assert math.isfinite(train([wild], changed(QUICK, max_steps=20)).metrics["validation_loss"])


def test_constant_data_trains() -> None:
    """A quiet sensor is legal training data, and a change of it stands out."""
    found = train([series(np.full((200, 2), 3.5))], changed(QUICK, max_steps=30))
    quiet = np.full((1, 12, 2), 3.5, dtype=np.float32)
    loud = quiet.copy()
    loud[0, -1, 0] = 30.0
    assert totals(found, loud)[0] > 100 * max(totals(found, quiet)[0], 0.01)


def test_the_stride_reaches_the_calibration() -> None:
    """With a stride the worst of several forecasts counts, so its usual level is higher: it must be calibrated so."""
    alone = changed(QUICK, max_steps=20, linear_companion=False)  # which would leave no error to look at
    every, fourth = (train([sines()], changed(alone, stride=stride)) for stride in (1, 4))
    assert bool((fourth.calibration.forecast_levels > 1.1 * every.calibration.forecast_levels).all())
    np.testing.assert_allclose(fourth.calibration.recent_levels, every.calibration.recent_levels, rtol=1e-5)


def test_recent_steps_never_exceed_the_window() -> None:
    """The defaults of the two settings need not be changed together."""
    found = train([sines()], changed(QUICK, max_steps=1, window_size=4, recent_steps=8))
    assert found.architecture.recent_steps == 4


def test_unusable_data_is_told_before_training() -> None:
    """No progress, no half a bundle."""
    recorder = Recorder()
    with pytest.raises(DataError, match="only 0 windows"):
        train([sines(rows=10)], QUICK, recorder)
    assert recorder.summaries == []


def test_absurd_sizes_are_a_settings_error() -> None:
    """Each number is in bounds, the product is not: told by the settings' own names."""
    with pytest.raises(ConfigError, match="train: the network would have"):
        train([sines()], changed(QUICK, hidden_size=4_096, layers=4))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_a_settings_error() -> None:
    """As when serving."""
    with pytest.raises(ConfigError, match=r"model\.device"):
        train([sines()], changed(QUICK, device="cuda"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_bundle_can_be_trained_further(kind: Kind) -> None:
    """A retraining on newer data starts where the last one ended, on scaling and calibration of the new data."""
    options = changed(QUICK, kind=kind, max_steps=60)
    first, newer = train([sines()], options), sines(seed=5)
    newer.values[:] = newer.values + 3.0
    further, anew = (train([newer], changed(options, max_steps=1), start=start) for start in (first, None))
    assert further.metrics["validation_loss"] < 0.7 * anew.metrics["validation_loss"]
    np.testing.assert_array_equal(further.scaling.means, anew.scaling.means)
    assert further.options["started_from"] == first.version
    assert "started_from" not in anew.options


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 8}, r"train\.hidden_size: 8, but the bundle to start from has 16"),
        ({"kind": "gru"}, r"train\.kind: gru, but the bundle to start from has lstm"),
        ({"bottleneck_size": 3}, r"train\.bottleneck_size: 3"),
        ({"kind": "pca"}, "starts from nothing"),
    ],
)
def test_a_bundle_that_does_not_fit_is_no_start(changes: dict[str, object], message: str) -> None:
    """The setting to change is named, before any time is spent."""
    first = train([sines()], changed(QUICK, max_steps=1))
    with pytest.raises(ConfigError, match=message):
        train([sines()], changed(QUICK, **changes), start=first)  # type: ignore[arg-type]  # of several types


def test_a_bundle_of_other_features_is_no_start() -> None:
    """Weights belong to features, by name."""
    first = train([sines(features=3)], changed(QUICK, max_steps=1))
    with pytest.raises(ConfigError, match="other features: x2"):
        train([sines()], QUICK, start=first)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_it_learns_on_a_gpu() -> None:
    """Training uses the GPU where there is one, and its bundle is served on the CPU alike."""
    found = train([sines()], changed(QUICK, device="cuda"))
    assert found.metrics["validation_loss"] < 0.3 * found.metrics["validation_loss_of_mean"]
    assert np.isfinite(totals(found, cut(found, sines("c")))).all()
