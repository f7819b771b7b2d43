"""`streamae demo`: train on generated streams, run the real engine in memory, hold what it published against truth.

Nothing is simplified but the edges: the same engine, settings and events as in service, on the embedded broker and
store. Writes the bundle and a picture. Knows settings, since it composes an engine from them.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from streamae.assembly.build import Parts, build_engine
from streamae.batches import Flags, Series
from streamae.connectors.memory import MemoryBroker, MemorySink, MemorySource, MemoryStore
from streamae.demo.sensors import Kind, SyntheticStream, generate
from streamae.demo.stories import choose, story
from streamae.evaluation.metrics import Interval, Matching, match_episodes
from streamae.model.bundle import Bundle
from streamae.observe import logs
from streamae.observe.progress import TrainingProgress
from streamae.replay.play import (
    KEY_FIELD,
    TIME_FIELD,
    VALUES_FIELD,
    Episode,
    Judgement,
    Tap,
    consume_all,
    produce,
    read_episodes,
)
from streamae.settings.connections import StateSettings
from streamae.settings.data import InputSettings, WindowSettings
from streamae.settings.decisions import EpisodeSettings, ThresholdSettings
from streamae.settings.serving import LimitSettings, ModelSettings
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


def main(
    out: Path = Path("out/demo"),
    keys: int | None = None,
    seed: int | None = None,
    stream: TextIO | None = None,
    scale: Scale | None = None,
) -> int:
    """Run the demo; return 0, or 1 if no injected anomaly was found.

    Args:
        out: folder for `bundle/` and `episodes.png`; made if need be.
        keys: streams to generate, None = 60.
        seed: of the streams and the training, None = 7.
        stream: for everything printed, None = standard output.
        scale: how much is done, None = what suits a terminal.
    """
    stream, scale, seed = stream or sys.stdout, scale or Scale(), SEED if seed is None else seed
    logs.configure("warning", stream=stream)
    out.mkdir(parents=True, exist_ok=True)
    data = generate(
        keys=keys or KEYS,
        rows=scale.train_rows + scale.live_rows,
        step_ms=STEP_MS,
        seed=seed,
        anomalies_per_key=scale.anomalies_per_key,
        train_rows=scale.train_rows,
    )
    print(f"1. generated {len(data.series)} machines with {len(data.features)} sensors each", file=stream)
    print(f"2. training on {scale.train_rows} normal rows of each", file=stream)
    options = TrainOptions(hidden_size=scale.hidden_size, max_steps=scale.steps, seed=seed, threads=THREADS)
    bundle = train(_cut(data, slice(0, scale.train_rows)), options, TrainingProgress(stream))
    bundle.save(out / "bundle")
    print(f"3. streaming {scale.live_rows} rows of each, {len(data.injections)} anomalies among them", file=stream)
    outcome = run_live(_cut(data, slice(scale.train_rows, None)), bundle, out / "bundle", stream)
    matching = match(data, outcome.episodes)
    print(f"4. published episodes against the truth\n\n{report(data, outcome, matching)}\n", file=stream)
    print(f"picture: {_draw(data, outcome, matching, out / 'episodes.png')}", file=stream)
    print(f"bundle:  {out / 'bundle'}", file=stream)
    return 0 if (matching.episode_of >= 0).any() else 1


def run_live(series: Sequence[Series], bundle: Bundle, path: Path, stream: TextIO) -> Outcome:
    """Stream series through the engine on embedded connectors and read back what it publishes."""
    settings = Settings(
        input=InputSettings(key_field=KEY_FIELD, time_field=TIME_FIELD, time_unit="ms", value_fields=(VALUES_FIELD,)),
        window=WindowSettings(max_gap_ms=4 * STEP_MS),
        model=ModelSettings(bundle=path, threads=THREADS),
        threshold=ThresholdSettings(block_level=2.4),  # sensitive: these streams have no drift to be patient with
        episode=EpisodeSettings(update_interval_ms=8 * STEP_MS),
        state=StateSettings(store="memory"),
        limits=LimitSettings(max_keys=len(series)),
    )
    return play(series, bundle, settings, stream)


def play(series: Sequence[Series], bundle: Bundle, settings: Settings, stream: TextIO) -> Outcome:
    """`run_live` with any settings that read records as `evaluation.replay` writes them."""
    topic = settings.input.topics[0]
    broker, tap = MemoryBroker(PARTITIONS), Tap()
    records = produce(broker, topic, series)
    source = MemorySource(broker, settings.kafka.group_id, settings.input.topics, settings.input.max_poll_records)
    parts = Parts(source=source, sink=MemorySink(broker), store=MemoryStore(), bundle=bundle, observer=tap)
    started = time.perf_counter()
    engine = build_engine(settings, parts=parts)
    slots: dict[str, int] = {}

    def show(unread: int) -> None:
        slots.update((key.decode(), slot) for slot, key in enumerate(engine.states.table.keys) if key)
        done = 1.0 - unread / records
        print(f"   {done:5.0%} of {records:,} records, {tap.windows:,} windows scored", file=stream, flush=True)

    consume_all(engine, show)
    seconds = time.perf_counter() - started
    episodes = read_episodes(broker, settings.output.topic)
    return Outcome(episodes, {key: tap.of(slot) for key, slot in slots.items()}, records, tap.windows, seconds)


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
        f"   {outcome.records:,} records in {outcome.seconds:.1f} s: {outcome.records / outcome.seconds:,.0f} a second",
        "",
        f"   {'some episodes':16}{'start (UTC)':>18}{'rows':>6}{'severity':>10}  {'guilty':18}truth",
        *_examples(data, outcome, matching),
    ]
    return "\n".join(lines)


def _line(name: str, chosen: Flags, found: Flags, late: Flags, matching: Matching) -> str:
    """One row of the table, over the chosen injections; `late`: found by what it left in the window, after its end."""
    hits = chosen & found
    delay = f"{np.median(matching.delays_ms[hits]) / STEP_MS:.0f} rows" if hits.any() else "-"
    return f"   {name:20}{chosen.sum():>10}{hits.sum():>8}{hits.sum() / max(chosen.sum(), 1):>9.0%}{delay:>15}{(hits & late).sum():>18}"


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


def _cut(data: SyntheticStream, rows: slice) -> list[Series]:
    """Return the same rows of every series."""
    return [
        dataclasses.replace(one, event_times_ms=one.event_times_ms[rows], values=one.values[rows], labels=None)
        for one in data.series
    ]


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
