"""The report of a training: did it learn, does it know better than simple methods, what does it make of windows.

It takes a finished training and must not know how it was made.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from streamae.reports.charts import Curve, line_chart, scatter
from streamae.reports.page import render
from streamae.reports.text import moment
from streamae.training.checks import MAX_INPUTS, RIVALS
from streamae.training.injection import FORMS
from streamae.training.outcome import Candidate, Training
from streamae.training.portrait import Example, LatentMap, Portrait, portray

MOST_FEATURES = 60  # in the table of errors, worst first
SMALL_WIDTH, SMALL_HEIGHT = 320, 120
WHAT = {"kind": "Which kind (train.kind)", "size": "Which size of bottleneck (train.bottleneck_size)", "": ""}


def write_training(path: Path, training: Training) -> None:
    """Write the report of a training to `path`."""
    bundle, portrait = training.bundle, portray(training)
    of, metrics = bundle.architecture, bundle.metrics
    path.parent.mkdir(parents=True, exist_ok=True)
    render(
        "training.html",
        path,
        title="streamae: training",
        subtitle=f"bundle {bundle.version}: {of.kind}, windows of {of.window_size} rows, {of.features} features, "
        f"{of.parameters():,} numbers",
        summary=_summary(metrics),
        warnings=training.warnings,
        losses=_safe(_losses(training)) if len(training.checks) > 1 else "",
        rivals=_rivals(of.kind, metrics),
        most_inputs=f"{MAX_INPUTS:,}",
        copied=_copied(metrics),
        compared=WHAT[training.compared],
        forms=[form for form in FORMS if any(form in one.separation for one in training.candidates)],
        candidates=[_candidate(one) for one in training.candidates],
        errors=_errors(bundle.features, portrait),
        left_out=max(0, len(bundle.features) - MOST_FEATURES),
        latent=_latent(portrait.latent),
        examples=[_example(one, bundle.features) for one in portrait.examples],
        samples=[_safe(_window(one)) for one in portrait.samples] if portrait.samples is not None else [],
        metrics=[(name.replace("_", " "), f"{value:,.6g}") for name, value in metrics.items()],
    )


def _safe(picture: str) -> Markup:
    return Markup(picture)  # noqa: S704 - numbers only, made by us


def _summary(metrics: Mapping[str, float]) -> str:
    loss, mean = metrics["validation_loss"], metrics["validation_loss_of_mean"]
    share = f", {1 - loss / mean:.0%} less than always saying the mean" if mean > 0 else ""
    return (
        f"Trained on {metrics['fit_windows']:,.0f} windows of {metrics['rows']:,.0f} rows, judged on the "
        f"{metrics['calibration_windows']:,.0f} windows of the newest rows: validation loss {loss:.4f}{share}."
    )


def _losses(training: Training) -> str:
    steps, train, validation = training.checks.T
    return line_chart([Curve("score", steps, train), Curve("threshold", steps, validation)])


def _rivals(kind: str, metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the network's error beside that of each simple method, for each head that both were measured on."""
    rows = []
    for rival, head in RIVALS:
        ours, theirs = metrics.get(f"{head}_error"), metrics.get(f"{rival}_{head}_error")
        if ours is not None and theirs is not None:
            better = kind if ours <= theirs else rival
            rows.append({"head": head, "ours": f"{ours:.4f}", "rival": rival, "theirs": f"{theirs:.4f}", "is": better})
    return rows


def _copied(metrics: Mapping[str, float]) -> str:
    if "anomaly_copied_share" not in metrics:
        return "There is no reconstruction that could copy."
    copied, known = metrics["anomaly_copied_share"], metrics["normal_reconstructed_share"]
    return (
        f"Of the variation of normal rows {known:.0%} comes through the reconstruction, of changes injected into them "
        f"{copied:.0%}. A network that knows what is normal lets much of the first and little of the second through."
    )


def _candidate(one: Candidate) -> dict[str, Any]:
    def shown(value: float) -> str:
        return "" if math.isnan(value) else f"{value:.3f}"

    return {
        "name": one.name,
        "mean": shown(one.mean),
        "by_form": {form: shown(value) for form, value in one.separation.items()},
        "loss": shown(one.validation_loss),
        "seconds": f"{one.seconds:.1f}",
        "is_chosen": one.is_chosen,
    }


def _errors(features: tuple[str, ...], portrait: Portrait) -> list[dict[str, Any]]:
    """Return errors by feature with a bar each, largest first."""
    heads = [portrait.reconstruction_errors, portrait.forecast_errors]
    columns = np.stack([np.zeros(len(features)) if one is None else one.astype(np.float64) for one in heads], axis=1)
    order = np.argsort(-columns.max(axis=1), kind="stable")[:MOST_FEATURES]
    largest = np.maximum(columns.max(axis=0), 1e-30)
    return [
        {
            "name": features[at],
            "cells": [
                {
                    "text": "" if head is None else f"{columns[at, i]:.4f}",
                    "part": round(100 * columns[at, i] / largest[i]),
                }
                for i, head in enumerate(heads)
            ],
        }
        for at in order.tolist()
    ]


def _latent(latent: LatentMap | None) -> dict[str, Any] | None:
    if latent is None:
        return None
    first, last = (moment(int(latent.times_ms[at]))[:16] for at in (0, -1))
    text = (
        f"{len(latent.places):,} windows from {first} (blue) to {last} (orange) as their {latent.code_size} code numbers "
        f"on two principal components, which hold {latent.explained[0]:.0%} and {latent.explained[1]:.0%} of their "
        "variance. Orange apart from blue: the newest data are unlike the data trained on."
    )
    return {"text": text, "svg": _safe(scatter(latent.places))}


def _example(one: Example, features: tuple[str, ...]) -> dict[str, Any]:
    steps = np.arange(1.0, len(one.original) + 1)
    pictures = []
    for at in one.features:
        drawn = [
            Curve(name, steps, values[:, at].astype(np.float64))
            for name, values in (("score", one.original), ("threshold", one.reconstruction))
        ]
        pictures.append({"name": features[at], "svg": _safe(line_chart(drawn, SMALL_WIDTH, SMALL_HEIGHT))})
    return {"name": one.name, "score": f"{one.score:.2f}", "end": moment(one.end_time_ms), "pictures": pictures}


def _window(values: np.ndarray[Any, Any]) -> str:
    """Draw the first features of a window, each on its own scale from 0 to 1."""
    steps = np.arange(1.0, len(values) + 1)
    shown = values[:, :3].astype(np.float64)
    spans = np.maximum(np.ptp(shown, axis=0), 1e-12)
    lines = [Curve("score", steps, column) for column in ((shown - shown.min(axis=0)) / spans).T]
    return line_chart(lines, SMALL_WIDTH, SMALL_HEIGHT)
