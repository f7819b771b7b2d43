"""Watches live records: tells what the first ones look like, and when most come to nothing, and why.

A stream of which most records are refused, late, or end in no window is read wrongly more often than it is bad. This
is said once with a remedy, and once more when it is over: for the stream as a whole, for keys by reason, and for the
time between rows. Counts only: nothing here changes what becomes of a record. Records of a silent replay do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamae.batches import Cause, Flags, Ints, RecordBatch, Rejected, RowBatch, Slots
from streamae.core.columns import Columns
from streamae.core.grid import Strays
from streamae.core.key_table import NO_SLOT, KeyTable
from streamae.core.windowing import KeyWindows
from streamae.engine.first_sight import FirstSight
from streamae.engine.live_step import usual_steps_ms
from streamae.engine.outcomes import NUMBERS, OUTCOMES, WORDS, Outcomes
from streamae.engine.partitions import Partitions
from streamae.engine.recent import MOST, Recent
from streamae.observe.listener import Announcer
from streamae.observe.logs import get_logger, shown
from streamae.reasons import REMEDIES, Fruitless

STREAM_RECORDS, KEY_RECORDS = 1_000, 200  # newest ones, of which half or more must come to nothing
FAR, NEAR = 2.0, 1.8  # factor between live and trained step from which it is told, and under which it is over
EXAMPLES = 3  # keys named
INSPECT = "`streamae inspect` shows how the data is read"
STREAM = np.zeros(1, dtype=np.int64)  # the one slot of all records together


@dataclass(frozen=True, slots=True)
class Trained:
    """What a bundle was trained on.

    Attributes:
        inputs: I names of a record's values.
        step_ms: usual time between two rows of a key.
    """

    inputs: tuple[str, ...]
    step_ms: float


@dataclass(frozen=True, slots=True)
class Example:
    """A record that came to nothing; never its payload."""

    cause: Cause
    detail: str

    def __str__(self) -> str:
        topic, partition = self.cause.partition
        return f"{topic}-{partition} offset {self.cause.offset}: {self.detail}"


class StreamWatch(Announcer):
    """Bookkeeping beside the engine, called by its thread only.

    Attributes:
        seen: (`OUTCOMES`,) int64 live records so far by what became of them.
        ignored: records so far that are not meant, and so are nowhere.
        summary: what was seen, as of the last report, as values that JSON has; shares of unusable ones are of about the
            newest `STREAM_RECORDS`; None before the first.
    """

    def __init__(self, table: KeyTable, partitions: Partitions, windows: KeyWindows, trained: Trained) -> None:
        """Watch records on their way.

        Args:
            table, partitions, windows: of the engine; only read.
            trained: what live records are held against.
        """
        self._table, self._partitions, self._windows, self._trained = table, partitions, windows, trained
        self._outcomes = Outcomes(table.capacity, windows)
        self._stream, self._keys = Recent(1, STREAM_RECORDS, OUTCOMES), Recent(table.capacity, KEY_RECORDS, OUTCOMES)
        self._first: FirstSight | None = FirstSight(trained.inputs)
        self._examples: dict[int, Example] = {}
        self._of_stream = self._of_step = ""  # what is said now
        self._of_keys: dict[int, str] = {}  # likewise, by outcome
        self._step_ms: float | None = None
        self._log = get_logger()
        self.summary: dict[str, Any] | None = None
        self.ignored = 0
        self.seen = np.zeros(OUTCOMES, dtype=np.int64)

    @property
    def columns(self) -> tuple[Columns, ...]:
        """What is kept of a key: to be reset with it, never stored."""
        return self._outcomes.columns, self._keys.columns

    @property
    def warnings(self) -> list[str]:
        """What is wrong now, a sentence each; cheap."""
        return [said for said in (self._of_stream, *self._of_keys.values(), self._of_step) if said]

    @property
    def had_nothing_new(self) -> bool:
        """Whether no live record came although some were read, by us or before us."""
        return not self.seen.any() and any(progress.position for _, progress in self._partitions.items())

    def saw(
        self, records: RecordBatch, slots: Slots, rows: RowBatch, strays: Strays, rejected: Sequence[Rejected]
    ) -> None:
        """Take note of one step, before positions move.

        Args:
            records: N admitted ones, values (N, I) as the codec read them.
            slots: (N,) their slots.
            rows: completed by them, already in the windows.
            strays: those of them that became no part of a row.
            rejected: records that were not admitted.
        """
        self._outcomes.follow(rows)
        self.ignored += records.ignored
        live = self._are_live(records)
        refused = [one for one in rejected if not self._partitions.is_suppressed(one.cause)]
        numbers = self._outcomes.numbers(records, slots, strays)
        self._note_examples(records, np.where(live, numbers, 0), refused)
        numbers = np.append(numbers[live], [NUMBERS[one.reason] for one in refused]).astype(np.int64)
        if not len(numbers):
            return
        counts = np.bincount(numbers, minlength=OUTCOMES)
        self.seen += counts
        self._count_keys(numbers, np.append(slots[live], self._slots_of(refused)).astype(np.int32))
        if self._first is not None:
            self._first.add(records, live)
            if self.seen.sum() >= STREAM_RECORDS:
                self.describe()
        for newest in self._stream.add(STREAM, counts[None])[1]:
            self._tell_stream(newest)
        if not self._stream.columns["half"].any():  # just judged
            self._tell_of_keys()

    def describe(self) -> None:
        """Tell what the first records looked like, once: these are all there are so far."""
        if self._first is not None and self.seen.any():
            self._tell_first(self._first)
            self._first = None

    def report(self) -> None:
        """Hold the live step against the trained one, and refresh the metrics: costs a pass over all keys."""
        self._look_at_step()
        counts = self._stream.counts(0)
        trouble = int(self._stream.columns["trouble"][0])
        shares = {word: float(counts[number] / max(1, counts.sum())) for word, number in NUMBERS.items()}
        self.listener.unusable(shares, WORDS[trouble - 1] if trouble else None)
        in_trouble = self._keys_in_trouble()
        self.listener.unusable_keys({word: int(in_trouble[number]) for word, number in NUMBERS.items()})
        if self._step_ms is not None:
            self.listener.step_ratio(self._step_ms / self._trained.step_ms)
        self.summary = {
            "records": int(self.seen.sum()),
            "unusable": {word: round(share, 3) for word, share in shares.items() if share},
            "step_ms": self._step_ms,
            "trained_step_ms": self._trained.step_ms,
        }

    def worst(self) -> str:
        """Return what became of most live records so far, with an example; "" where most are as they should be."""
        bad = int(self.seen[1:].sum())
        if not bad or 2 * bad < self.seen.sum():
            return ""
        return self._sentence(f"{bad:,} of {self.seen.sum():,} records", int(self.seen[1:].argmax()) + 1)

    def _are_live(self, records: RecordBatch) -> Flags:
        """Tell which of N records are not replayed silently."""
        found = np.ones(len(records), dtype=np.bool_)
        if self._partitions.replaying():
            until = {partition: progress.replay_until for partition, progress in self._partitions.items()}
            found[:] = [
                offset >= until[partition]
                for offset, partition in zip(records.offsets.tolist(), records.partitions, strict=True)
            ]
        return found

    def _slots_of(self, refused: Sequence[Rejected]) -> list[int]:
        """Return the slot of each refused record's key, `NO_SLOT` where it is unknown, or that of no key we have."""
        keys = [one.raw.key if one.key is None else one.key for one in refused]
        found = self._table.lookup([one.cause.partition for one in refused], [key or b"" for key in keys])
        return [NO_SLOT if key is None else slot for key, slot in zip(keys, found.tolist(), strict=True)]

    def _note_examples(self, records: RecordBatch, numbers: Ints, refused: Sequence[Rejected]) -> None:
        """Keep the newest record of each outcome; `numbers` (N,) has 0 for those that do not count."""
        for number in np.unique(numbers[numbers > 0]).tolist():
            index = int(np.flatnonzero(numbers == number)[-1])
            cause = Cause(records.partitions[index], int(records.offsets[index]))
            self._examples[number] = Example(cause, _detail(number, records))
        for one in refused:
            self._examples[NUMBERS[one.reason]] = Example(one.cause, one.detail)

    def _count_keys(self, numbers: Ints, slots: Slots) -> None:
        """Count records (n,) by key."""
        known = slots != NO_SLOT
        uniques, places = np.unique(slots[known], return_inverse=True)
        counts = np.bincount(places * OUTCOMES + numbers[known], minlength=len(uniques) * OUTCOMES)
        self._keys.add(uniques, counts.reshape(-1, OUTCOMES))

    def _keys_in_trouble(self) -> Ints:
        """Return how many keys are in trouble, (OUTCOMES,) by its reason."""
        trouble = self._keys.columns["trouble"]
        return np.bincount(trouble[trouble > 0], minlength=OUTCOMES)

    def _tell_stream(self, counts: Ints) -> None:
        trouble = int(self._stream.columns["trouble"][0])
        share = f"{1 - counts[0] / counts.sum():.0%}"
        if trouble:
            self._of_stream = self._warn(
                "stream_refused", trouble, f"{share} of the newest {STREAM_RECORDS:,} records", unusable=share
            )
        else:
            self._of_stream = ""
            self._log.info("stream_recovered", unusable=share)

    def _tell_of_keys(self) -> None:
        """Tell of keys in trouble, once a reason, unless the whole stream is, or seems to begin to be."""
        found = self._keys_in_trouble()
        for number in [number for number in self._of_keys if not found[number]]:
            del self._of_keys[number]
            self._log.info("keys_recovered", reason=str(WORDS[number - 1]))
        newest = self._stream.counts(0)
        if self._of_stream or newest[0] <= MOST * newest.sum():
            return
        for number in np.flatnonzero(found).tolist():
            if number not in self._of_keys:
                slots = np.flatnonzero(self._keys.columns["trouble"] == number)
                names = ", ".join(shown(self._table.keys[slot]) for slot in slots[:EXAMPLES])
                what = f"half or more of the newest {KEY_RECORDS} records of a key ({names})"
                self._of_keys[number] = self._warn("keys_refused", number, what, examples=names, keys=len(slots))

    def _warn(self, event: str, number: int, what: str, **more: Any) -> str:
        """Log a warning about an outcome with the newest example; return it as a sentence."""
        example, word = self._examples[number], WORDS[number - 1]
        topic, partition = example.cause.partition
        where = {"topic": topic, "partition": partition, "offset": example.cause.offset}
        remedy = f"{REMEDIES[word]}; {INSPECT}"
        self._log.warning(event, reason=str(word), **more, **where, detail=example.detail, remedy=remedy)
        return self._sentence(what, number)

    def _sentence(self, what: str, number: int) -> str:
        word = WORDS[number - 1]
        return f"{what} came to nothing, most often {word}, as {self._examples[number]}; {REMEDIES[word]}; {INSPECT}"

    def _tell_first(self, first: FirstSight) -> None:
        self._look_at_step()
        refused = [f"{word} {self.seen[number]}" for word, number in NUMBERS.items() if self.seen[number]]
        self._log.info(
            "stream_seen",
            records=int(self.seen.sum()),
            usable=int(self.seen[0]),
            unusable=", ".join(refused) or "none",
            ignored=self.ignored,
            keys=len(self._live_slots()),
            step_ms=self._step_ms,
            trained_step_ms=self._trained.step_ms,
            **first.words(),
        )

    def _live_slots(self) -> Slots:
        """Return the slots of keys that sent live records."""
        slots = self._table.resident()
        columns = self._keys.columns
        return slots[columns["half"][slots].any(axis=1) | columns["before"][slots].any(axis=1)]

    def _look_at_step(self) -> None:
        """Tell when rows of most keys come much faster or slower than in training; a replay's rows do not count."""
        steps = usual_steps_ms(self._windows, self._live_slots())
        if self._partitions.replaying() or not len(steps):
            return
        self._step_ms = float(np.median(steps))
        ratio = max(self._step_ms, 1e-9) / self._trained.step_ms
        factor = max(ratio, 1 / ratio)
        if factor >= FAR and not self._of_step:
            live, trained = f"{self._step_ms:,.0f} ms", f"{self._trained.step_ms:,.0f} ms"
            remedy = "train on data of this step, or bring rows to it: window.grid_ms, in training too"
            self._of_step = f"rows of a key are usually {live} apart, in training {trained}; {remedy}"
            self._log.warning("step_differs", step_ms=live, trained_step_ms=trained, remedy=remedy)
        elif factor < NEAR and self._of_step:
            self._of_step = ""
            self._log.info("step_fits", step_ms=self._step_ms, trained_step_ms=self._trained.step_ms)


def _detail(number: int, records: RecordBatch) -> str:
    """Return what there is to say of an admitted record: which field is bad most often, else the word's meaning."""
    word = WORDS[number - 1]
    if word is Fruitless.BAD_VALUES and records.bad_values:
        (feature, reason), _ = records.bad_values.most_common(1)[0]
        return f"of {feature}: {reason}"
    return word.meaning
