"""Two doubts about a network that was just trained: does it copy whatever it is shown, and does it beat simple methods?

A network that copies reconstructs anomalies too, with a small loss and no use. Time is bounded by the constants below,
whatever the data. Windows are scaled. Must not know: where they come from, or what is done about the answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from streamae.batches import Floats
from streamae.model.architecture import BASELINES, Architecture, Kind
from streamae.model.baselines import baseline, usual_components

RIVALS: tuple[tuple[Kind, str], ...] = (  # and the head that they are compared by
    ("pca", "reconstruction"),
    ("nearest_windows", "reconstruction"),
    ("ridge", "forecast"),
)
CHECKED_WINDOWS = 256
COMPARED_WINDOWS = 2_048  # that simple methods are fitted to
MAX_INPUTS = 1_536  # of a system of equations; more take longer than the comparison is worth
SPIKE, SHIFT = 4.0, 3.0  # in standard deviations
COPIES = 0.5  # share of an injected change in the reconstruction; below, the network has a mind of its own
AS_WELL = 0.9  # of the share of normal variation in the reconstruction
CLEARLY = 0.95  # a simple method wins with an error below this part of the network's
SEED = 0  # of places, signs and orders: the same changes for every network


@dataclass(frozen=True, slots=True)
class Findings:
    """What was measured, by name, and what a person should hear about it."""

    metrics: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@torch.inference_mode()
def check_network(network: nn.Module, of: Architecture, fit: Floats, validation: Floats) -> Findings:
    """Return what is to be said about a trained network, in evaluation mode.

    Args:
        network: to check, on any device.
        of: its architecture; baselines are not compared with each other.
        fit: (N, W, F) scaled windows that it was trained on.
        validation: (M, W, F) scaled windows that it was not.
    """
    z = torch.from_numpy(_thinned(validation, CHECKED_WINDOWS))
    found = [check_copying(network, z, of.recent_steps)]
    if of.kind not in BASELINES:
        learnt = torch.from_numpy(_thinned(fit, COMPARED_WINDOWS))
        found += [_compare(network, of, kind, head, learnt, z) for kind, head in RIVALS]
    metrics = {name: value for one in found for name, value in one.metrics.items()}
    return Findings(metrics, tuple(warning for one in found for warning in one.warnings))


@torch.inference_mode()
def check_copying(network: nn.Module, z: Tensor, recent_steps: int) -> Findings:
    """Inject changes into normal windows, and see how much of them turns up in the reconstruction.

    Of a change d of the newest rows, m turns up; the copied share is 1 - sum (d - m)^2 / sum d^2, the mean over three
    forms of change: a spike, a shift of the newest rows, and rows in disorder. 1 is a copy, 0 an answer that does not
    depend on the change. The same of normal windows z and their reconstruction r is 1 - sum (z - r)^2 / sum (z - mean)^2.

    Args:
        network: with a reconstruction, else nothing is found.
        z: (B, W, F) scaled windows.
        recent_steps: newest rows that count.
    """
    usual = _reconstruction(network, z, recent_steps)
    if usual is None:
        return Findings()
    normal, shares = z[:, -recent_steps:], list[float]()
    for changed in _injected(z, recent_steps):
        moved = _reconstruction(network, changed, recent_steps)
        assert moved is not None
        change = changed[:, -recent_steps:] - normal
        shares.append(_explained(change, moved - usual, change))
    copied, known = float(np.mean(shares)), _explained(normal, usual, normal - normal.mean(dim=(0, 1)))
    metrics = {"anomaly_copied_share": copied, "normal_reconstructed_share": known}
    if copied < max(COPIES, AS_WELL * known):
        return Findings(metrics)
    text = f"it reconstructs anomalies as well as normal rows: {copied:.0%} of an injected change comes through"
    return Findings(metrics, (f"{text}; make train.bottleneck_size (of pca: components) smaller, or add noise_sd",))


def _injected(z: Tensor, recent_steps: int) -> list[Tensor]:
    """Return copies of windows (B, W, F), each with another form of change in one feature, or in the order of rows."""
    windows, steps, features = z.shape
    rng = np.random.default_rng(SEED)
    which = torch.arange(windows)
    feature = torch.from_numpy(rng.integers(features, size=windows))
    sign = torch.from_numpy(rng.choice(np.array([-1.0, 1.0], dtype=np.float32), size=windows))
    spiked, shifted = z.clone(), z.clone()
    spiked[which, torch.from_numpy(steps - 1 - rng.integers(recent_steps, size=windows)), feature] += SPIKE * sign
    shifted[which, -recent_steps:, feature] += SHIFT * sign[:, None]
    order = torch.from_numpy(np.argsort(rng.random((windows, steps)), axis=1))
    return [spiked, shifted, z[which[:, None], order]]


def _explained(target: Tensor, found: Tensor, variation: Tensor) -> float:
    """Return 1 - squared errors / squared variation, 0 where nothing varies."""
    total = float(variation.double().square().sum())
    return 1.0 - float((target - found).double().square().sum()) / total if total > 1e-9 else 0.0


def _reconstruction(network: nn.Module, z: Tensor, recent_steps: int) -> Tensor | None:
    found = _heads(network, z, recent_steps)[0]
    return None if found is None else found.cpu()


def _heads(network: nn.Module, z: Tensor, recent_steps: int) -> tuple[Tensor | None, Tensor | None]:
    """Return reconstruction of the newest rows and forecast of the newest one."""
    weight = next(network.parameters(), z)
    found: tuple[Tensor | None, Tensor | None] = network(z.to(weight.device), recent_steps, 1)
    return found


def _compare(network: nn.Module, of: Architecture, kind: Kind, what: str, fit: Tensor, z: Tensor) -> Findings:
    """Fit a method without training steps and compare its error on the rows that are scored with that of the network's same head."""
    components = usual_components(kind, 0, len(fit), of.window_size, of.features)
    inputs = of.features * {"pca": of.window_size, "ridge": components, "nearest_windows": 0}[kind]
    if inputs > MAX_INPUTS:
        return Findings()
    other = baseline(Architecture(kind, of.window_size, of.features, 1, 1, of.recent_steps, 0, components))
    other.fit(fit)
    which = ("reconstruction", "forecast").index(what)
    ours, theirs = (_heads(one, z, of.recent_steps)[which] for one in (network, other))
    assert ours is not None
    assert theirs is not None
    error, best = (float((found.cpu() - z[:, -found.shape[1] :]).square().mean()) for found in (ours, theirs))
    metrics = {f"{what}_error": error, f"{kind}_{what}_error": best}
    if best >= CLEARLY * error:
        return Findings(metrics)
    text = f"the {what} of {kind}, which needs no training steps, is better: error {best:.4f} against {error:.4f}"
    return Findings(
        metrics, (f"{text}; train longer (train.max_steps, train.patience), or compare train.kind = {kind}",)
    )


def _thinned(windows: Floats, most: int) -> Floats:
    return windows[:: -(-len(windows) // most)]
