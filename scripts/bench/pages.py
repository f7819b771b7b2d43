"""Whom `streamae demo` would wake: its stream through the routes that ship, against the truth that it knows.

The demo's machines, model and settings, the real engine, and of each receiver the real desk: a pager, which by the
shipped routes gets critical alerts of ready keys, and a ticket system, which gets everything.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from streamae.alerting.alert import Action, SeverityClass
from streamae.alerting.change import read_change
from streamae.alerting.desk import Desk
from streamae.alerting.owners import Owners
from streamae.alerting.routing import Routing
from streamae.alerting.rules import Rules
from streamae.batches import Flags, RawRecord
from streamae.demo import sensor_demo
from streamae.demo.sensors import Kind, SyntheticStream, generate
from streamae.evaluation.metrics import Matching
from streamae.model.bundle import Bundle, load_bundle
from streamae.observe.progress import ReplayProgress
from streamae.replay.play import consume_all, embedded_engine, read_episodes
from streamae.settings.connections import OutputSettings
from streamae.settings.delivery import DeliverySettings, ReceiverSettings
from streamae.settings.tree import Settings

PAGER, TICKETS = "pager", "tickets"
HOST_DAY_ROWS = 1_440  # at a row a minute
HOSTS = 400
THRESHOLDS = (50, 55, 60, 65, 70, 80, 90)
FULL = (sensor_demo.Scale(), sensor_demo.KEYS)
QUICK = (sensor_demo.Scale(720, 640, 2.0, 16, 200), 12)


@dataclass(frozen=True, slots=True)
class _Nature:
    """Of a receiver that shows the newest state and forgets nothing."""

    wants_every_change: bool = False
    repeat_ms: int | None = None
    repeat_resolved_ms: int = 0


@dataclass
class Told:
    """What receivers were told by an output topic.

    Attributes:
        classes: highest class of each episode.
        severities: highest severity of each.
        states: words for the key's state at each episode's opening.
        by_receiver: episodes that each was told of.
        ended: episodes that each was told the end of.
    """

    classes: dict[str, SeverityClass] = field(default_factory=dict)
    severities: dict[str, float] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    by_receiver: dict[str, set[str]] = field(default_factory=dict)
    ended: dict[str, set[str]] = field(default_factory=dict)


def tell(records: Iterable[RawRecord]) -> Told:
    """Take the events of an output topic through the desks of a pager and of a ticket system, by the shipped routes."""
    receivers = (
        ReceiverSettings(name=PAGER, kind="pagerduty", routing_key_file=Path("not-read")),
        ReceiverSettings(name=TICKETS, kind="log"),
    )
    delivery = DeliverySettings(receivers=receivers)
    routing, owners = Routing(delivery.routes, receivers), Owners.read(None, {})
    told = Told(by_receiver={each.name: set() for each in receivers}, ended={each.name: set() for each in receivers})
    desks = {each.name: Desk(_Nature(), Rules(each.name, delivery, routing, owners)) for each in receivers}
    now_ms = 0
    for record in records:
        change = read_change(record)
        now_ms = max(now_ms, change.stamped_ms)
        severity = desks[TICKETS].rules.class_of(change)
        told.classes[change.episode_id] = max(severity, told.classes.get(change.episode_id, severity))
        told.severities[change.episode_id] = max(change.severity, told.severities.get(change.episode_id, 0.0))
        told.states.setdefault(change.episode_id, change.state)
        for name, desk in desks.items():
            desk.take(change, now_ms)
            while notices := desk.due(now_ms):
                for notice in notices:
                    desk.delivered(notice, now_ms)
                    whose = told.ended if notice.action is Action.RESOLVE else told.by_receiver
                    whose[name].add(notice.alert.episode_id)
                desk.saved(desk.unsaved())
    return told


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What was told, against the truth.

    Attributes:
        data: the stream.
        names: of the published episodes, as in `matching`.
        matching: of the published episodes.
        told: to whom.
        normal_rows: outside anomalies.
    """

    data: SyntheticStream
    names: list[str]
    matching: Matching
    told: Told
    normal_rows: int

    def is_met(self) -> bool:
        """Whether each episode is told, each page is critical, of a ready key, and ended where the episode is."""
        told = self.told
        pages = told.by_receiver[PAGER]
        return (
            told.by_receiver[TICKETS] == set(self.names)
            and all(told.classes[name] is SeverityClass.CRITICAL for name in pages)
            and told.ended[PAGER] == pages & told.ended[TICKETS]
        )

    def table(self) -> str:
        """Return the figures as a text of some lines."""
        is_page = np.array([name in self.told.by_receiver[PAGER] for name in self.names], dtype=np.bool_)
        lines = [f"{'episodes by class':20}{'published':>10}{'true':>7}{'false':>7}{'pages':>8}{'true':>7}{'false':>7}"]
        for severity in SeverityClass:
            chosen = np.array([self.told.classes[name] is severity for name in self.names], dtype=np.bool_)
            lines.append(self._class_line(severity.word, chosen, is_page))
        every = np.ones_like(is_page)
        lines.append(self._class_line("all", every, is_page))
        critical = [name for name in self.names if self.told.classes[name] is SeverityClass.CRITICAL]
        not_ready = Counter(self.told.states[name] for name in critical if name not in self.told.by_receiver[PAGER])
        lines += ["", f"critical and not a page, by state at the opening: {_words(not_ready)}", ""]
        lines.append(f"{'anomalies by kind':20}{'injected':>10}{'found':>7}{'paged':>7}")
        kinds = np.array([injection.kind for injection in self.data.injections])
        for kind in Kind:
            if (kinds == kind).any():
                lines.append(self._kind_line(kind.replace("_", " "), kinds == kind, is_page))
        lines.append(self._kind_line("all", np.ones(len(kinds), dtype=np.bool_), is_page))
        lines += ["", *self._by_threshold(), "", *self._rates(is_page)]
        return "\n".join(lines)

    def _by_threshold(self) -> list[str]:
        """Return what other settings of `alerts.critical_severity` would page, whatever the key's state."""
        severities = np.array([self.told.severities[name] for name in self.names])
        lines = [f"{'critical_severity':20}{'pages':>10}{'true':>7}{'false':>7}"]
        for threshold in THRESHOLDS:
            chosen = severities >= threshold
            is_true = self.matching.is_true
            lines.append(
                f"{threshold:<20}{chosen.sum():>10}{(chosen & is_true).sum():>7}{(chosen & ~is_true).sum():>7}"
            )
        return [*lines, f"highest severity: {severities.max(initial=0.0):.1f}"]

    def _class_line(self, name: str, chosen: Flags, is_page: Flags) -> str:
        is_true = self.matching.is_true
        counts = [(chosen & flags).sum() for flags in (is_true, ~is_true)]
        pages = [(chosen & is_page & flags).sum() for flags in (is_true, ~is_true)]
        cells = f"{chosen.sum():>10}{counts[0]:>7}{counts[1]:>7}{sum(pages):>8}{pages[0]:>7}{pages[1]:>7}"
        return f"{name:20}{cells}"

    def _kind_line(self, name: str, chosen: Flags, is_page: Flags) -> str:
        episode_of = self.matching.episode_of
        found = chosen & (episode_of >= 0)
        paged = found & is_page[episode_of.clip(0)] if len(is_page) else found & False
        return f"{name:20}{chosen.sum():>10}{found.sum():>7}{paged.sum():>7}"

    def _rates(self, is_page: Flags) -> list[str]:
        false = {"episodes": ~self.matching.is_true, "pages": ~self.matching.is_true & is_page}
        rates = {what: int(flags.sum()) / self.normal_rows * 10_000 for what, flags in false.items()}
        days = {what: rate / 10_000 * HOSTS * HOST_DAY_ROWS for what, rate in rates.items()}
        return [
            f"false {what}: {int(flags.sum())} in {self.normal_rows:,} normal rows, {rates[what]:.2f} per 10,000;"
            f" of {HOSTS} hosts at a row a minute {days[what]:,.0f} a day"
            for what, flags in false.items()
        ]


