"""The demo at a tiny size: it trains, streams, publishes, reports, and leaves a bundle and a picture."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import structlog

from streamae.demo.sensor_demo import KEYS as KEYS_OF_A_PLAIN_RUN
from streamae.demo.sensor_demo import STEP_MS, TAIL_ROWS, Outcome, Scale, _draw, cut, main, match, report
from streamae.demo.sensors import SyntheticStream, generate
from streamae.model.bundle import load_bundle
from streamae.replay.play import Episode

pytestmark = pytest.mark.slow

TINY = Scale(train_rows=300, live_rows=420, anomalies_per_key=1.0, hidden_size=12, steps=60)
KEYS = 5


class Run(NamedTuple):
    """One finished demo."""

    code: int
    out: Path
    printed: str
    progress: str


@pytest.fixture(scope="module", autouse=True)
def _default_logs() -> Iterator[None]:
    """The demo sets the process's log lines up; give back what was there."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One tiny demo for all tests that look at it."""
    out, stream, progress = tmp_path_factory.mktemp("demo") / "deep" / "out", StringIO(), StringIO()
    return Run(main(out, KEYS, 3, stream, TINY, progress), out, stream.getvalue(), progress.getvalue())


def test_finds_anomalies_and_ends_well(run: Run) -> None:
    """The real engine publishes episodes that meet the truth, and the exit code says so."""
    assert run.code == 0
    total = re.search(r"all +(\d+) +(\d+)", run.printed)
    assert total is not None
    assert int(total[1]) == KEYS
    assert int(total[2]) >= 3


def test_every_record_is_streamed_and_scored(run: Run) -> None:
    """The report accounts for all records and all windows."""
    windows = KEYS * (TINY.live_rows - 32 + 1)
    assert f"{KEYS * TINY.live_rows:,} records, {windows:,} windows scored" in run.printed


def test_leaves_a_bundle_that_loads_and_a_picture(run: Run) -> None:
    """What the last lines name exists: `streamae run` can serve the bundle."""
    assert len(load_bundle(run.out / "bundle").features) == 8
    assert (run.out / "episodes.png").read_bytes().startswith(b"\x89PNG")
    assert str(run.out / "episodes.png") in run.printed


def test_reports_steps_and_figures_but_no_log_lines(run: Run) -> None:
    """A person reads four steps, a table, and no log line in between."""
    assert [line[:2] for line in run.printed.splitlines() if re.match(r"\d\. ", line)] == ["1.", "2.", "3.", "4."]
    for word in ("recall", "median delay", "per 10,000 normal rows", "a second", "guilty"):
        assert word in run.printed
    assert "engine_built" not in run.printed


def test_progress_stays_out_of_the_results(run: Run) -> None:
    """Whoever keeps the output of the demo keeps no line about how far it was."""
    assert f"step {TINY.steps}/{TINY.steps}" in run.progress
    assert " left, " not in run.printed


