"""T9: as many bad records as good ones, and the good ones must come out as if they were alone.

The same stream flows twice: clean, and with bad records of every kind between the good ones, some of which are spelt
in odd ways. Every bad record must be in the dead-letter topic once, untouched, with its reason.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from time import time
from typing import NamedTuple

import numpy as np
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource  # type: ignore[attr-defined]  # not listed
from numpy.typing import NDArray

from scripts.verify.torture import outputs
from scripts.verify.torture.bad_records import (
    HUGE,
    HUGE_BYTES,
    MAX_KEY_BYTES,
    MAX_RECORD_BYTES,
    REJECTED_IF_MISSING,
    Kind,
    Place,
    odd,
    schedule,
)
from scripts.verify.torture.checkers import Differences, Output, compare
from scripts.verify.torture.context import Context
from scripts.verify.torture.memory import GIVE_BACK
from scripts.verify.torture.outputs import Message
from scripts.verify.torture.report import Result
from scripts.verify.torture.trial import Leftovers, Trial
from scripts.verify.torture.workers import Sections, wait_until
from scripts.verify.torture.workload import Workload

HUGE_RECORDS = 5
ODD_SHARE = 0.2
WARM_SHARE = 0.2  # of the stream, after which the memory counts as the usual
FETCH_BYTES = 2**20  # small: what waits in fetches would be as much as the growth looked for
MAX_HELD_GROWTH_BYTES = 20_000_000  # of what is in use at rest: less than the two largest that come after warming up
MAX_PEAK_GROWTH_BYTES = 50_000_000
TRUNCATED_HEADER = "streamae-truncated"
PROGRESS_TIMEOUT_S = 300.0


class Letter(NamedTuple):
    """What must be known of a dead letter; digests, because the originals can be large."""

    reason: str
    kind: str
    key: bytes
    value: bytes


class Growth(NamedTuple):
    """Of a worker's resident memory after it has warmed up: what it holds at rest, and the most it ever needed."""

    held_bytes: int
    peak_bytes: int


@dataclass
class Mixture:
    """A workload with bad records between its good ones.

    Attributes:
        workload: the good records.
        kinds: of the bad ones, in order.
        seed: of everything random.
        offsets: offset of each good record in the mixed stream, (N,), filled as records are made.
        letters: expected dead letters by (partition, offset), likewise.
        huge_ends: numbers of good records behind each of the largest bad ones: where to wait, so that no two of them
            are in flight together and the memory for one is all that is needed.
    """

    workload: Workload
    kinds: list[Kind]
    seed: int
    offsets: NDArray[np.int64] = field(init=False)
    letters: dict[tuple[int, int], Letter] = field(default_factory=dict, init=False)
    huge_ends: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.offsets = np.full(self.workload.records, -1, dtype=np.int64)
        self._next = dict.fromkeys(range(self.workload.partitions), 0)
        self._random = Random(self.seed)
        # Bad records come only when every key has been seen: then one more key is one too many.
        candidates = range(self.workload.keys, self.workload.records)
        chosen = [self._random.choice(candidates) for _ in self.kinds]
        self._bad_after = Counter(chosen)
        self._left = iter(self.kinds)
        self.huge_ends = [number + 1 for number, kind in zip(sorted(chosen), self.kinds, strict=True) if kind is HUGE]

    @property
    def ends(self) -> dict[int, int]:
        """Return the number of records made so far, by partition."""
        return dict(self._next)

    def records(self, start: int, end: int) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        """Yield (partition, key, value) of the good records [start, end) and of the bad ones behind each of them.

        Must be called for consecutive ranges from 0 on, and read to the end.
        """
        for number, (partition, key, value) in enumerate(self.workload.produced(start, end), start):
            content = json.loads(value)
            spelt = odd(content, self._random) if self._random.random() < ODD_SHARE else value
            self.offsets[number] = self._take(partition)
            yield partition, key, spelt
            for _ in range(self._bad_after[number]):
                kind = next(self._left)
                entry = kind.entry(Place(key, content, int(time() * 1_000)), self._random)
                self.letters[partition, self._take(partition)] = Letter(
                    kind.reason, kind.name, digest(entry[0]), digest(entry[1])
                )
                yield partition, *entry

    def moved(self, outputs: list[Output]) -> list[Output]:
        """Return outputs of the clean stream with the offsets of the mixed one."""
        numbers = {
            (int(key) % self.workload.partitions, int(offset)): number
            for number, (key, offset) in enumerate(zip(self.workload.order, self.workload.offsets, strict=True))
        }

        def there(identity: tuple[int | str, ...]) -> tuple[int | str, ...]:
            partition, offset, *rest = identity
            return partition, int(self.offsets[numbers[int(partition), int(offset)]]), *rest

        return [output._replace(identity=there(output.identity)) for output in outputs]

    def _take(self, partition: int) -> int:
        offset = self._next[partition]
        self._next[partition] += 1
        return offset


