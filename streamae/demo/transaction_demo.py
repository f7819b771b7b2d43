"""`streamae demo --stream transactions`: cards with habits, fraud of five kinds, the real engine in memory, and truth.

As `sensor_demo`, for records that are not readings: irregular times, a category, features derived from fields. A
window is the last W records of a card, however far apart. Writes the bundle and a picture.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from streamae.batches import Flags, Series
from streamae.demo.sensor_demo import SEED, THREADS, Outcome, run_live
from streamae.demo.transactions import DAY_MS, Fraud, TransactionStream, generate_transactions
from streamae.evaluation.metrics import Interval, Matching, match_episodes
from streamae.observe import logs
from streamae.observe.progress import TrainingProgress
from streamae.settings.data import FeatureSettings, WindowSettings
from streamae.settings.decisions import EpisodeSettings, ThresholdSettings
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.training.options import TrainOptions
from streamae.training.run import train

CARDS = 60
WINDOW = 16  # records
MAX_GAP_MS = 30 * DAY_MS  # a card that is not used for days goes on where it was
FEATURES = FeatureSettings(log_fields=("amount",), category_cap=8, time_features=("hour",), since_previous=True)
FIELDS = {"amount": "amount", "merchant": "merchant", "interval": "time since the purchase before", "hour": "hour"}


@dataclass(frozen=True, slots=True)
class TransactionScale:
    """How much the demo does: purchases of each card to train on and to stream, fraud among them, size of the model."""

    train_rows: int = 400
    live_rows: int = 300
    frauds_per_card: float = 2.0
    hidden_size: int = 32
    steps: int = 700


def main(
    out: Path = Path("out/demo"),
    cards: int | None = None,
    seed: int | None = None,
    stream: TextIO | None = None,
    scale: TransactionScale | None = None,
    progress: TextIO | None = None,
) -> int:
    """Run the demo; return 0, or 1 if no fraud was found. Arguments as in `sensor_demo.main`; 60 cards by default."""
    stream, progress, scale = stream or sys.stdout, progress or sys.stderr, scale or TransactionScale()
    seed = SEED if seed is None else seed
    say = partial(print, file=stream, flush=True)  # at once, so that it stands before the progress of its step
    logs.configure("warning", stream=progress)
    out.mkdir(parents=True, exist_ok=True)
    rows = scale.train_rows + scale.live_rows
    data = generate_transactions(cards or CARDS, rows, scale.train_rows, seed, scale.frauds_per_card)
    say(f"1. generated {len(data.series)} cards with {rows} purchases each")
    say(f"2. training on {scale.train_rows} honest purchases of each")
    options = TrainOptions(
        TrainSettings(
            window_size=WINDOW,
            recent_steps=2,
            hidden_size=scale.hidden_size,
            max_steps=scale.steps,
            memory_windows=0,
            whitening="overall",
            seed=seed,
        ),
        WindowSettings(max_gap_ms=MAX_GAP_MS),
        FEATURES,
        ModelSettings(threads=THREADS),
    )
    bundle = train(_cut(data, slice(0, scale.train_rows)), options, TrainingProgress(progress))
    bundle.save(out / "bundle")
    say(f"3. streaming {scale.live_rows} purchases of each, {len(data.cases)} frauds among them")
    outcome = run_live(
        _cut(data, slice(scale.train_rows, None)),
        bundle,
        progress,
        window=WindowSettings(max_gap_ms=MAX_GAP_MS),
        threshold=ThresholdSettings.model_validate(
            {"rule": "sigma", "k": 4.0, "smoothing": 1.0, "min_windows": 16}  # one purchase can be enough
        ),
        episode=EpisodeSettings(merge_gap_windows=WINDOW, update_interval_ms=DAY_MS),
    )
    matching = match(data, outcome)
    say(f"4. published episodes against the truth\n\n{report(data, outcome, matching)}\n")
    say(f"picture: {_draw(data, outcome, matching, out / 'transactions.png')}")
    say(f"bundle:  {out / 'bundle'}")
    return 0 if (matching.episode_of >= 0).any() else 1


def match(data: TransactionStream, outcome: Outcome) -> Matching:
    """Hold episodes against fraud; one that opens while a window still holds a fraud's purchases is not false."""
    times = {one.key: one.event_times_ms for one in data.series}
    truth = [
        Interval(
            case.key,
            int(times[case.key][case.start_row]),
            int(times[case.key][min(case.end_row - 1 + WINDOW, len(times[case.key]) - 1)]),
        )
        for case in data.cases
    ]
    return match_episodes(truth, [Interval(one.key, one.start_ms, one.end_ms) for one in outcome.episodes])


def report(data: TransactionStream, outcome: Outcome, matching: Matching) -> str:
    """Return the tables: recall by kind of fraud, and precision by the field that an episode blames first."""
    found = matching.episode_of >= 0
    lines = [f"   {'kind of fraud':32}{'injected':>10}{'found':>8}{'recall':>9}"]
    for kind in Fraud:
        chosen = np.array([case.kind is kind for case in data.cases], dtype=np.bool_)
        lines.append(_line(kind.replace("_", " "), chosen, found))
    lines += [_line("all", np.ones_like(found), found), ""]
    lines.append(f"   {'blamed first':32}{'episodes':>10}{'true':>8}{'precision':>11}")
    blamed = np.array([_field(one.features[0]) for one in outcome.episodes], dtype=object)
    for field, name in FIELDS.items():
        lines.append(_line(name, blamed == field, matching.is_true, width=11))
    lines.append(_line("all", np.ones_like(matching.is_true), matching.is_true, width=11))
    return "\n".join([*lines, "", outcome.speed])


def _line(name: str, chosen: Flags, hits: Flags, width: int = 9) -> str:
    count, hit = int(chosen.sum()), int((chosen & hits).sum())
    share = f"{hit / count:.0%}" if count else "-"
    return f"   {name:32}{count:>10}{hit:>8}{share:>{width}}"


def _field(feature: str) -> str:
    """Return the field, or what was made of time, that a feature comes from."""
    return next((field for field in FIELDS if feature.startswith(field)), feature)


def _cut(data: TransactionStream, rows: slice) -> list[Series]:
    """Return the same rows of every series, without labels."""
    return [dataclasses.replace(one.take(rows), labels=None) for one in data.series]


def _draw(data: TransactionStream, outcome: Outcome, matching: Matching, path: Path) -> str:
    """Draw one card for each kind of fraud; return a sentence about it."""
    try:
        from streamae.demo.transaction_picture import draw
    except ModuleNotFoundError as error:
        return f"none, {error.name} is missing: install streamae[report]"
    order = np.argsort(matching.episode_of < 0, kind="stable")  # found ones first
    cases = [next((data.cases[i] for i in order if data.cases[i].kind is kind), None) for kind in Fraud]
    chosen = [case for case in cases if case is not None]
    if not chosen:
        return "none, nothing was injected"
    found = f"{(matching.episode_of >= 0).sum()} of {len(data.cases)} frauds found"
    draw(data, chosen, outcome, f"{found}, {matching.precision:.0%} of the episodes true", path)
    return str(path)
