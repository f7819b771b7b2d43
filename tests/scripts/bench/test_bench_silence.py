"""The bench of silence measures engines that do listen, and its verdict follows its figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scripts.bench import __main__ as bench
from scripts.bench import lateness, memory, silence
from scripts.bench.embedded import EmbeddedEngine, NullModel
from scripts.bench.inputs import START_MS, STEP_MS, Traffic, untrained_bundle
from scripts.bench.turns import Side, Taken, Turns
from streamae.batches import ErrorBatch, Floats
from streamae.core.roster import ENTRY_BYTES, Patience, Roster, Wait
from streamae.settings.connections import OutputSettings
from streamae.settings.data import WindowSettings

WINDOW = 8
BUNDLE = untrained_bundle(WINDOW, 3, 6)

TAKEN = Taken(
    {
        silence.OFF: [10.0, 20.0, 30.0],
        silence.NEVER: [9.0, 19.0, 28.0],
        silence.BY_GAPS: [10.0, 20.5, 30.0],
        silence.BY_TIME: [10.0, 20.5, 30.0],
    },
)
GOOD = silence.Findings(
    steady_keys=100_000,
    steady={"network": TAKEN, "null model": Taken(TAKEN.us | {silence.BY_GAPS: [99.0] * 3})},
    backlog={"network": TAKEN, "null model": Taken(TAKEN.us | {silence.BY_TIME: [99.0] * 3})},
    take_over=silence.TakeOver(100_000, 43, 90.0, [0.5, 0.6, 9.0]),
    key_bytes=5_300.0,
)


def slow(side: str, times: float) -> dict[str, Taken]:
    """Return figures of which one side with the network costs so many times the usual."""
    return {"network": Taken(TAKEN.us | {side: [us * times for us in TAKEN.us[side]]}), "null model": TAKEN}


@pytest.mark.parametrize(
    ("findings", "missed"),
    [
        (GOOD, []),
        (replace(GOOD, steady=slow(silence.BY_GAPS, 1.04)), ["steady, after_gaps"]),
        (replace(GOOD, steady=slow(silence.BY_TIME, 1.04)), ["steady, after_ms"]),
        (replace(GOOD, backlog=slow(silence.BY_TIME, 1.24)), []),
        (replace(GOOD, backlog=slow(silence.BY_TIME, 1.26)), ["backlog, after_ms"]),
        (replace(GOOD, take_over=replace(GOOD.take_over, entry_bytes=49)), ["bytes an entry"]),
        (replace(GOOD, take_over=replace(GOOD.take_over, seconds=[0.5, 2.1, 2.2])), ["take-over"]),
        (replace(GOOD, key_bytes=6_145.0), ["bytes a key"]),
    ],
)
def test_exit_code_follows_the_targets(
    findings: silence.Findings, missed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A missed target ends with 1 and is named; the null model has none, and medians count."""
    assert findings.missed() == missed
    assert bench.report_service("a machine", findings) == (1 if missed else 0)
    printed = capsys.readouterr().out
    assert [line.partition(": ")[2] for line in printed.splitlines() if line.startswith("MISSED")] == missed
    for figure in (f"{findings.key_bytes:,.0f}", f"{TAKEN.rate(silence.OFF):,.0f}", "100,000 keys"):
        assert figure in printed


def test_ratios_are_taken_within_a_round() -> None:
    """A round in which everything was slow says as much as a fast one: neither rates nor costs are mixed between rounds."""
    taken = Taken({"one": [10.0, 100.0, 30.0], "other": [5.0, 30.0, 28.0]})
    assert taken.rate("one") == pytest.approx(1e6 / 30)
    assert taken.ratio("one", "other") == pytest.approx(0.5)
    assert taken.more_us("one", "other") == pytest.approx(5.0)


def test_sides_of_one_traffic_read_the_same_records() -> None:
    """Each engine takes every part of each draw once, and as many windows come of it; with `use` all of them change model."""
    seen: list[int] = []

    class Counting(NullModel):
        def run(self, values: Floats) -> ErrorBatch:
            seen.append(len(values))
            return super().run(values)

    traffic = Traffic(5, BUNDLE.features)
    turns = Turns(BUNDLE, {"a": Side(traffic), "b": Side(traffic), "c": Side(traffic)}, 5, warm_rows=WINDOW)
    turns.use(Counting())
    taken = turns.measure(draws=4, rows=3, parts=2)
    assert sum(seen) == 3 * 5 * (4 + 1) * 3  # sides, keys, draws with the first, rows
    ends = {each.engine.source.span(silence.PARTITION).end for each in turns.engines.values()}
    assert ends == {5 * (WINDOW + (4 + 1) * 3)}
    assert {name: len(us) for name, us in taken.us.items()} == dict.fromkeys("abc", 8)
    assert min(min(us) for us in taken.us.values()) > 0