def digest(content: bytes | None) -> bytes:
    """Return 16 bytes that tell contents apart; nothing and empty are alike, as for a reader of the topic."""
    return hashlib.blake2b(content or b"", digest_size=16).digest()


def compare_letters(expected: dict[tuple[int, int], Letter], found: list[Message]) -> Differences:
    """Compare dead letters with what must be there: each once, with its reason, key and value untouched."""
    differences = Differences("dead letters")
    seen: set[tuple[int, int]] = set()
    for message in found:
        headers = dict(message.headers)
        place = int(headers["streamae-source-partition"]), int(headers["streamae-source-offset"])
        letter, reason = expected.get(place), headers["streamae-reason"].decode()
        if place in seen:
            differences.note("duplicated", place)
        elif letter is None:
            differences.note("unexpected", (place, reason, message.value[:80]))
        else:
            if reason != letter.reason:
                differences.note("for another reason", f"{letter.kind}: {reason} instead of {letter.reason}")
            is_cut = TRUNCATED_HEADER in headers and len(message.value) < HUGE_BYTES
            if digest(message.key) != letter.key or (digest(message.value) != letter.value and not is_cut):
                differences.note("changed", (place, letter.kind))
        seen.add(place)
    for place in expected.keys() - seen:
        differences.note("lost", (place, expected[place].kind))
    return differences


def rules_of(workload: Workload) -> Sections:
    """Return the settings under which what is bad is refused, never repaired, and never dropped unseen."""
    return {
        "input": {"max_record_bytes": MAX_RECORD_BYTES, "max_key_bytes": MAX_KEY_BYTES},
        "kafka": {"fetch_max_bytes": FETCH_BYTES},
        "window": dict.fromkeys(("late", "duplicate", "equal_time"), "dead_letter"),
        "window.missing_overrides": {REJECTED_IF_MISSING: "reject"},
        "limits": {"max_keys": workload.keys},
    }