def test_nothing_found_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without anomalies in the stream none is found, and the exit code is 1 rather than a hollow 0."""
    stream = StringIO()
    nothing = Scale(train_rows=300, live_rows=80, anomalies_per_key=0.0, hidden_size=4, steps=2)
    assert main(tmp_path, 2, 1, stream, nothing) == 1
    assert "none, nothing was injected" in stream.getvalue()
    assert not capsys.readouterr().out  # nor do log lines of the engine go anywhere else


def test_equal_seeds_publish_equal_episodes(run: Run, tmp_path: Path) -> None:
    """Data, training and engine are deterministic: a second run prints the same table, times of day aside."""
    stream = StringIO()
    main(tmp_path, KEYS, 3, stream, TINY)

    def figures(printed: str) -> list[str]:
        lines = printed.partition("4. ")[2].splitlines()
        return [line for line in lines if not re.search(r"a second|picture|bundle", line)]

    assert figures(stream.getvalue()) == figures(run.printed)


def test_defaults_show_many_keys() -> None:
    """Without options the demo serves at least fifty keys, with enough rows before the first anomaly to learn."""
    assert KEYS_OF_A_PLAIN_RUN >= 50
    assert Scale().live_rows > 500


def test_without_matplotlib_there_is_a_sentence_instead_of_a_picture(
    data: SyntheticStream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is optional: the demo says what to install and goes on."""
    monkeypatch.delitem(sys.modules, "streamae.demo.sensor_picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    said = _draw(data, outcome_of([]), match(data, []), tmp_path / "picture.png")
    assert "streamae[report]" in said
    assert not (tmp_path / "picture.png").exists()


@pytest.fixture(scope="module")
def data() -> SyntheticStream:
    """Streams of three keys with one anomaly each, at the demo's own step."""
    return generate(keys=3, rows=800, train_rows=300, step_ms=STEP_MS, anomalies_per_key=1, seed=5)


def outcome_of(episodes: list[Episode]) -> Outcome:
    """What a live part with these episodes would have come to."""
    return Outcome(episodes, {}, records=1_500, windows=1_400, seconds=2.0)


def episode(data: SyntheticStream, number: int, first: int, last: int, severity: float = 80.0) -> Episode:
    """An episode on the key of injection `number`, from and to rows relative to the injection's start."""
    injection = data.injections[number]
    times = next(one.event_times_ms for one in data.series if one.key == injection.key)
    start_ms, end_ms = int(times[injection.start_row + first]), int(times[injection.start_row + last])
    return Episode(injection.key, start_ms, end_ms, severity, ("fan_rpm", "latency_ms"), is_closed=True)


def test_report_without_episodes_has_no_delay(data: SyntheticStream) -> None:
    """A silent detector gets zeros and dashes, not an error."""
    text = report(data, outcome_of([]), match(data, []))
    assert re.search(r"all +3 +0 +0% +-", text)
    assert "0 episodes published, 0% true, 0 false" in text


def test_report_counts_hits_misses_and_false_alarms(data: SyntheticStream) -> None:
    """Recall by kind, delay in rows, and false episodes per normal rows come out as planted."""
    episodes = [episode(data, 0, 2, 5), episode(data, 1, -100, -90)]
    text = report(data, outcome_of(episodes), match(data, episodes))
    assert re.search(r"all +3 +1 +33% +2 rows", text)
    name = data.injections[0].kind.replace("_", " ")
    assert re.search(rf"{name} +1 +1 +100% +2 rows", text)
    normal = 1_500 - sum(injection.end_row - injection.start_row for injection in data.injections)
    assert f"2 episodes published, 50% true, 1 false: {10_000 / normal:.1f} per 10,000 normal rows" in text
    assert "750 a second" in text


def test_examples_name_truth_guilt_and_false_alarms(data: SyntheticStream) -> None:
    """One line for each kind of truth, the most severe first; a false alarm is called one."""
    episodes = [
        episode(data, 0, 0, 3, 70.0),
        episode(data, 1, -100, -90, 60.0),
        episode(data, 1, -60, -50, 55.0),
        episode(data, 2, 0, 0, 90.0),
    ]
    lines = report(data, outcome_of(episodes), match(data, episodes)).partition("some episodes")[2].splitlines()
    for line, number in zip(lines[1:], (2, 0), strict=False):
        assert line.endswith(data.injections[number].kind.replace("_", " "))
        assert "fan_rpm" in line
    assert len(lines) == 4
    assert lines[3].endswith("none: a false alarm")
    assert [line.split()[3] for line in lines[1:]] == ["1", "4", "11"]


def test_tail_of_a_window_is_not_a_false_alarm(data: SyntheticStream) -> None:
    """An episode that opens while windows still hold anomalous rows meets the truth; later it does not."""
    injection = data.injections[0]
    length = injection.end_row - injection.start_row
    early = [episode(data, 0, length - 1 + TAIL_ROWS, length + TAIL_ROWS)]
    late = [episode(data, 0, length + TAIL_ROWS, length + TAIL_ROWS + 1)]
    assert match(data, early).is_true.tolist() == [True]
    assert match(data, late).is_true.tolist() == [False]


def test_training_and_live_rows_do_not_overlap(data: SyntheticStream) -> None:
    """Cuts keep time and values together and hand no labels on."""
    train, live = cut(data, slice(0, 300)), cut(data, slice(300, None))
    for whole, before, after in zip(data.series, train, live, strict=True):
        assert before.labels is None
        assert after.labels is None
        assert before.event_times_ms[-1] < after.event_times_ms[0]
        assert np.array_equal(np.concatenate([before.values, after.values]), whole.values)