@pytest.mark.slow
def test_keys_of_the_backlog_fall_silent_and_come_back() -> None:
    """A key is silent for a quarter of every minute, not all of them at once, and the engine that listens tells it."""
    traffic = silence.PausingTraffic(silence.BACKLOG_KEYS, BUNDLE.features)
    records = traffic.rows(2 * silence.EVERY_S)
    said = {(record.key, (record.timestamp - START_MS) // STEP_MS) for record in records}
    assert len(said) == len(records) == silence.BACKLOG_KEYS * 2 * (silence.EVERY_S - silence.SILENT_S)
    assert {second for _, second in said} == set(range(2 * silence.EVERY_S))
    first = sorted(second for key, second in said if key == b"machine-000000")
    assert first == [*range(15, 60), *range(75, 120)]
    turns = silence.turns(BUNDLE, traffic, silence.BACKLOG, silence.EVERY_S, 1)
    watches = {name: each.engine.silence for name, each in turns.engines.items()}
    assert watches[silence.NEVER] is None
    opened = {name: watch.count()[0] for name, watch in watches.items() if watch is not None}
    assert opened[silence.OFF] == 0
    assert min(opened[name] for name in silence.ON) > 0


@pytest.mark.integration
def test_a_roster_is_taken_over_from_a_real_redis() -> None:
    """Every entry comes back as long as it was packed, beside its name; what Redis needs for it is more than that."""
    roster = Roster(Patience((Wait(after_ms=60_000),), raster_ms=1_000))
    for number in range(3_000):
        row = roster.add(b"machine-%06d" % number, 0)
        roster["sign"][row] = number
    found = silence.take_over(roster)
    assert (found.keys, found.entry_bytes) == (3_000, ENTRY_BYTES)
    assert found.stored_bytes > ENTRY_BYTES
    assert len(found.seconds) == silence.TAKE_OVERS
    assert min(found.seconds) > 0


def test_the_roster_of_the_bench_is_that_of_its_engine() -> None:
    """What is taken over are entries that an engine has made of its keys, with their usual gaps."""
    turns = silence.turns(BUNDLE, Traffic(6, BUNDLE.features), silence.STEADY, 20, 1)
    roster = silence.roster_of(turns, silence.BY_GAPS)
    rows = np.array(list(roster.rows.values()))
    assert len(rows) == 6
    assert roster["total"][rows] / roster["gaps"][rows] == pytest.approx(STEP_MS, rel=0.06)


@pytest.mark.parametrize("is_all", [True, False])
def test_everything_is_on_where_it_is_weighed(is_all: bool) -> None:
    """With `--all`, what silence, jumps and late rows keep of a key is in the scales; without, late rows alone are."""
    sections = memory.sections_of(32, is_all=is_all)
    engine = EmbeddedEngine(BUNDLE, 5, 1, memory.ForgetfulStore(), NullModel(), **sections).engine
    assert engine.stages.lateness is not None
    assert (engine.stages.clocks is not None) == is_all
    assert engine.silence is not None
    assert bool(engine.silence.patience.waits) == is_all
    assert "contents" in engine.stages.grid.columns.fields


@pytest.mark.parametrize(("allowed_rows", "is_refused"), [(lateness.ALLOWED_ROWS, False), (10, True)])
def test_late_records_are_as_late_as_they_are_said_to_be(allowed_rows: int, is_refused: bool) -> None:
    """About a tenth comes 25 rows late, everything comes once, and an engine that waits as in the bench refuses none."""
    traffic = lateness.LateTraffic(20, BUNDLE.features)
    records = traffic.rows(200)
    newest = np.maximum.accumulate([record.timestamp for record in records])
    behind = (newest - [record.timestamp for record in records]) // STEP_MS
    assert set(behind.tolist()) == {0, lateness.LATE_ROWS}
    assert 0.05 < (behind > 0).mean() < 0.15
    assert len({(record.key, record.timestamp) for record in records}) == len(records)
    waits = WindowSettings(lateness_ms=allowed_rows * STEP_MS)
    engine = EmbeddedEngine(BUNDLE, 20, 1, memory.ForgetfulStore(), NullModel(), window=waits)
    engine.produce(records)
    engine.consume()
    assert bool(engine.broker.records(OutputSettings().dead_letter_topic)) == is_refused


@pytest.mark.slow
def test_waiting_is_measured_with_many_keys_and_with_few() -> None:
    """Two of three wait, every side has its row, and a table of figures ends well: waiting has no target."""
    windows = {name: side.sections.get("window") for name, side in lateness.sides_of(8, BUNDLE.features).items()}
    waits = WindowSettings(lateness_ms=lateness.ALLOWED_ROWS * STEP_MS)
    assert windows == {lateness.OFF: None, lateness.IN_ORDER: waits, lateness.LATE: waits}
    findings = lateness.measure(1, sizes={8: 2, 2: 8})
    assert bench.report_service("a machine", findings) == 0
    assert len(findings.table().splitlines()) == 1 + 2 * 3
    assert min(taken.rate(side) for taken in findings.taken.values() for side in taken.us) > 0
