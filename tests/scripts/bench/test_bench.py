"""The bench compares like with like, and its exit code follows its targets. Figures themselves are not tested here."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from scripts.bench import __main__ as bench
from scripts.bench import delivery, scoring, transactions
from scripts.bench.embedded import EmbeddedEngine, NullModel
from scripts.bench.inputs import Traffic, untrained_bundle
from scripts.bench.memory import ForgetfulStore, resident_bytes
from scripts.bench.naive import NaiveDetector, network_score, null_score
from streamae.batches import ScoreBatch, VerdictBatch, WindowBatch
from streamae.core.scoring import score
from streamae.model.runner import Runner
from tests.model.models import without_companion

KEYS, ROWS, WINDOW = 5, 30, 8

GOOD = bench.Findings(
    pipeline=bench.Rates(20_000, 1_500, 13.3),
    host=bench.Rates(300_000, 20_000, 15.0),
    pipeline_shares={"decode": 0.1, "model": 0.9},
    host_shares={"decode": 0.6, "model": 0.4},
    key_bytes=5_000.0,
    waiting_bytes=5_500.0,
    many_keys=10_000,
)


def test_traffic_is_json_in_order_of_time_and_offset() -> None:
    """Records parse, carry every feature, and offsets and times go on from call to call."""
    traffic = Traffic(3, ("a", "b"))
    records = [*traffic.rows(2), *traffic.rows(1)]
    assert [record.offset for record in records] == list(range(9))
    fields = [json.loads(record.value or b"") for record in records]
    assert {tuple(sorted(one)) for one in fields} == {("a", "b", "machine", "time")}
    assert [one["time"] for one in fields] == [record.timestamp for record in records]
    assert [one["machine"].encode() for one in fields] == [record.key for record in records]
    assert len({record.timestamp for record in records}) == 3


def test_naive_network_gives_the_scores_of_the_runner() -> None:
    """Both sides compute the same thing: one window at a time or all at once, the score is equal."""
    bundle = untrained_bundle(12, 3, 6)
    assert bundle.architecture.recent_steps < 12
    windows = np.random.default_rng(2).standard_normal((10, 12, 3)).astype(np.float32)
    naive = network_score(bundle)
    batched = score(Runner(bundle, "cpu").run(windows), bundle.calibration).totals
    assert [naive(window) for window in windows] == pytest.approx(batched.tolist(), rel=1e-4)


def test_null_models_of_both_sides_agree() -> None:
    """The stand-ins for the network compute the same figure."""
    windows = np.random.default_rng(3).standard_normal((4, WINDOW, 3)).astype(np.float32)
    errors = NullModel().run(windows)
    assert errors.recent.mean(axis=1).tolist() == pytest.approx([null_score(window) for window in windows], rel=1e-5)
    assert np.array_equal(errors.expected, windows[:, -1])


def test_engine_and_naive_loop_judge_every_window_alike() -> None:
    """On the same records both score the same windows and come to the same smoothed scores."""
    bundle = untrained_bundle(WINDOW, 3, 6)
    seen: list[tuple[WindowBatch, VerdictBatch]] = []

    def observe(windows: WindowBatch, _: ScoreBatch, verdicts: VerdictBatch) -> None:
        seen.append((windows, verdicts))

    embedded = EmbeddedEngine(bundle, KEYS, 1, ForgetfulStore(), NullModel(), "sigma")
    embedded.engine.observer = observe
    naive = NaiveDetector(bundle.features, WINDOW, null_score)
    records = Traffic(KEYS, bundle.features).rows(ROWS)
    embedded.produce(records)
    embedded.consume()
    for record in records:
        naive.consume(record)
    assert sum(len(windows) for windows, _ in seen) == KEYS * (ROWS - WINDOW + 1)
    newest = {
        embedded.engine.states.table.keys[slot].decode(): value
        for windows, verdicts in seen
        for slot, value in zip(windows.slots.tolist(), verdicts.scores.tolist(), strict=True)
    }
    assert {statistics.count for statistics in naive.statistics.values()} == {ROWS - WINDOW + 1}
    scores = {key: naive.statistics[key].smoothed for key in newest}
    assert len(scores) == KEYS
    assert scores == pytest.approx(newest, rel=0.05)  # the first window starts the engine's smoothing, not the loop's


def test_naive_loop_alerts_on_a_far_window_and_ignores_what_is_late() -> None:
    """It is a detector, not a straw man: it learns, alerts once warm, and drops records of the past."""
    detector = NaiveDetector(("a", "b"), WINDOW, null_score)
    traffic = Traffic(1, ("a", "b"))
    records = traffic.rows(120)
    for record in records:
        detector.consume(record)
    learnt = detector.statistics["machine-000000"].count
    detector.consume(records[0])
    assert detector.statistics["machine-000000"].count == learnt
    assert not detector.alerts
    (last,) = traffic.rows(1)
    fields = json.loads(last.value or b"") | {"a": 500.0}
    detector.consume(replace(last, value=json.dumps(fields).encode()))
    assert json.loads(detector.alerts[0])["key"] == "machine-000000"


def test_contest_measures_both_sides_and_all_stages() -> None:
    """A tiny contest gives positive rates, and shares that add up to one without any below zero."""
    bundle = untrained_bundle(WINDOW, 3, 6)
    contest = bench.Contest(bundle, 1, network_score(bundle), None, keys=KEYS)
    rates = contest.rates(rounds=2, rows=20, naive_records=50)
    assert min(rates.engine, rates.naive, rates.ratio) > 0
    stages = contest.engine.engine.stages
    shares = contest.stage_shares(rows=40)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(0 < share < 1 for share in shares.values())
    assert contest.engine.engine.stages is stages


def test_weighing_serves_all_keys() -> None:
    """The weighing run gets through a small number of keys and reads a plausible size."""
    assert 10_000_000 < resident_bytes(untrained_bundle(WINDOW, 3, 6), 20) < 10_000_000_000


@pytest.mark.parametrize(
    ("findings", "missed"),
    [
        (GOOD, []),
        (replace(GOOD, pipeline=bench.Rates(4_000, 1_000, 4.9)), ["whole pipeline"]),
        (replace(GOOD, host=bench.Rates(90_000, 10_000, 9.9)), ["host path"]),
        (replace(GOOD, key_bytes=6_145.0), ["bytes a key"]),
    ],
)
def test_exit_code_follows_the_targets(
    findings: bench.Findings,
    missed: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A missed target ends with 1 and is named; all figures are in the table either way."""
    assert findings.missed() == missed
    assert bench.report("some machine", findings) == (1 if missed else 0)
    printed = capsys.readouterr().out
    assert "some machine" in printed
    assert (f"MISSED: {missed[0]}" if missed else "all targets met") in printed
    for figure in (f"{findings.pipeline.ratio:.1f}x", f"{findings.host.ratio:.1f}x", f"{findings.key_bytes:,.0f}"):
        assert figure in printed


