"""Print the resident bytes, files aside, of a process that serves so many keys: `python -m scripts.bench.memory --keys 50000`.

With `--waiting 32` each key has so many rows that wait for late ones; with `--all` everything else is on, too, that keeps
something of a key: silence, jumps of clocks.

A process of its own each time, because memory that was once touched does not come back. Records come from a
generator and checkpoints go nowhere, so that only the engine's own state is weighed.
"""

from __future__ import annotations

import argparse
import gc
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from scripts.bench.embedded import NullModel, make_engine
from scripts.bench.inputs import STEP_MS, TOPIC, Traffic, untrained_bundle
from streamae.batches import Partition, Record
from streamae.connectors.protocols import Manifest, Message, Outcome, Poll, Span, Stamp
from streamae.model.bundle import Bundle
from streamae.observe import logs
from streamae.settings.data import InputSettings, WindowSettings
from streamae.settings.section import Section
from streamae.settings.silence import SilenceSettings

WINDOW_SIZE, FEATURES, HIDDEN_SIZE = 64, 8, 16
TURNED_ROWS = 24  # with a window's: every ring of a key is full and has begun to turn over
HOUR_MS = 3_600_000
PARTITION = Partition(TOPIC, 0)

POLL_RECORDS = InputSettings().max_poll_records


class GeneratedSource:
    """Row after row of every key, in polls of the default size; keeps no more than a row."""

    def __init__(self, traffic: Traffic, rows: int) -> None:
        self.left = rows
        self._traffic = traffic
        self._row: list[Record] = []
        self._is_new = True

    def poll(self, timeout_ms: int) -> Poll:  # noqa: ARG002 - never waits
        if self._is_new:
            self._is_new = False
            return Poll(assigned=(PARTITION,))
        if not self._row:
            self._row = self._traffic.rows(1)
        polled, self._row = self._row[:POLL_RECORDS], self._row[POLL_RECORDS:]
        self.left -= not self._row
        return Poll({PARTITION: polled})

    def span(self, partition: Partition) -> Span:  # noqa: ARG002 - there is one
        return Span(None, 0, 2**62)

    def start_at(self, partition: Partition, offset: int) -> None: ...
    def pause(self, partitions: Sequence[Partition]) -> None: ...
    def resume(self, partitions: Sequence[Partition]) -> None: ...

    def lag(self) -> dict[Partition, int]:
        return {}

    def membership(self) -> None:
        return None

    def close(self) -> None: ...


class ForgetfulSink:
    """Accepts every transaction."""

    is_thread_bound = True

    def transaction(self) -> AbstractContextManager[ForgetfulSink]:
        return nullcontext(self)

    def send(self, messages: Sequence[Message]) -> None: ...
    def send_offsets(self, offsets: dict[Partition, int], membership: Any) -> None: ...
    def close(self) -> None: ...


class ForgetfulStore:
    """Accepts every checkpoint and knows no key."""

    def __init__(self) -> None:
        self._offset: int | None = None
        self._fingerprint = ""

    def manifest(self, partition: Partition) -> Manifest | None:  # noqa: ARG002 - there is one
        return None if self._offset is None else Manifest(self._offset, self._fingerprint, ())

    def load(self, partition: Partition, keys: Sequence[bytes], base: int | None) -> list[bytes | None] | None:  # noqa: ARG002 - knows none
        return [None] * len(keys)

    def roster(self, partition: Partition, base: int | None) -> list[tuple[bytes, bytes]]:  # noqa: ARG002 - forgotten
        return []

    def states(self, partition: Partition, base: int) -> Iterator[Sequence[tuple[bytes, bytes]]]:  # noqa: ARG002 - forgotten
        yield from ()

    def checkpoint(
        self,
        partition: Partition,  # noqa: ARG002 - there is one
        base: int | None,  # noqa: ARG002 - there is one owner
        new: int,
        stamp: Stamp,
        records: Sequence[tuple[bytes, bytes]],  # noqa: ARG002 - forgotten
        deleted: Sequence[bytes] = (),  # noqa: ARG002 - forgotten
        *,
        roster: Sequence[tuple[bytes, bytes]] = (),  # noqa: ARG002 - forgotten
        off_roster: Sequence[bytes] = (),  # noqa: ARG002 - forgotten
        whole: bool = False,  # noqa: ARG002 - forgotten
    ) -> Outcome:
        self._offset, self._fingerprint = new, stamp.fingerprint
        return Outcome.OK

    def drop(self, partition: Partition) -> None: ...
    def close(self) -> None: ...


def sections_of(waiting: int, *, is_all: bool) -> dict[str, Section]:
    """Return the sections of the settings that decide what is kept of a key; see this module's flags."""
    return {
        "window": WindowSettings(
            lateness_ms=waiting * STEP_MS,
            lateness_rows=max(1, waiting),
            max_jump_ms=HOUR_MS if is_all else None,
            equal_time="keep",  # what the newest rows say is kept of every key
        ),
        "silence": SilenceSettings(after_gaps=10 if is_all else None),
    }


def resident_bytes(bundle: Bundle, keys: int, waiting: int = 0, *, is_all: bool = False) -> int:
    """Serve `keys` keys until all their state is filled, rows that wait too; return `anonymous_bytes`."""
    rows = bundle.architecture.window_size + TURNED_ROWS + waiting
    source, sections = GeneratedSource(Traffic(keys, bundle.features), rows), sections_of(waiting, is_all=is_all)
    engine = make_engine(bundle, keys, 1, source, ForgetfulSink(), ForgetfulStore(), NullModel(), **sections)
    now_ms = 0
    while source.left:
        engine.step(now_ms)
        now_ms += 1_000
    engine.drain(now_ms)
    gc.collect()
    return anonymous_bytes()


def anonymous_bytes() -> int:
    """Return the resident bytes of this process but for pages of files, which the kernel takes and gives as it likes."""
    (kilobytes,) = re.findall(
        r"^RssAnon:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE
    )
    return 1_024 * int(kilobytes)


def bytes_per_key(many: int, *flags: str) -> float:
    """Return what each further key adds to the resident bytes of a process of `flags`, from two processes."""
    few = 5_000  # a whole poll, so that what one poll needs for a moment is in both

    def weigh(keys: int) -> int:
        command = [sys.executable, "-m", "scripts.bench.memory", "--keys", str(keys), *flags]
        folder = Path(__file__).resolve().parents[2]
        return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout)

    return (weigh(many) - weigh(few)) / (many - few)


def main() -> int:
    """Measure and print one number."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--window", type=int, default=WINDOW_SIZE, help="rows of a window (%(default)s)")
    parser.add_argument("--waiting", type=int, default=0, help="rows of a key that wait for late ones (%(default)s)")
    parser.add_argument("--all", action="store_true", help="silence and jumps of clocks, too")
    chosen = parser.parse_args()
    logs.configure("warning")
    bundle = untrained_bundle(chosen.window, FEATURES, HIDDEN_SIZE)
    print(resident_bytes(bundle, chosen.keys, chosen.waiting, is_all=chosen.all))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