def measure(scale: sensor_demo.Scale, keys: int) -> Figures:
    """Train as the demo does, stream its machines and tell of what is published."""
    data = generate(
        keys=keys,
        rows=scale.train_rows + scale.live_rows,
        step_ms=sensor_demo.STEP_MS,
        seed=sensor_demo.SEED,
        anomalies_per_key=scale.anomalies_per_key,
        train_rows=scale.train_rows,
    )
    with TemporaryDirectory() as folder:
        sensor_demo.main(Path(folder), keys=keys, scale=scale, stream=sys.stderr)
        bundle = load_bundle(Path(folder) / "bundle")
    return told_of(data, bundle, scale)


def told_of(data: SyntheticStream, bundle: Bundle, scale: sensor_demo.Scale) -> Figures:
    """Stream the live rows through the engine and tell of what it publishes."""
    live = sensor_demo.cut(data, slice(scale.train_rows, None))
    settings = Settings.model_validate(sensor_demo.live_sections())
    engine, broker = embedded_engine(live, bundle, settings, partitions=sensor_demo.PARTITIONS)
    records = sum(map(len, live))
    consume_all(engine, ReplayProgress(sys.stderr, records))
    topic = OutputSettings().topic
    events = broker.records(topic)
    names = list(dict.fromkeys(json.loads(record.value or b"")["episode_id"] for record in events))
    matching = sensor_demo.match(data, read_episodes(broker, topic))
    anomalous = sum(found.end_row - found.start_row for found in data.injections)
    return Figures(data, names, matching, tell(events), records - anomalous)


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.most_common()) or "none"
