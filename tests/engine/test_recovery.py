"""Taking partitions over: what is told, counted and held back. The plan itself is tested with the partitions."""

from __future__ import annotations

from typing import Any

import pytest

from streamae.batches import Partition
from streamae.connectors.memory import MemoryBroker, MemorySource
from streamae.connectors.memory_store import MemoryStore
from streamae.connectors.protocols import Stamp
from streamae.engine.partitions import Partitions, RecoveryPolicy
from streamae.engine.recovery import HALT_RETRY_MS, Recovery
from streamae.errors import RetryableError
from streamae.observe import logs
from streamae.observe.telemetry import Telemetry

P0, P1 = Partition("sensors", 0), Partition("sensors", 1)


class Bench:
    """A recovery over two partitions of 100 records, of which 80 are committed and 60 are in the stored state."""

    def __init__(self, **policy: Any) -> None:
        self.broker, self.store, self.telemetry = MemoryBroker(2), MemoryStore(), Telemetry()
        for partition in (P0, P1):
            for _ in range(100):
                self.broker.produce("sensors", b"key", b"", partition=partition.index)
            self.broker.set_committed("group", partition, 80)
        self.source = MemorySource(self.broker, "group", ("sensors",))
        self.source.poll(0)
        for partition in (P0, P1):
            self.save(partition)
        self.partitions = Partitions()
        self.recovery = Recovery(self.source, self.store, "f", RecoveryPolicy(**policy))
        self.recovery.attach(self.telemetry)
        self.recovery.add([P0, P1])

    def save(self, partition: Partition) -> None:
        """Store the state of one key at offset 60."""
        stamp = Stamp("f", 3, self.source.span(partition).identity)
        self.store.checkpoint(partition, None, 60, stamp, [(b"key", b"state")])

    def counted(self, name: str) -> float:
        """Return the value of a series."""
        lines = self.telemetry.render()[0].decode().splitlines()
        return float(next(line for line in lines if line.startswith(name)).split()[-1])


def test_a_start_is_counted_by_its_reason() -> None:
    """How partitions come back is visible without reading logs."""
    bench = Bench()
    bench.store.lose_manifest(P1)
    bench.recovery.start(bench.partitions, 0)
    assert bench.counted('streamae_partition_starts_total{reason="replay"}') == 1
    assert bench.counted('streamae_partition_starts_total{reason="no_state"}') == 1
    assert bench.partitions[P0].epoch == 4


def test_a_halted_partition_stops_nobody_and_deletes_nothing() -> None:
    """The others go on; what is left of the stored state may still be repaired."""
    bench = Bench(on_loss="halt")
    bench.store.lose_keys(P0, [b"key"])
    bench.recovery.start(bench.partitions, 0)
    assert set(bench.recovery.halted) == {P0}
    assert set(bench.recovery.waiting) == {P0}
    assert bench.recovery.failing_since_ms is None
    assert [partition for partition, _ in bench.partitions.items()] == [P1]
    assert bench.store.manifest(P0) is not None
    assert set(bench.source.poll(0).records) == {P1}


def test_restored_state_is_found() -> None:
    """A halted partition is looked at again now and then, and read as soon as its state is back."""
    bench = Bench(on_loss="halt")
    kept = bench.store.snapshot()
    bench.store.flush()
    bench.recovery.start(bench.partitions, 0)
    bench.store.restore(kept)
    bench.recovery.start(bench.partitions, HALT_RETRY_MS - 1)
    assert len(bench.partitions) == 0, "not looked at yet"
    bench.recovery.start(bench.partitions, HALT_RETRY_MS)
    assert bench.recovery.halted == {}
    assert bench.recovery.waiting == {}
    assert bench.partitions[P0].base == 60
    assert set(bench.source.poll(0).records) == {P0, P1}


def test_a_partition_halted_while_it_runs_is_not_read_on() -> None:
    """Its records wait at the broker, not in memory."""
    bench = Bench(on_loss="halt")
    bench.recovery.start(bench.partitions, 0)
    bench.store.flush()
    bench.partitions.drop(P0)
    bench.recovery.distrust(P0, 60)
    bench.recovery.add([P0])
    bench.recovery.start(bench.partitions, 0)
    assert set(bench.source.poll(0).records) == {P1}


def test_a_halt_is_told_once_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """An error in the log, not one every few seconds."""
    logs.configure("info")
    bench = Bench(on_loss="halt")
    bench.store.flush()
    for turn in range(3):
        bench.recovery.start(bench.partitions, turn * HALT_RETRY_MS)
    lines = [line for line in capsys.readouterr().out.splitlines() if "partition_halted" in line]
    assert len(lines) == 2
    assert all("state.on_loss" in line and "error" in line and "no_state" in line for line in lines)


def test_a_halted_partition_that_is_taken_away_is_forgotten() -> None:
    """It is its next owner's business."""
    bench = Bench(on_loss="halt")
    bench.store.flush()
    bench.recovery.start(bench.partitions, 0)
    bench.recovery.abandon(P0)
    assert set(bench.recovery.halted) == set(bench.recovery.waiting) == {P1}


@pytest.mark.parametrize(
    ("loss", "expected"), [("nothing", 0), ("manifest", 1), ("key", 1), ("older", 1), ("another owner", 0)]
)
def test_a_loss_is_counted_once(loss: str, expected: int) -> None:
    """However often the recovery has to be tried: one loss; and a later owner's progress is none."""
    bench = Bench()
    bench.recovery.distrust(P0, 70 if loss == "older" else 60)
    if loss == "manifest":
        bench.store.lose_manifest(P0)
    elif loss == "key":
        bench.store.lose_keys(P0, [b"key"])
    elif loss == "another owner":
        bench.store.checkpoint(P0, 60, 65, Stamp("f", 4), [])
    bench.store.fail_at("drop", RetryableError("no answer"), times=2)
    for _ in range(3):
        bench.recovery.start(bench.partitions, 0)
    assert P0 in bench.partitions
    assert bench.counted("streamae_state_store_rollbacks_total") == expected
