"""Anomalies injected into normal windows, and how well scores tell them from the windows as they were.

It compares detectors where there are no labels: which of them sees changes of six simple forms in rows that none was
fitted to. The forms are none of a particular data set, so a choice by them favours what is good in general; what they
cannot show is said by labelled data only. Pure arithmetic: must not know networks, bundles or what is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamae.batches import Doubles, Flags, Floats

SPIKE, SHIFT, NOISE = 3.0, 1.5, 1.0  # in standard deviations of a feature
AMPLIFIED, STRETCHED = 2.0, 2.0  # times the deviation from the window's mean; times the time
FEATURE_SHARE = 0.25  # of the features that change in a window, at least one
ROW_SHARE = 0.25  # newest part of a window that changes, at least two rows
LEAST_CHANGE = 0.1  # in standard deviations: a window that an injection leaves as it is, is no anomaly
LEAST_WINDOWS = 8  # of a form, else it is not counted


@dataclass(frozen=True, slots=True, eq=False)
class _Windows:
    """Windows to change, and the draws that all forms share.

    Attributes:
        values: (B, W, F) float64 in the features' own units.
        scales: (F,) standard deviations.
        newest: rows at the end that change.
        signs: (B, 1, 1) -1 or 1.
        random: for what a form draws beside.
    """

    values: Doubles
    scales: Doubles
    newest: int
    signs: Doubles
    random: np.random.Generator


def _spike(of: _Windows) -> Doubles:
    changed = of.values.copy()
    windows, rows, _ = changed.shape
    at = rows - 1 - of.random.integers(of.newest, size=windows)
    changed[np.arange(windows), at] += SPIKE * of.signs[:, 0] * of.scales
    return changed


def _level_shift(of: _Windows) -> Doubles:
    changed = of.values.copy()
    changed[:, -of.newest :] += SHIFT * of.signs * of.scales
    return changed


def _frozen(of: _Windows) -> Doubles:
    changed = of.values.copy()
    changed[:, -of.newest :] = changed[:, -of.newest - 1 : -of.newest]
    return changed


def _noise(of: _Windows) -> Doubles:
    changed = of.values.copy()
    newest = changed[:, -of.newest :]
    newest += NOISE * of.random.normal(size=newest.shape) * of.scales
    return changed


def _amplified(of: _Windows) -> Doubles:
    changed, means = of.values.copy(), of.values.mean(axis=1, keepdims=True)
    changed[:, -of.newest :] = means + AMPLIFIED * (changed[:, -of.newest :] - means)
    return changed


def _stretched(of: _Windows) -> Doubles:
    last = of.values.shape[1] - 1
    places = last - np.arange(last, -1, -1) / STRETCHED  # the newest row stays where it is
    low = np.floor(places).astype(np.int64)
    part = (places - low)[:, None]
    stretched: Doubles = (1.0 - part) * of.values[:, low] + part * of.values[:, np.minimum(low + 1, last)]
    return stretched


_FORMS: dict[str, Callable[[_Windows], Doubles]] = {
    "spike": _spike,
    "level shift": _level_shift,
    "frozen": _frozen,
    "noise": _noise,
    "scaled amplitude": _amplified,
    "time-stretched": _stretched,
}
FORMS = tuple(_FORMS)


def inject(windows: Floats, scales: Doubles, seed: int) -> dict[str, tuple[Floats, Flags]]:
    """Return windows with an anomaly each, by form.

    In a random quarter of the features (at least one): a spike of 3 standard deviations in one of the newest rows; the
    newest quarter of the rows 1.5 standard deviations up or down; standing still at the value before them; with noise
    of one standard deviation more; or twice as far from the window's mean; and all rows at half the speed.

    Args:
        windows: (B, W, F) float32 in the features' own units, complete.
        scales: (F,) standard deviation of each feature, > 0.
        seed: of features, signs, places and noise.

    Returns:
        For each of `FORMS` the changed windows (B, W, F) float32, and which of them differ visibly (B,).
    """
    windows64, (count, rows, features) = windows.astype(np.float64), windows.shape
    random = np.random.default_rng(seed)
    affected = max(1, math.ceil(FEATURE_SHARE * features))
    ranks = random.random((count, features)).argsort(axis=1).argsort(axis=1)
    chosen = (ranks < affected)[:, None, :]  # (B, 1, F)
    signs = random.choice(np.array([-1.0, 1.0]), size=(count, 1, 1))
    newest = min(max(2, math.ceil(ROW_SHARE * rows)), rows - 1)
    found = {}
    for name, form in _FORMS.items():
        changed = np.where(chosen, form(_Windows(windows64, scales, newest, signs, random)), windows64)
        largest = (np.abs(changed - windows64) / scales).max(axis=(1, 2), initial=0.0)
        found[name] = changed.astype(np.float32), largest >= LEAST_CHANGE
    return found


def separation(score: Callable[[Floats], Floats], windows: Floats, scales: Doubles, seed: int) -> dict[str, float]:
    """Return, by form, how well scores tell windows with an injected anomaly from all windows without (`auc`).

    Args:
        score: returns scores (B,) of windows (B, W, F) in the features' own units.
        windows: (B, W, F) of quiet rows that the detector was not fitted to.
        scales: (F,) standard deviations.
        seed: see `inject`.

    Returns:
        A number in [0, 1] a form, 0.5 = it is not seen; forms that change fewer than `LEAST_WINDOWS` windows (`frozen`
        where nothing moves) are left out.
    """
    clean = score(windows)
    return {
        name: auc(clean, score(changed[visible]))
        for name, (changed, visible) in inject(windows, scales, seed).items()
        if visible.sum() >= LEAST_WINDOWS
    }


def auc(clean: Floats, injected: Floats) -> float:
    """Return the probability that an anomaly scores above a clean window, ties counting half.

    Reference:
        Mann & Whitney 1947, "On a test of whether one of two random variables is stochastically larger than the other".

    Example:
        >>> auc(np.array([1.0, 2.0, 3.0]), np.array([2.0, 9.0]))
        0.75
    """
    ordered = np.sort(clean)
    below, to = (np.searchsorted(ordered, injected, side=side) for side in ("left", "right"))
    return float((below + to).mean() / (2 * len(ordered)))
