"""Which kind of detector, or which size of bottleneck, by injected anomalies on the calibration rows; never by labels.

Candidates are tried cheapest first, until the time is used up. Of those that come within `TOLERANCE` of the best
separation the cheapest is chosen: a difference below that is within what another seed would change. Must not know how
anything is trained: it is handed a function for that.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence

from streamae.batches import Floats
from streamae.core.scoring import score
from streamae.errors import ConfigError
from streamae.model.architecture import TRAINED, Architecture, Kind
from streamae.model.bundle import Bundle
from streamae.model.runner import Runner
from streamae.training.injection import FORMS, separation
from streamae.training.options import TrainOptions
from streamae.training.outcome import Candidate, Training
from streamae.training.progress import PartProgress, Progress

KINDS: tuple[Kind, ...] = ("pca_row", "pca", "ridge", "nearest_windows", "dense", "lstm")  # cheapest first
TOLERANCE = 0.01  # of the separation
JUDGED_WINDOWS = 512  # calibration windows that anomalies are injected into
SIZES = (2, 4, 8, 16, 32, 64, 128)  # of a bottleneck, besides the usual
TUNE_SHARE = 4  # a size is tried with this part of max_steps

Fit = Callable[[TrainOptions, Progress], Training]
Clock = Callable[[], float]


def choose_kind(
    options: TrainOptions, windows: Floats, fit: Fit, progress: Progress, clock: Clock = time.monotonic
) -> tuple[Training, list[Candidate]]:
    """Train one of each of `KINDS` and return the one to take, and what came of each.

    Args:
        options: of all of them but the kind.
        windows: (B, W, F) calibration windows in the features' own units.
        fit: trains with options.
        progress: is told about each.
        clock: returns seconds, for the time budget.
    """
    usual_size = 0  # one number cannot fit components, rows looked back and windows kept
    tried = [(kind, options.with_train(kind=kind, components=usual_size)) for kind in KINDS]
    return _compare("auto", tried, windows, fit, progress, clock)


def choose_size(
    options: TrainOptions,
    of: Architecture,
    windows: Floats,
    fit: Fit,
    progress: Progress,
    clock: Clock = time.monotonic,
) -> tuple[int, list[Candidate]]:
    """Train shortly with several sizes of bottleneck; return the one to take (0 = the usual), and what came of each.

    Args:
        options: of all of them but the size.
        of: the architecture with the usual size or the one asked for.
        windows, fit, progress, clock: see `choose_kind`.

    Raises:
        ConfigError: the kind has no bottleneck.
    """
    if of.kind not in TRAINED:
        raise ConfigError([f"train: --tune looks for the size of a bottleneck, and {of.kind} has none"])
    usual = dataclasses.replace(of, bottleneck_size=0).code_size
    sizes = sorted({size for size in (*SIZES, of.bottleneck_size) if 0 < size < usual})
    needs_layer = (
        options.train.variational_weight > 0.0 and not dataclasses.replace(of, bottleneck_size=0).has_bottleneck
    )
    sizes.append(usual if needs_layer else 0)
    short = max(1, options.train.max_steps // TUNE_SHARE)
    tried = [
        (f"{size or usual}", options.with_train(bottleneck_size=size, max_steps=short, calibration_folds=1))
        for size in sizes
    ]
    _, found = _compare("tune: size", tried, windows, fit, progress, clock)
    return next(size for size, candidate in zip(sizes, found, strict=True) if candidate.is_chosen), found


def table(candidates: Sequence[Candidate]) -> str:
    """Return the comparison for a terminal, one line each, the chosen one marked."""
    forms = [form for form in FORMS if any(form in one.separation for one in candidates)]
    head = ["", "candidate", "separation", *forms, "validation loss", "seconds"]
    rows = [head]
    for one in candidates:
        cells = [one.mean, *(one.separation.get(form, math.nan) for form in forms)]
        figures = ["-" if math.isnan(cell) else f"{cell:.3f}" for cell in cells]
        loss = "-" if math.isnan(one.validation_loss) else f"{one.validation_loss:.4f}"
        rows.append(["*" if one.is_chosen else "", one.name, *figures, loss, f"{one.seconds:.1f}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ("  ".join(cell.rjust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def _compare(
    title: str,
    tried: Sequence[tuple[str, TrainOptions]],
    windows: Floats,
    fit: Fit,
    progress: Progress,
    clock: Clock,
) -> tuple[Training, list[Candidate]]:
    """Train and judge in order while there is time, the first in any case; return the one to take, and mark it."""
    judged = windows[:: -(-len(windows) // JUDGED_WINDOWS)]
    found, in_reach, best, begun = list[Candidate](), dict[int, Training](), -math.inf, clock()
    for number, (name, options) in enumerate(tried):
        started = clock()
        if number and started - begun >= options.train.search_budget_ms / 1_000:
            progress.finish(f"{title} {name}: not tried, train.search_budget_ms is used up")
            found.append(Candidate(name))
            continue
        training = fit(options, PartProgress(progress, f"{title} {name}"))
        seen = _separation(training.bundle, judged, options)
        one = Candidate(name, training.bundle.metrics["validation_loss"], seen, clock() - started)
        found.append(one)
        in_reach[number], best = training, max(best, one.mean if seen else 0.0)
        for beaten in [at for at in in_reach if not _is_near(found[at], best)]:
            del in_reach[beaten]  # a bundle may be large
        progress.finish(f"{title} {name}: separation {one.mean:.3f} of injected anomalies, {one.seconds:.1f} s")
    chosen = min(in_reach)
    marked = [dataclasses.replace(one, is_chosen=number == chosen) for number, one in enumerate(found)]
    return in_reach[chosen], marked


def _is_near(one: Candidate, best: float) -> bool:
    return (one.mean if one.separation else 0.0) >= best - TOLERANCE


def _separation(bundle: Bundle, windows: Floats, options: TrainOptions) -> dict[str, float]:
    runner = Runner(bundle, options.model.device, stride=options.window.stride)
    return separation(
        lambda values: score(runner.run(values), bundle.calibration).totals,
        windows,
        bundle.input_scaling.scales,
        options.train.seed,
    )
