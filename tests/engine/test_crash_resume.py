"""A process dies after any line of the engine; what the world sees must be as if it had not.

The crash is an exception at a chosen executed line, so no `finally` of a real kill is missed: nothing below the
engine swallows it, and the dead engine is never touched again. Broker and store outlive it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streamae import engine
from streamae.connectors.memory_store import MemoryStore
from streamae.errors import RetryableError
from tests.engines import Rig, broker_with, ids, settings, stream
from tests.sweeps import Sweep

WATCHED = str(Path(engine.__file__).parent)  # every module that a step or a commit runs through, also tomorrow's
PARTS = 150  # of a run
POLL_RECORDS = 29  # cuts rows of four keys anywhere; each poll more costs a sweep over every line two minutes
SPIKES = [(0, 35), (1, 60), (1, 61), (2, 90), (3, 30), (3, 75)]


class Crash(BaseException):
    """The process is gone."""


class Fuse:
    """Raises `Crash` at the n-th line executed in the watched modules; n = None only counts."""

    def __init__(self, at: int | None) -> None:
        self.at, self.lines = at, 0

    def __enter__(self) -> Fuse:  # noqa: PYI034 - nobody derives from a test's fuse
        self._former = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._former)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(WATCHED) else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                raise Crash(f"{frame.f_code.co_name}:{frame.f_lineno}")
        return self._line


def rig(broker: Any, store: MemoryStore, **sections: Any) -> Rig:
    """Return a process that commits and checkpoints often, so that crashes find every mixture of the two."""
    often = settings(state={"checkpoint_interval_ms": 15}, **sections)
    return Rig(broker, store, settings=often, max_poll_records=POLL_RECORDS)


def new_rig() -> Rig:
    """Return a process that finds the whole stream and no state."""
    return rig(broker_with(stream(4, 110, spikes=SPIKES)), MemoryStore())


@pytest.fixture(scope="module")
def golden() -> Rig:
    """The run without a crash, with which every other one is compared."""
    process = new_rig()
    process.run_dry()
    return process


@pytest.fixture(scope="module")
def total() -> int:
    """How many watched lines that run executes, at least: a clock decides about one or two of them."""

    def counted() -> int:
        process = new_rig()
        with Fuse(None) as fuse:
            process.run_dry()
        return fuse.lines

    return min(counted() for _ in range(3))


def run_with_crashes(at: list[int]) -> tuple[Rig, int]:
    """Run with a crash at each of these line counts in turn; return the last process and how many died."""
    broker, store = broker_with(stream(4, 110, spikes=SPIKES)), MemoryStore()
    died = 0
    for line in at:
        process = rig(broker, store)
        try:
            with Fuse(line):
                process.run_dry()
        except Crash:
            died += 1
        broker.expel(process.engine.source)  # type: ignore[arg-type]
        process.engine.source.close()
    last = rig(broker, store)
    last.run_dry()
    return last, died


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_after_any_line_leaves_no_trace(part: int, sweep: Sweep, total: int, golden: Rig) -> None:
    """No event lost, none twice, none invented, and the same stored state: wherever the process died."""
    for at in sweep.lines(total, part, PARTS):
        last, died = run_with_crashes([at])
        if not died:  # this run was shorter than those that were counted: once more, it must die
            last, died = run_with_crashes([at])
        place = f"line {at} of {total} ({sweep})"
        assert died == 1, place
        assert ids(last.events()) == ids(golden.events()), place
        assert last.state() == golden.state(), place


@pytest.mark.slow
@hypothesis_settings(max_examples=40, deadline=None, derandomize=True)
@given(shares=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=8))
def test_many_crashes_leave_no_trace(shares: list[float], total: int, golden: Rig) -> None:
    """A process that dies again and again, also while it recovers, still ends with the same events and state."""
    last, _ = run_with_crashes([1 + int(share * total) for share in shares])
    assert ids(last.events()) == ids(golden.events())
    assert last.state() == golden.state()


def test_the_golden_run_is_worth_comparing_with(golden: Rig) -> None:
    """The stream has episodes in both partitions, several commits and several checkpoints to crash between."""
    assert len(golden.events()) >= 10
    assert len({record.partition for record in golden.events()} | {p for p, _ in golden.state()}) >= 2
    text = golden.telemetry.render()[0].decode()
    committed = next(
        line for line in text.splitlines() if line.startswith('streamae_transactions_total{outcome="committed"')
    )
    saved = next(line for line in text.splitlines() if line.startswith('streamae_checkpoints_total{outcome="ok"'))
    assert float(committed.split()[-1]) >= 10
    assert float(saved.split()[-1]) >= 5


def test_suppression_is_what_keeps_a_replay_silent(golden: Rig) -> None:
    """Without the rule that holds back replayed outputs this comparison goes red: the check can fail."""
    broker, store = broker_with(stream(4, 110, spikes=SPIKES)), MemoryStore()
    first = rig(broker, store)
    store.fail_at("before_checkpoint", RetryableError("down"), times=10_000)
    first.run_dry()
    broker.expel(first.engine.source)  # type: ignore[arg-type]
    first.engine.source.close()
    careless = rig(broker, MemoryStore())
    careless.engine.outbox._is_suppressed = lambda cause: False
    careless.run_dry()
    assert len(careless.events()) == 2 * len(golden.events())
