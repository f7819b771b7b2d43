"""`streamae demo`: train on generated streams, run the real engine in memory, hold what it published against truth.

Nothing is simplified but the edges: the same engine, settings and events as in service, on the embedded broker and
store. Writes the bundle and a picture. Knows settings, since it composes an engine from them.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from streamae.batches import Flags, Series
from streamae.demo.sensors import Kind, SyntheticStream, generate
from streamae.demo.stories import choose, story
from streamae.evaluation.metrics import Interval, Matching, match_episodes
from streamae.model.bundle import Bundle
from streamae.observe import logs
from streamae.observe.progress import ReplayProgress, TrainingProgress
from streamae.replay.play import Episode, play
from streamae.replay.recording import Judgement
from streamae.settings.data import WindowSettings
from streamae.settings.decisions import EpisodeSettings, ThresholdSettings
from streamae.settings.section import Section
from streamae.settings.serving import ModelSettings
from streamae.settings.training import TrainSettings
from streamae.settings.tree import Settings
from streamae.training.options import TrainOptions
from streamae.training.run import train

KEYS, SEED = 60, 7
STEP_MS = 900_000  # a quarter of an hour, so that a season of 96 rows is a day
PARTITIONS = 4
TAIL_ROWS = 32  # a window still holds anomalous rows for so long: an episode that opens then is not false
THREADS = 1  # enough for a model of this size, and steady on a busy machine


@dataclass(frozen=True, slots=True)
class Scale:
    """How much the demo does.

    Attributes:
        train_rows: normal rows of each key to train on.
        live_rows: rows of each key that are streamed.
        anomalies_per_key: injected into the streamed rows.
        hidden_size, steps: of the model and its training.
    """

    train_rows: int = 1_440
    live_rows: int = 960
    anomalies_per_key: float = 2.0
    hidden_size: int = 64
    steps: int = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of the live part.

    Attributes:
        episodes: published ones.
        judgements: by key, what the engine thought of each window.
        records: streamed.
        windows: scored.
        seconds: of wall time for both.
    """

    episodes: list[Episode]
    judgements: Mapping[str, Judgement]
    records: int
    windows: int
    seconds: float

    @property
    def speed(self) -> str:
        """A line about the work and the time it took."""
        rate = f"{self.records / self.seconds:,.0f} a second"
        return f"   {self.records:,} records, {self.windows:,} windows scored in {self.seconds:.1f} s: {rate}"


def main(
    out: Path = Path("out/demo"),
    keys: int | None = None,
    seed: int | None = None,
    stream: TextIO | None = None,
    scale: Scale | None = None,
    progress: TextIO | None = None,
) -> int:
    """Run the demo; return 0, or 1 if no injected anomaly was found.

    Args:
        out: folder for `bundle/` and `episodes.png`; made if need be.
        keys: streams to generate, None = 60.
        seed: of the streams and the training, None = 7.
        stream: for the steps and what came of them, None = standard output.
        scale: how much is done, None = what suits a terminal.
        progress: for how far a step is, None = standard error.
    """
    stream, progress, scale = stream or sys.stdout, progress or sys.stderr, scale or Scale()
    seed = SEED if seed is None else seed
    say = partial(print, file=stream, flush=True)  # at once, so that it stands before the progress of its step
    logs.configure("warning", stream=progress)
    out.mkdir(parents=True, exist_ok=True)
    data = generate(
        keys=keys or KEYS,
        rows=scale.train_rows + scale.live_rows,
        step_ms=STEP_MS,
        seed=seed,
        anomalies_per_key=scale.anomalies_per_key,
        train_rows=scale.train_rows,
    )
    say(f"1. generated {len(data.series)} machines with {len(data.features)} sensors each")
    say(f"2. training on {scale.train_rows} normal rows of each")
    options = TrainOptions(
        TrainSettings(hidden_size=scale.hidden_size, max_steps=scale.steps, seed=seed),
        model=ModelSettings(threads=THREADS),
    )
    bundle = train(cut(data, slice(0, scale.train_rows)), options, TrainingProgress(progress))
    bundle.save(out / "bundle")
    say(f"3. streaming {scale.live_rows} rows of each, {len(data.injections)} anomalies among them")
    outcome = run_live(
        cut(data, slice(scale.train_rows, None)),
        bundle,
        progress,
        **live_sections(),
    )
    matching = match(data, outcome.episodes)
    say(f"4. published episodes against the truth\n\n{report(data, outcome, matching)}\n")
    say(f"picture: {_draw(data, outcome, matching, out / 'episodes.png')}")
    say(f"bundle:  {out / 'bundle'}")
    return 0 if (matching.episode_of >= 0).any() else 1


def live_sections() -> dict[str, Section]:
    """Return the settings of the live part that differ from the defaults."""
    return {
        "window": WindowSettings(max_gap_ms=4 * STEP_MS),
        "threshold": ThresholdSettings.model_validate(
            {"block_level": 2.4}
        ),  # sensitive: there is no drift to be patient with
        "episode": EpisodeSettings(update_interval_ms=8 * STEP_MS),
    }


