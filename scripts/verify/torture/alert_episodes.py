"""Made-up episodes for the alert process, written to the output topic as the daemon writes them.

Two episodes a key, one after the other, so that a page which begins twice or never ends is seen: the receivers know
both by one name. Some first ones are never closed, as when state was lost: the second one supersedes them. Messages go
out plainly, in transactions, and in transactions that are aborted, which nobody may ever hear of.

Must not know: who reads them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple
from zlib import crc32

from confluent_kafka import Producer

from scripts.verify.torture.outputs import CLIENT
from streamae.batches import KeyState, Partition
from streamae.connectors.events import EventWriter, episode_id
from streamae.connectors.protocols import Message
from streamae.episode_changes import ChangeKind, EpisodeChange, FeatureExplanation
from streamae.reasons import CloseReason

DETECTOR = "streamae"
SOURCE = Partition("metrics", 0)
START_MS = 1_735_757_820_000
MINUTE_MS = 60_000
FEATURES = ("fan_rpm", "network_mbit_s")
MOST_UPDATES = 4
SUPERSEDED_SHARE = 0.1
ABORTED_SHARE = 0.1
MOST_TOGETHER = 3  # changes in one transaction
FLUSH_TIMEOUT_S = 60.0
PHANTOM = b"phantom"  # key of what is aborted
PEAK = EpisodeChange(
    kind=ChangeKind.OPENED,
    slot=0,
    offset=0,
    opened_offset=0,
    sequence=0,
    start_time_ms=START_MS,
    peak_time_ms=START_MS,
    end_time_ms=START_MS,
    window_start_ms=START_MS - 31 * MINUTE_MS,
    window_end_ms=START_MS,
    window_rows=32,
    windows=1,
    score=3.8,
    threshold=3.0,
    mean=0.0,
    sd=1.0,
    count=106,
    needed=64,
    state=KeyState.READY,
    state_reason="",
    peak_score=3.8,
    severity=60.0,
    confidence=0.8,
    imputed_share=0.0,
    close_reason=None,
    features=(FeatureExplanation(1, 0.738, 63.55, 297.7), FeatureExplanation(0, 0.262, 3283.35, 3766.35)),
)


class Step(NamedTuple):
    """One change of one episode."""

    key: bytes
    change: EpisodeChange


@dataclass(frozen=True)
class Episode:
    """One episode as it is planned.

    Attributes:
        key: of the stream.
        id: as it stands in events.
        changes: in order.
    """

    key: bytes
    id: str
    changes: tuple[EpisodeChange, ...]


def episode(key: bytes, number: int, updates: int, *, severity: float = 95.0, is_closed: bool = True) -> Episode:
    """Return an episode of so many updates, whose severity rises to the one given."""
    start_ms = START_MS + number * MINUTE_MS
    opened = replace(
        PEAK,
        opened_offset=number,
        offset=number,
        start_time_ms=start_ms,
        peak_time_ms=start_ms,
        end_time_ms=start_ms,
        window_end_ms=start_ms,
    )
    changes = [opened]
    for sequence in range(1, updates + 1):
        changes.append(_later(changes[-1], sequence, ChangeKind.UPDATED, 60 + (severity - 60) * sequence / updates))
    if not updates:
        changes = [replace(opened, severity=severity)]
    if is_closed:
        last = _later(changes[-1], updates + 1, ChangeKind.CLOSED, severity)
        changes.append(replace(last, close_reason=CloseReason.QUIET))
    name = str(episode_id(DETECTOR, SOURCE, key, number, opened.start_time_ms))
    return Episode(key, name, tuple(changes))


def _later(change: EpisodeChange, sequence: int, kind: ChangeKind, severity: float) -> EpisodeChange:
    end_ms = change.end_time_ms + MINUTE_MS
    return replace(
        change, kind=kind, sequence=sequence, severity=severity, end_time_ms=end_ms, window_end_ms=end_ms, windows=9
    )


def planned(count: int, rng: Random) -> tuple[dict[str, list[Episode]], list[Step]]:
    """Return `count` episodes by key, in order, and all their changes in the order in which they happen."""
    by_key: dict[str, list[Episode]] = {}
    timed: list[tuple[float, Step]] = []
    for number in range((count + 1) // 2):
        name = f"machine-{number:03d}"
        is_alone = 2 * number + 1 == count
        is_lost = not is_alone and rng.random() < SUPERSEDED_SHARE
        first = episode(name.encode(), 2 * number, rng.randint(0, MOST_UPDATES), is_closed=not is_lost)
        second = episode(name.encode(), 2 * number + 1, rng.randint(0, MOST_UPDATES))
        by_key[name] = [first] if is_alone else [first, second]
        changes = [change for each in by_key[name] for change in each.changes]
        places = sorted(rng.random() for _ in changes)
        timed += [(place, Step(name.encode(), change)) for place, change in zip(places, changes, strict=True)]
    return by_key, [step for _, step in sorted(timed, key=lambda each: each[0])]


def event_writer(topic: str) -> EventWriter:
    """Return what writes events as the daemon does."""
    return EventWriter(
        topic,
        "urn:streamae",
        FEATURES,
        top_features=5,
        bundle_version="9a4b4b523b47",
        settings_version="cb2b75642323",
        detector=DETECTOR,
    )


class EpisodeProducer:
    """Writes steps in order, each way in turn as `rng` decides; what `write` was given is there when it returns.

    Args:
        servers, topic, partitions: where to.
        rng: decides.
        is_plain: without transactions, where they would only take time.

    Attributes:
        written: changes that are there.
        aborted: transactions that came to nothing.
    """

    def __init__(self, servers: str, topic: str, partitions: int, rng: Random, *, is_plain: bool = False) -> None:
        self._writer, self._partitions, self._rng = event_writer(topic), partitions, rng
        self._plain = Producer({"bootstrap.servers": servers, "enable.idempotence": True, **CLIENT})
        self._transactional = Producer({"bootstrap.servers": servers, "transactional.id": f"{topic}-writer", **CLIENT})
        self._transactional.init_transactions(FLUSH_TIMEOUT_S)
        self._is_plain = is_plain
        self._failures: list[str] = []
        self.written = self.aborted = 0

    def write(self, steps: Iterable[Step]) -> None:
        """Write steps, a few together.

        Raises:
            RuntimeError: the broker did not take one.
        """
        left = deque(steps)
        while left:
            some = [left.popleft() for _ in range(min(len(left), self._rng.randint(1, MOST_TOGETHER)))]
            if not self._is_plain and self._rng.random() < ABORTED_SHARE:
                self._abort()
            if not self._is_plain and self._rng.random() < 0.5:
                self._transactional.begin_transaction()
                self._send(self._transactional, some)
                self._transactional.commit_transaction(FLUSH_TIMEOUT_S)
            else:
                self._send(self._plain, some)
                self._plain.flush(FLUSH_TIMEOUT_S)
            if self._failures:
                raise RuntimeError(f"events were not written: {self._failures[:3]}")
            self.written += len(some)

    def write_at_once(self, steps: Sequence[Step]) -> None:
        """Write all steps in one transaction."""
        self._transactional.begin_transaction()
        self._send(self._transactional, steps)
        self._transactional.commit_transaction(FLUSH_TIMEOUT_S)
        self.written += len(steps)

    def _abort(self) -> None:
        phantom = episode(PHANTOM, 10_000_000 + self.aborted, 0)
        self._transactional.begin_transaction()
        self._send(self._transactional, [Step(PHANTOM, change) for change in phantom.changes])
        self._transactional.flush(FLUSH_TIMEOUT_S)  # else nothing of it would reach the broker
        self._transactional.abort_transaction(FLUSH_TIMEOUT_S)
        self.aborted += 1

    def _send(self, producer: Producer, steps: Iterable[Step]) -> None:
        for key, change in steps:
            message: Message = self._writer.message(change, key, SOURCE)
            producer.produce(
                message.topic,
                message.value,
                key,
                crc32(key) % self._partitions,
                on_delivery=self._delivered,
                headers=dict(message.headers),
            )

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._failures.append(str(error))


def names_of(by_key: Mapping[str, Sequence[Episode]]) -> dict[str, list[str]]:
    """Return the episodes of each key by their names, in order."""
    return {key: [each.id for each in episodes] for key, episodes in by_key.items()}
