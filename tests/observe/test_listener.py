"""What an engine announces: after the fact, in its own thread, and never once a record."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from streamae.batches import Partition
from streamae.engine.publisher import in_thread
from streamae.observe.listener import SILENT, Listener
from streamae.observe.telemetry import Telemetry
from streamae.reasons import Reason
from tests.engines import START_MS, Rig, broker_with, stream

ANNOUNCEMENTS = sorted(name for name in vars(Listener) if not name.startswith("_"))


class Recorder(Listener):
    """Notes the thread of every announcement, and what `look` sees at that moment."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, tuple[Any, ...], threading.Thread]] = []
        self.looks: dict[str, Callable[..., None]] = {}

    def counts(self) -> Counter[str]:
        """How often each announcement came."""
        return Counter(name for name, _, _ in self.heard)


def _recorded(name: str) -> Callable[..., None]:
    def hear(self: Recorder, *values: Any) -> None:
        self.heard.append((name, values, threading.current_thread()))
        self.looks.get(name, lambda *_: None)(*values)

    return hear


for announcement in ANNOUNCEMENTS:
    setattr(Recorder, announcement, _recorded(announcement))


def rig(recorder: Listener, **parts: Any) -> Rig:
    """An engine that `recorder` listens to, on a stream with a spike and 30 records that are no JSON."""
    records = stream(3, 120)
    odd = [(b"machine-%d" % (number % 3), b"no JSON") for number in range(30)]
    process = Rig(broker_with([*records[:60], *odd, *records[60:]]), parts=parts)
    process.engine.attach(recorder)
    return process


def test_telemetry_hears_every_announcement() -> None:
    """One that nobody counts would be lost in silence; one that is not declared would never be heard."""
    own = {name for name in vars(Telemetry) if not name.startswith("_")}
    assert own - {"render"} == set(ANNOUNCEMENTS)


def test_nobody_needs_to_listen() -> None:
    """Backtests and demos run without metrics, and publish the same."""
    silent, heard = rig(SILENT), rig(Recorder())
    for process in (silent, heard):
        process.run_dry()
    assert [record.value for record in silent.events()] == [record.value for record in heard.events()] != []
    assert len(silent.dead_letters()) == 30


def test_it_comes_after_what_it_announces() -> None:
    """Who looks at the engine when he hears of records finds them processed; of dead letters, on their way."""
    recorder = Recorder()
    process = rig(recorder)
    engine, seen = process.engine, Counter[str]()

    def consumed(partition: Partition, records: int, newest_ms: int) -> None:
        seen["consumed"] += records
        assert newest_ms == START_MS
        assert engine.partitions[partition].position >= records

    def dead_lettered(reason: Reason, records: int) -> None:
        seen["dead"] += records
        waiting = [
            message for message in engine.outbox.waiting if message.topic == process.settings.output.dead_letter_topic
        ]
        assert reason is Reason.NOT_JSON
        assert len(waiting) >= records

    recorder.looks |= {"consumed": consumed, "dead_lettered": dead_lettered}
    process.run_dry()
    assert seen == {"consumed": 390, "dead": 30}


def test_it_is_never_one_call_a_record() -> None:
    """A thousand bad records of one poll are told in one breath: listening costs by step, not by record."""
    recorder = Recorder()
    process = rig(recorder)
    process.run_dry()
    counts = recorder.counts()
    polls = counts["stepped"]
    assert 0 < counts["dead_lettered"] < 30
    assert max(counts.values()) <= 2 * polls  # two partitions


def test_all_but_the_transaction_comes_in_the_thread_of_the_engine() -> None:
    """A listener that counts needs no lock but for transactions, which end in a thread of their own."""
    recorder = Recorder()
    process = rig(recorder, run_in_background=in_thread)
    process.run_dry()
    here = {name for name, _, thread in recorder.heard if thread is threading.current_thread()}
    elsewhere = {name for name, _, thread in recorder.heard if thread is not threading.current_thread()}
    assert elsewhere == {"transaction"}
    assert {"consumed", "stepped", "checkpoint", "scored", "episode", "partition_started"} <= here