def run_live(series: Sequence[Series], bundle: Bundle, progress: TextIO, **sections: Section) -> Outcome:
    """Stream series through the engine on embedded connectors and read back what it publishes.

    Args:
        series, bundle: what is streamed, and what it is scored with.
        progress: written to.
        sections: of the settings, what differs from the defaults.
    """
    records = sum(map(len, series))
    settings = Settings.model_validate({"model": ModelSettings(threads=THREADS), **sections})
    played = play(series, bundle, settings, ReplayProgress(progress, records), PARTITIONS)
    judgements = {one.key: played.recording.of(slot) for one, slot in zip(series, played.slots, strict=True)}
    return Outcome(played.episodes, judgements, records, played.recording.count, played.seconds)


def match(data: SyntheticStream, episodes: Sequence[Episode]) -> Matching:
    """Hold episodes against injections, in event time; truth in the order of `data.injections`."""
    times = {one.key: one.event_times_ms for one in data.series}
    truth = [
        Interval(found.key, int(times[found.key][found.start_row]), int(times[found.key][found.end_row - 1]))
        for found in data.injections
    ]
    published = [Interval(episode.key, episode.start_ms, episode.end_ms) for episode in episodes]
    return match_episodes(truth, published, TAIL_ROWS * STEP_MS)


def report(data: SyntheticStream, outcome: Outcome, matching: Matching) -> str:
    """Return the table of found and missed anomalies by kind, and what it cost."""
    found = matching.episode_of >= 0
    lines = [f"   {'kind':20}{'injected':>10}{'found':>8}{'recall':>9}{'median delay':>15}{'found when over':>18}"]
    lengths = np.array([injection.end_row - injection.start_row for injection in data.injections])
    late = found & (matching.delays_ms >= lengths * STEP_MS)
    for kind in Kind:
        chosen = np.array([injection.kind is kind for injection in data.injections], dtype=np.bool_)
        if chosen.any():
            lines.append(_line(kind.replace("_", " "), chosen, found, late, matching))
    lines.append(_line("all", np.ones_like(found), found, late, matching))
    false = int((~matching.is_true).sum())
    normal_rows = outcome.records - sum(injection.end_row - injection.start_row for injection in data.injections)
    rate = f"{false / normal_rows * 10_000:.1f} per 10,000 normal rows"
    lines += [
        "",
        f"   {len(outcome.episodes)} episodes published, {matching.precision:.0%} true, {false} false: {rate}",
        outcome.speed,
        "",
        f"   {'some episodes':16}{'start (UTC)':>18}{'rows':>6}{'severity':>10}  {'guilty':18}truth",
        *_examples(data, outcome, matching),
    ]
    return "\n".join(lines)


def _line(name: str, chosen: Flags, found: Flags, late: Flags, matching: Matching) -> str:
    """One row of the table, over the chosen injections; `late`: found by what it left in the window, after its end."""
    hits = chosen & found
    delay = f"{np.median(matching.delays_ms[hits]) / STEP_MS:.0f} rows" if hits.any() else "-"
    recall = hits.sum() / max(chosen.sum(), 1)
    return f"   {name:20}{chosen.sum():>10}{hits.sum():>8}{recall:>9.0%}{delay:>15}{(hits & late).sum():>18}"


def _examples(data: SyntheticStream, outcome: Outcome, matching: Matching) -> list[str]:
    """Return a line for the most severe episode of each kind of truth, false ones included."""
    truth: dict[int, str] = {}
    for injection, number in zip(data.injections, matching.episode_of.tolist(), strict=True):
        truth.setdefault(number, injection.kind.replace("_", " "))
    examples: dict[str, str] = {}
    order = sorted(range(len(outcome.episodes)), key=lambda number: -outcome.episodes[number].severity)
    for number in order:
        episode = outcome.episodes[number]
        name = truth.get(number, "more of the same" if matching.is_true[number] else "none: a false alarm")
        start = np.datetime_as_string(np.datetime64(episode.start_ms, "ms"), unit="m").replace("T", " ")
        rows = (episode.end_ms - episode.start_ms) // STEP_MS + 1
        line = f"   {episode.key:16}{start:>18}{rows:>6}{episode.severity:>10.0f}  {episode.features[0]:18}{name}"
        examples.setdefault(name, line)
    return list(examples.values())


def cut(data: SyntheticStream, rows: slice) -> list[Series]:
    """Return the same rows of every series."""
    return [dataclasses.replace(one.take(rows), labels=None) for one in data.series]


def _draw(data: SyntheticStream, outcome: Outcome, matching: Matching, path: Path) -> str:
    """Draw some of the injections; return a sentence about it."""
    try:
        from streamae.demo.sensor_picture import draw
    except ModuleNotFoundError as error:
        return f"none, {error.name} is missing: install streamae[report]"
    chosen = choose(data.injections, matching)
    if not chosen:
        return "none, nothing was injected"
    found = f"{(matching.episode_of >= 0).sum()} of {len(data.injections)} injected anomalies found"
    title = f"{len(chosen)} of {len(data.series)} keys: {found}, {matching.precision:.0%} of the episodes true"
    stories = [story(data, injection, outcome.judgements, outcome.episodes) for injection in chosen]
    draw(stories, f"streamae demo, {title}", path)
    return str(path)