def test_hardware_line_names_processor_and_threads() -> None:
    """A table without its machine means nothing."""
    line = bench.hardware(3)
    assert "cores" in line
    assert "3 threads" in line


def test_quantiles_are_values_that_occurred() -> None:
    """The median of an even number is the lower one, the share of 1 the largest."""
    values = [4.0, 1.0, 3.0, 2.0]
    assert [transactions.quantile(values, share) for share in (0.0, 0.5, 0.95, 1.0)] == [1.0, 2.0, 4.0, 4.0]


@pytest.mark.parametrize(("in_a_row_ms", "code"), [(29.0, 0), (31.0, 1)])
def test_slow_transactions_are_a_failure(in_a_row_ms: float, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Either kind counts; the table shows both, and the machine comes first."""
    figures = transactions.Figures([in_a_row_ms] * 3, [12.0] * 3)
    assert bench.report_service("a machine", figures) == code
    printed = capsys.readouterr().out
    assert printed.startswith("a machine\n")
    assert ("target met" in printed) == (code == 0)
    assert f"{in_a_row_ms:.1f}" in printed


@pytest.mark.parametrize(("exactly_once", "code"), [(900.0, 0), (800.0, 1)])
def test_costly_exactly_once_is_a_failure(exactly_once: float, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The median of the pairs counts, with the network; one lucky or unlucky pair does not."""
    pairs = [delivery.Pair(exactly_once, 1_000.0)] * 2 + [delivery.Pair(1.0, 1_000.0), delivery.Pair(5_000.0, 1_000.0)]
    findings = delivery.Findings(pairs, [delivery.Pair(10.0, 1_000.0)])
    assert bench.report_service("a machine", findings) == code
    assert f"{exactly_once / 1_000:.3f} (0.001..5.000)" in capsys.readouterr().out


@pytest.mark.parametrize(("plain", "rule", "is_met"), [(8.1, 0.19, True), (7.9, 0.19, False), (8.1, 0.21, False)])
def test_costly_scores_or_thresholds_are_a_failure(plain: float, rule: float, is_met: bool) -> None:
    """Ratios are taken within a round and their median counts; the default rule has a target, the others have none."""
    rules = {scoring.SHIPPED_RULE: [rule, rule, 90.0], "conformal": [5.0, 5.0, 5.0]}
    figures = scoring.Figures([10.0, 10.0, 1.0], [plain, plain, 100.0], [10.0, 10.0, 10.0], rules)
    assert figures.is_met() == is_met
    assert figures.scoring_ratio == pytest.approx(plain / 10.0)
    table = figures.table()
    for printed in (f"{plain / 10.0:.2f}x", f"{rule / 10.0:.1%}", "50.0%", "judged by conformal"):
        assert printed in table


def test_the_plain_side_is_the_same_network_without_its_further_parts() -> None:
    """Both reconstruct the newest rows alike: what is compared differs by memory and forecast only."""
    bundle = scoring.shipped_bundle()
    windows = np.random.default_rng(4).standard_normal((9, scoring.WINDOW_SIZE, scoring.FEATURES)).astype(np.float32)
    network = without_companion(bundle)  # its errors are in those of the shipped one
    shipped, plain = Runner(network, "cpu", threads=1).run(windows), scoring.plain_runner(bundle).run(windows)
    assert shipped.memory is not None
    assert plain.memory is None
    assert plain.recent == pytest.approx(shipped.recent, rel=1e-5)
    assert not np.allclose(shipped.forecast, plain.forecast)
    assert scoring.plain_score(plain) == pytest.approx(shipped.recent.mean(axis=1), rel=1e-5)


def test_rules_are_measured_on_warm_keys() -> None:
    """After the warm-up every key has left its first guesses behind, and each further batch is judged for all keys."""
    judging = scoring.Judging("block_maxima", scoring.shipped_bundle(), keys=3)
    before = judging.decision.columns["count"].tolist()
    assert before == [scoring.WARM_UP_WINDOWS] * 3
    assert (judging.decision.columns["blocks"] > 2).all()
    judging.turn(judging.batches(2))
    assert judging.decision.columns["count"].tolist() == [count + 2 for count in before]


def test_all_sides_take_turns_in_each_round() -> None:
    """A tiny run has one figure a round of every side, above zero."""
    figures = scoring.measure(scoring.Effort(rounds=2, windows=8, rows=1), keys=3)
    sides = [figures.shipped, figures.plain, figures.pipeline, *figures.rules.values()]
    assert {len(side) for side in sides} == {2}
    assert min(min(side) for side in sides) > 0
    assert set(figures.rules) == set(scoring.RULES)
