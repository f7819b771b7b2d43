"""What the parts beyond a plain autoencoder cost: memory, forecast and whitening of the score, and the threshold layer.

Only ratios within one run count: all sides take turns in one process, figures are medians over rounds of CPU time a
window. Plain = the same LSTM that reconstructs the newest rows, without memory and forecast, scored by the mean error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from scripts.bench.embedded import EmbeddedEngine
from scripts.bench.inputs import STEP_MS, Traffic, untrained_bundle
from scripts.bench.memory import ForgetfulStore
from streamae.assembly.tuning import build_decision, build_tuning
from streamae.batches import ErrorBatch, ScoreBatch, WindowBatch
from streamae.core.scoring import score
from streamae.core.thresholds.registry import RULES
from streamae.model.architecture import is_of_network
from streamae.model.autoencoder import Autoencoder
from streamae.model.bundle import Bundle
from streamae.model.companion import usual_companion
from streamae.model.runner import Network, Runner
from streamae.settings.decisions import ThresholdSettings
from streamae.settings.serving import LimitSettings
from streamae.settings.tree import Settings

WINDOW_SIZE, FEATURES, HIDDEN_SIZE, MEMORY_WINDOWS = 32, 8, 64, 64
KEYS = 1_000
WARM_UP_WINDOWS = 400  # of each key: every rule has left its first guesses behind
SCORING_TARGET, THRESHOLD_TARGET = 0.8, 0.02
SHIPPED_RULE = "block_maxima"

Action = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    rounds: int
    windows: int  # scored by each network in a round
    rows: int  # of all keys, through the pipeline and through each rule in a round


FULL = Effort(rounds=15, windows=4_096, rows=8)
QUICK = Effort(rounds=5, windows=1_024, rows=4)


@dataclass(frozen=True, slots=True)
class Figures:
    """CPU microseconds a window in each round, of all sides in the same rounds.

    Attributes:
        shipped, plain: model and score.
        pipeline: records in, events out, with `SHIPPED_RULE`.
        rules: `Decision.judge` of each threshold rule.
    """

    shipped: list[float]
    plain: list[float]
    pipeline: list[float]
    rules: dict[str, list[float]]

    @property
    def scoring_ratio(self) -> float:
        """Throughput of the shipped score relative to the plain one, median over rounds."""
        return median(plain / shipped for plain, shipped in zip(self.plain, self.shipped, strict=True))

    def share(self, rule: str) -> float:
        """Share of a rule in the CPU time of the pipeline, median over rounds."""
        return median(own / whole for own, whole in zip(self.rules[rule], self.pipeline, strict=True))

    def is_met(self) -> bool:
        """Whether both targets are met."""
        return self.scoring_ratio >= SCORING_TARGET and self.share(SHIPPED_RULE) <= THRESHOLD_TARGET

    def table(self) -> str:
        """Return the figures as a text of some lines."""
        lines = [f"{'CPU us a window':28}{'median':>10}{'relative':>10}{'target':>10}"]
        lines.append(f"{'plain autoencoder':28}{median(self.plain):>10.1f}")
        lines.append(
            f"{'shipped score':28}{median(self.shipped):>10.1f}{self.scoring_ratio:>9.2f}x{SCORING_TARGET:>9.2f}x"
        )
        lines.append(f"{'whole pipeline':28}{median(self.pipeline):>10.1f}")
        for rule, taken in self.rules.items():
            target = f"{THRESHOLD_TARGET:>10.1%}" if rule == SHIPPED_RULE else ""
            lines.append(f"{'  judged by ' + rule:28}{median(taken):>10.2f}{self.share(rule):>10.1%}{target}")
        return "\n".join(lines)


def shipped_bundle() -> Bundle:
    """Return an untrained network of the default size, with a memory and a companion of random numbers."""
    bundle = untrained_bundle(WINDOW_SIZE, FEATURES, HIDDEN_SIZE)
    architecture = replace(
        bundle.architecture,
        memory_windows=MEMORY_WINDOWS,
        companion_components=usual_companion(1_000, WINDOW_SIZE, FEATURES),
    )
    random = np.random.default_rng(0)
    beside = {
        name: random.normal(0.0, 0.1, shape).astype(np.float32)
        for name, shape in architecture.shapes().items()
        if not is_of_network(name)
    }
    return replace(
        bundle,
        architecture=architecture,
        calibration=replace(bundle.calibration, memory_levels=np.ones(FEATURES)),
        weights=dict(bundle.weights) | beside,
    )


def plain_runner(bundle: Bundle) -> Runner:
    """Return a runner of the same weights that only reconstructs."""
    weights = {name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items() if is_of_network(name)}
    architecture = replace(bundle.architecture, memory_windows=0, companion_components=0)
    network = Autoencoder(architecture)
    network.load_state_dict(weights)
    network.requires_grad_(requires_grad=False).eval()

    def reconstruct(z: Tensor, decode_steps: int, _: int) -> tuple[Tensor, None]:
        summary, _forecasts = network.summarise(z, 0)
        return network.decode(network.code_of(summary), decode_steps), None

    own = replace(
        bundle,
        architecture=architecture,
        calibration=replace(bundle.calibration, memory_levels=None),
        weights={name: tensor.numpy() for name, tensor in weights.items()},
    )
    return Runner(own, "cpu", threads=1, network=cast(Network, reconstruct))


def plain_score(errors: ErrorBatch) -> Any:
    """Return the mean error of each window."""
    return errors.recent.mean(axis=1)


class Judging:
    """A decision of `keys` warm keys by one rule, and scores for it; `turn` is what gets timed."""

    def __init__(self, rule: str, bundle: Bundle, keys: int = KEYS) -> None:
        settings = Settings(threshold=ThresholdSettings(rule=rule), limits=LimitSettings(max_keys=keys))
        self.decision = build_decision(settings, bundle, build_tuning(settings, bundle))
        self.keys, self.features = keys, len(bundle.features)
        self.decision.columns.reset(np.arange(keys, dtype=np.int32))
        self._random, self._row = np.random.default_rng(0), 0
        self.turn(self.batches(WARM_UP_WINDOWS))

    def batches(self, rows: int) -> list[tuple[ScoreBatch, WindowBatch]]:
        """Return `rows` micro-batches, each of one window a key."""
        found, slots = [], np.arange(self.keys, dtype=np.int32)
        for _ in range(rows):
            channels = self._random.gamma(4.0, 0.25, (self.keys, self.features)).astype(np.float32)
            totals = channels.mean(axis=1)
            ends = np.full(self.keys, self._row * STEP_MS, dtype=np.int64)
            windows = WindowBatch(
                slots,
                ends,
                ends,
                ends,
                np.zeros((self.keys, 1, self.features), dtype=np.float32),
                np.zeros(self.keys, dtype=np.float32),
                np.full(self.keys, self._row == 0),
            )
            found.append((ScoreBatch(totals, channels, channels, totals), windows))
            self._row += 1
        return found

    def turn(self, batches: list[tuple[ScoreBatch, WindowBatch]]) -> None:
        """Judge and learn."""
        for scores, windows in batches:
            self.decision.judge(scores, windows)


def measure(effort: Effort, keys: int = KEYS) -> Figures:
    """Let all sides take turns; who begins alternates."""
    bundle = shipped_bundle()
    shipped, plain = Runner(bundle, "cpu", threads=1), plain_runner(bundle)
    windows = np.random.default_rng(1).standard_normal((effort.windows, WINDOW_SIZE, FEATURES)).astype(np.float32)
    engine, traffic = (
        EmbeddedEngine(bundle, keys, 1, ForgetfulStore(), None, SHIPPED_RULE),
        Traffic(keys, bundle.features),
    )
    engine.produce(traffic.rows(WINDOW_SIZE + 1))
    engine.consume()
    judging = {rule: Judging(rule, bundle, keys) for rule in RULES}
    taken: dict[str, list[float]] = {name: [] for name in ("shipped", "plain", "pipeline", *judging)}
    judged = effort.rows * keys
    for number in range(effort.rounds + 1):
        engine.produce(traffic.rows(effort.rows))
        actions: dict[str, tuple[Action, int]] = {
            "shipped": (lambda: score(shipped.run(windows), bundle.calibration), len(windows)),
            "plain": (lambda: plain_score(plain.run(windows)), len(windows)),
            "pipeline": (engine.consume, judged),
        } | {rule: (partial(one.turn, one.batches(effort.rows)), judged) for rule, one in judging.items()}
        for name in sorted(actions, reverse=number % 2 == 1):
            action, count = actions[name]
            started = time.process_time()
            action()
            if number:  # the first round does not count
                taken[name].append((time.process_time() - started) * 1e6 / count)
    return Figures(taken["shipped"], taken["plain"], taken["pipeline"], {rule: taken[rule] for rule in judging})
