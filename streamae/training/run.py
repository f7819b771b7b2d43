"""Offline training: fit the network, calibrate it on newer data, return a bundle.

The same series, options and seed give the same bundle on a CPU with the same number of threads. Knows nothing
about files, settings trees or the live stream.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from streamae import __version__
from streamae.batches import ErrorBatch, Floats, Series
from streamae.core.scoring import Calibration, score
from streamae.errors import ConfigError
from streamae.model.architecture import BASELINES, MEMORY, Architecture, is_of_network
from streamae.model.baselines import Baseline, usual_components
from streamae.model.bundle import Bundle, Scalar
from streamae.model.companion import fitted_companion, usual_companion
from streamae.model.encoder_decoder import EncoderDecoder
from streamae.model.networks import network_of
from streamae.model.remembered_windows import remember
from streamae.model.runner import Runner, choose_device
from streamae.settings.training import TrainSettings
from streamae.training.checks import check_network
from streamae.training.folds import errors_by_fold
from streamae.training.objective import Objective, burn_in, losses
from streamae.training.options import SMALL_HIDDEN_SIZE, TrainOptions
from streamae.training.outcome import Training
from streamae.training.progress import NoProgress, PartProgress, Progress
from streamae.training.score_history import score_history
from streamae.training.search import choose_kind, choose_size, table
from streamae.training.windows import TrainingWindows, training_windows

CHECK_STEPS = 50  # most optimiser steps between two validation checks
VALIDATION_WINDOWS = 2_048  # evenly thinned: enough to tell better from worse


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """A fitted network and how it went."""

    weights: dict[str, Tensor]
    steps: int
    train_loss: float
    validation_loss: float
    reason: str
    checks: list[tuple[int, float, float]]


def train(
    series: Sequence[Series], options: TrainOptions, progress: Progress | None = None, start: Bundle | None = None
) -> Bundle:
    """Train, calibrate and return a bundle.

    Args:
        series: one per key, all with the same features, in the order of time.
        options: what to train and how.
        progress: told about every step; None = nobody is.
        start: a bundle of the same features and shapes whose weights are trained further; scaling, calibration and
            memory are made anew. None = random weights.

    Raises:
        DataError: the series cannot be used; the message says what to do.
        ConfigError: the options do not fit together or `start`, or ask for a device that is not there.
    """
    return run_training(series, options, progress, start).bundle


def run_training(
    series: Sequence[Series],
    options: TrainOptions,
    progress: Progress | None = None,
    start: Bundle | None = None,
    *,
    tune: bool = False,
) -> Training:
    """Do what `train` does, and return with the bundle what a report wants to know.

    Args:
        series, options, progress, start: see `train`.
        tune: look for the size of the bottleneck first (`search.choose_size`).

    Raises:
        DataError, ConfigError: see `train`.
    """
    is_auto, progress = options.train.kind == "auto", progress or NoProgress()
    if start is not None and (tune or is_auto):
        raise ConfigError(["train: a bundle to start from has its kind and size: leave --tune, auto or --from out"])
    if tune and is_auto:
        raise ConfigError(["train: --tune needs a train.kind: let auto find one first, then tune that"])
    before = torch.get_num_threads()
    is_small = options.train.hidden_size <= SMALL_HIDDEN_SIZE
    torch.set_num_threads(options.model.threads or (1 if is_small else before))
    try:
        windows = training_windows(series, options)

        def fit(chosen: TrainOptions, its_progress: Progress) -> Training:
            return _train(windows, chosen, its_progress, start)

        if is_auto:
            found, candidates = choose_kind(options, windows.calibration, fit, progress)
            progress.finish(f"{table(candidates)}\n{found.bundle.architecture.kind} is taken{_warned(found.warnings)}")
            return dataclasses.replace(found, candidates=tuple(candidates), compared="kind")
        if tune:
            shape = _architecture(options.train, windows.features, len(windows.fit), 0)
            size, candidates = choose_size(options, shape, windows.calibration, fit, progress)
            progress.finish(
                f"{table(candidates)}\ntrain.bottleneck_size = {size} is taken{' (the usual)' * (not size)}"
            )
            found = fit(options.with_train(bottleneck_size=size), progress)
            return dataclasses.replace(found, candidates=tuple(candidates), compared="size")
        return fit(options, progress)
    finally:
        torch.set_num_threads(before)


def _train(windows: TrainingWindows, options: TrainOptions, progress: Progress, start: Bundle | None) -> Training:
    validation = windows.inputs.apply(_thinned(windows.calibration, VALIDATION_WINDOWS))
    bundle, network, fit = _fitted(windows, windows.fit, validation, options, progress, start)
    checked = check_network(network.eval(), bundle.architecture, windows.fit, validation)
    runner = Runner(bundle, options.model.device, stride=options.window.stride)
    errors = runner.run(windows.calibration)
    if options.train.calibration_folds > 1:

        def judge(others: Floats, judged: Floats, title: str) -> ErrorBatch:
            one, _, _ = _fitted(windows, others, validation, options, PartProgress(progress, title), start=None)
            return Runner(one, options.model.device, stride=options.window.stride).run(judged)

        errors = errors_by_fold(windows, options.train.calibration_folds, errors, judge)
    calibration = Calibration.fit(errors, by_feature=options.train.whitening == "feature")
    history = score_history(windows.derived, options, windows.scaling, runner, calibration)
    metrics = _metrics(windows, validation, fit) | _percentiles(score(errors, calibration).totals) | checked.metrics
    warnings = (*windows.doubts, *checked.warnings)
    progress.finish(
        f"{fit.reason} after {fit.steps} steps: validation loss {fit.validation_loss:.4f}, "
        f"{metrics['validation_loss_of_mean']:.4f} for always saying the mean" + _warned(warnings)
    )
    done = dataclasses.replace(bundle, calibration=calibration, metrics=metrics, history=history)
    return Training(done, windows, np.array(fit.checks, dtype=np.float64), warnings)


def _fitted(
    windows: TrainingWindows,
    chosen: Floats,
    validation: Floats,
    options: TrainOptions,
    progress: Progress,
    start: Bundle | None,
) -> tuple[Bundle, nn.Module, _Fit]:
    """Train on the chosen scaled windows (B, W, F); return a bundle that is not calibrated, its network, and how it went."""
    device = choose_device(options.model.device)
    memory = remember(chosen, options.train.memory_windows) if options.train.memory_windows else None
    architecture = _architecture(options.train, windows.features, len(chosen), 0 if memory is None else len(memory))
    with torch.random.fork_rng():  # the caller's random numbers stay as they were
        torch.manual_seed(options.train.seed)
        network = network_of(architecture, options.train.dropout)
        if start is not None:
            network.load_state_dict(
                _weights_to_start_from(start, architecture, windows.features, options.features.scaling)
            )
        if isinstance(network, EncoderDecoder):
            fit = _fit(network.to(device), chosen, validation, options.train, progress)
        else:
            fit = _fit_at_once(network, chosen, validation, progress)
    network.load_state_dict(fit.weights)
    has_companion = architecture.companion_components > 0
    companion = fitted_companion(architecture, chosen, network.eval(), validation) if has_companion else {}
    unit = np.ones(len(windows.features))
    bundle = Bundle(
        architecture,
        windows.features,
        windows.scaling,
        Calibration(unit, unit, 1.0, 1.0),
        {name: tensor.cpu().numpy() for name, tensor in fit.weights.items()}
        | ({} if memory is None else {MEMORY: memory})
        | companion,
        windows.step_ms,
        {},
        _recorded(options) | ({} if start is None else {"started_from": start.version}),
        windows.digest,
        {"streamae": __version__, "torch": torch.__version__, "python": platform.python_version()},
        encoding=windows.derived.encoding,
        scaled_by=options.features.scaling,
        origins=windows.origins,
    )
    return bundle, network, fit


def _warned(warnings: Sequence[str]) -> str:
    return "".join(f"\nwarning: {text}" for text in warnings)


def _weights_to_start_from(
    start: Bundle, of: Architecture, features: tuple[str, ...], scaling: str
) -> dict[str, Tensor]:
    """Return the weights of another bundle's network.

    Raises:
        ConfigError: they do not fit; the message names what differs.
    """
    if of.kind in BASELINES:
        raise ConfigError([f"train: {of.kind} is fitted at once and starts from nothing: leave --from out"])
    if start.features != features:
        odd = sorted(set(start.features) ^ set(features)) or ["the order of features"]
        raise ConfigError([f"train: the bundle to start from has other features: {odd[0]}"])
    if start.scaled_by != scaling:
        raise ConfigError([f"features.scaling: {scaling}, but the bundle to start from has {start.scaled_by}"])
    for name in ("kind", "window_size", "hidden_size", "layers", "bottleneck_size"):
        theirs, ours = getattr(start.architecture, name), getattr(of, name)
        if theirs != ours:
            raise ConfigError([f"train.{name}: {ours}, but the bundle to start from has {theirs}"])
    return {name: torch.from_numpy(array.copy()) for name, array in start.weights.items() if is_of_network(name)}


def _fit(network: EncoderDecoder, fit: Floats, validation: Floats, train: TrainSettings, progress: Progress) -> _Fit:
    """Run the optimiser until a limit or no progress; return the weights of the best validation check."""
    device = next(network.parameters()).device
    windows, held_out = torch.from_numpy(fit), torch.from_numpy(validation)
    epoch_steps = -(-len(windows) // train.batch_size)
    most = min(train.max_steps, train.max_epochs * epoch_steps)
    every = min(epoch_steps, CHECK_STEPS)
    objective = Objective(network, train).to(device)
    optimiser = torch.optim.AdamW(objective.parameters(), train.learning_rate, weight_decay=train.weight_decay)
    order = torch.Generator().manual_seed(train.seed)
    best, best_weights, checks_without, train_loss, reason = float("inf"), _copied(network), 0, 0.0, "limit reached"
    progress.start(most, f"training on {len(fit)} windows, validating on {len(validation)}, on {device.type}")
    step, checks, since_check = 0, list[tuple[int, float, float]](), list[float]()
    while step < most and checks_without < train.patience:
        shuffled = torch.randperm(len(windows), generator=order)
        for chosen in torch.split(shuffled, train.batch_size):
            step += 1
            train_loss = _step(objective, optimiser, windows[chosen].to(device), train.clip_norm)
            is_check = step % every == 0 or step == most
            since_check.append(train_loss)
            held_out_loss = _validate(network, held_out, device) if is_check else None
            if held_out_loss is not None:
                checks.append((step, float(np.mean(since_check)), held_out_loss))
                since_check, checks_without = [], checks_without + 1
                if held_out_loss < best:
                    best, best_weights, checks_without = held_out_loss, _copied(network), 0
            progress.step(step, train_loss, held_out_loss)
            if step == most or checks_without == train.patience:
                break
    if checks_without == train.patience:
        reason = "no better for a while"
    return _Fit(best_weights, step, train_loss, best, reason, checks)


def _fit_at_once(network: nn.Module, fit: Floats, validation: Floats, progress: Progress) -> _Fit:
    """Fit a baseline, which needs no steps."""
    assert isinstance(network, Baseline)
    progress.start(1, f"fitting to {len(fit)} windows, validating on {len(validation)}")
    with torch.no_grad():
        network.fit(torch.from_numpy(fit))
    loss, held_out = (_validate(network, torch.from_numpy(part), torch.device("cpu")) for part in (fit, validation))
    progress.step(1, loss, held_out)
    return _Fit(_copied(network), 1, loss, held_out, "fitted", [(1, loss, held_out)])


def _step(objective: Objective, optimiser: torch.optim.Optimizer, z: Tensor, clip_norm: float) -> float:
    """Take one optimiser step on scaled windows (B, W, F); return their loss without penalties."""
    objective.train()
    optimiser.zero_grad(set_to_none=True)
    total, loss = objective(z)
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_(objective.parameters(), clip_norm)
    optimiser.step()
    return float(loss.detach())


@torch.inference_mode()
def _validate(network: nn.Module, windows: Tensor, device: torch.device) -> float:
    network.eval()
    sums = [float(losses(network, part.to(device))) * len(part) for part in torch.split(windows, 256)]
    return sum(sums) / len(windows)


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _architecture(train: TrainSettings, names: Sequence[str], windows: int, memory_windows: int) -> Architecture:
    assert train.kind != "auto"  # it was chosen
    features, components, companion = len(names), 0, 0
    if train.kind not in BASELINES and train.linear_companion:
        companion = usual_companion(windows, train.window_size, features)
    if train.kind in BASELINES:
        components = usual_components(train.kind, train.components, windows, train.window_size, features)
    try:
        return Architecture(
            train.kind,
            train.window_size,
            features,
            train.hidden_size,
            train.layers,
            min(train.recent_steps, train.window_size),
            memory_windows,
            components,
            0 if train.kind in BASELINES else train.bottleneck_size,
            companion,
        )
    except ValueError as error:
        raise ConfigError([f"train: {error}"]) from error


def _thinned(windows: Floats, most: int) -> Floats:
    return windows[:: -(-len(windows) // most)]


def _metrics(windows: TrainingWindows, validation: Floats, fit: _Fit) -> dict[str, float]:
    """Return what a person wants to know about a training; `..._of_mean` is the loss of answering 0 everywhere."""
    squares = np.square(validation, dtype=np.float64)
    return {
        "rows": float(windows.rows),
        "records_left_out": float(windows.left_out),
        "fit_windows": float(len(windows.fit)),
        "calibration_windows": float(len(windows.calibration)),
        "steps": float(fit.steps),
        "train_loss": fit.train_loss,
        "validation_loss": fit.validation_loss,
        "validation_loss_of_mean": float(squares.mean() + squares[:, burn_in(validation.shape[1]) :].mean()),
    }


def _percentiles(scores: Floats) -> dict[str, float]:
    return {f"calibration_score_p{p}": float(np.percentile(scores, p)) for p in (50, 99)}


def _recorded(options: TrainOptions) -> dict[str, Scalar]:
    """Return the options that shape the result as plain values; what is derived is in the bundle itself."""
    train = options.train.model_dump(exclude={"search_budget_ms"})
    window = options.window.model_dump(exclude={"missing_overrides", "late", "duplicate"})
    derived = {"max_gap_ms": options.max_gap_ms, "scaling": options.features.scaling}
    overrides = {f"missing_overrides.{name}": policy for name, policy in options.window.missing_overrides.items()}
    return train | window | derived | overrides