def bad_input(context: Context) -> Result:
    """T9: `context.faults` bad records among as many good ones."""
    rows = 100 if context.faults >= 50_000 else 50
    workload = Workload(keys=context.faults // rows, rows=rows, partitions=4, seed=context.seed)
    clean = _clean_run(context, workload)
    kinds = schedule(context.faults, context.rng, huge=HUGE_RECORDS)
    first = workload.records * WARM_SHARE
    for share in (0.3, 0.5, 0.7):  # of the warm part: the memory that 10 MB records need is part of the usual
        kinds.insert(int(len(kinds) * WARM_SHARE * share), kinds.pop(max(_places(kinds, HUGE))))
    mixture = Mixture(workload, kinds, context.seed)
    with context.trial(workload, compares=False, workers=1, sections=rules_of(workload)) as trial:
        trial.create_topics()
        _allow_large(trial.setup.checked_servers, trial.setup.name)
        trial.watch.start()
        worker = trial.workers.start(0, env=GIVE_BACK)
        writer = Writer(trial.setup.checked_servers, trial.setup.name)
        start, warm = 0, int(first)
        held_bytes, peaks_bytes = dict[int, int](), dict[int, int]()
        for end in sorted({workload.keys, warm, workload.records, *mixture.huge_ends}):
            writer.write(mixture.records(start, end))
            wait_until(
                lambda: trial.watch.newest() == mixture.ends, f"{mixture.ends} to be committed", PROGRESS_TIMEOUT_S
            )
            start, held_bytes[end], peaks_bytes[end] = end, worker.rss_bytes(), worker.peak_rss_bytes()
        held, peak = (each[workload.records] - each[warm] for each in (held_bytes, peaks_bytes))
        counted = worker.metric("dead_letters_total")
        trial.exit_codes = trial.workers.stop()
        return _judge(trial, mixture, clean, counted, Growth(held, peak))


def _places(kinds: list[Kind], kind: Kind) -> list[int]:
    return [place for place, each in enumerate(kinds) if each is kind]


def _judge(trial: Trial, mixture: Mixture, clean: Leftovers, counted: float, growth: Growth) -> Result:
    left = Leftovers.of(trial)
    letters = outputs.read(trial.setup.checked_servers, trial.setup.dead_topic)
    bad = len(mixture.kinds)
    shortened = sum(any(name == TRUNCATED_HEADER for name, _ in letter.headers) for letter in letters)
    result = Result({
        "good": mixture.workload.records,
        "bad": bad,
        "kinds": len({letter.kind for letter in mixture.letters.values()}),
        "dead_letters": len(letters),
        "shortened": shortened,
        "windows": len(left.audit),
        "events": len(left.events),
        "rss_growth_mb": round(growth.held_bytes / 1e6, 1),
        "rss_peak_growth_mb": round(growth.peak_bytes / 1e6, 1),
    })  # fmt: skip
    for differences in (
        compare("audit", mixture.moved(clean.audit), left.audit),
        compare("events", mixture.moved(clean.events), left.events),
        compare_letters(mixture.letters, letters),
    ):
        result.complaints += differences.complaints()
    result.require(len(mixture.letters) == bad, f"{len(mixture.letters)} bad records were written, not {bad}")
    result.require(shortened == HUGE_RECORDS, f"{shortened} dead letters were shortened, not {HUGE_RECORDS}")
    result.require(counted == bad, f"the worker counted {counted} dead letters")
    result.require(growth.held_bytes < MAX_HELD_GROWTH_BYTES, f"the memory held grew by {growth.held_bytes:,} bytes")
    result.require(growth.peak_bytes < MAX_PEAK_GROWTH_BYTES, f"the memory needed grew by {growth.peak_bytes:,} bytes")
    result.require(trial.exit_codes == [0], f"exit codes after SIGTERM: {trial.exit_codes}")
    result.require(clean.events, "the clean stream has no event: nothing was compared")
    result.complaints += trial.workers.unexpected_ends()
    return result


def _clean_run(context: Context, workload: Workload) -> Leftovers:
    """Return the outputs of the good records alone, compared with the oracle.

    Raises:
        RuntimeError: they are wrong already.
    """
    with context.trial(workload, compares=False, workers=1, faults=0, sections=rules_of(workload)) as trial:
        trial.begin()
        trial.finish()
        if complaints := trial.judge().complaints:
            raise RuntimeError(f"the clean stream fails: {complaints}")
        return Leftovers.of(trial)


class Writer:
    """Writes records in the order given."""

    def __init__(self, servers: str, topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.max.bytes": 2 * HUGE_BYTES,
                "log_level": 0,
            }
        )
        self._failures: list[str] = []

    def write(self, records: Iterable[tuple[int, bytes | None, bytes | None]]) -> None:
        """Write (partition, key, value) and wait until the broker has them all.

        Raises:
            RuntimeError: it does not take one.
        """
        for partition, key, value in records:
            while True:
                try:
                    self._producer.produce(self._topic, value, key, partition, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self._producer.poll(0)
        if self._producer.flush(PROGRESS_TIMEOUT_S) or self._failures:
            raise RuntimeError(f"input records were not written: {self._failures[:3]}")

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self._failures.append(str(error))


def _allow_large(servers: str, topic: str) -> None:
    """Let a topic take the largest records; the dead-letter topic keeps the broker's limit of 1 MB."""
    limit = ConfigEntry("max.message.bytes", str(2 * HUGE_BYTES), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[limit])
    admin = outputs.admin_of(servers)  # must live until the answer is there
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(outputs.ADMIN_TIMEOUT_S)
