"""The demo at a tiny size: it trains, streams, publishes, reports, and leaves a bundle and a picture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import structlog

from streamae.evaluation.demo import Outcome, Scale, main, report
from streamae.evaluation.metrics import match_episodes
from streamae.evaluation.synthetic import generate
from streamae.model.bundle import load_bundle

TINY = Scale(train_rows=300, live_rows=420, anomalies_per_key=1.0, hidden_size=12, steps=60)
KEYS = 5


class Run(NamedTuple):
    """One finished demo."""

    code: int
    out: Path
    printed: str


@pytest.fixture(scope="module", autouse=True)
def _default_logs() -> Iterator[None]:
    """The demo sets the process's log lines up; give back what was there."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One tiny demo for all tests that look at it."""
    out, stream = tmp_path_factory.mktemp("demo") / "deep" / "out", StringIO()
    return Run(main(out, KEYS, 3, stream, TINY), out, stream.getvalue())


def test_finds_anomalies_and_ends_well(run: Run) -> None:
    """The real engine publishes episodes that meet the truth, and the exit code says so."""
    assert run.code == 0
    total = re.search(r"all +(\d+) +(\d+)", run.printed)
    assert total is not None
    assert int(total[1]) == KEYS
    assert int(total[2]) >= 3


def test_every_record_is_streamed_and_scored(run: Run) -> None:
    """The last line of progress accounts for all records and all windows."""
    windows = KEYS * (TINY.live_rows - 32 + 1)
    assert f"100% of {KEYS * TINY.live_rows:,} records, {windows:,} windows scored" in run.printed


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


def test_nothing_found_is_a_failure(tmp_path: Path) -> None:
    """Without anomalies in the stream none is found, and the exit code is 1 rather than a hollow 0."""
    stream = StringIO()
    nothing = Scale(train_rows=300, live_rows=80, anomalies_per_key=0.0, hidden_size=4, steps=2)
    assert main(tmp_path, 2, 1, stream, nothing) == 1
    assert "none, nothing was injected" in stream.getvalue()


def test_report_without_episodes_has_no_delay() -> None:
    """A silent detector gets zeros and dashes, not an error."""
    data = generate(keys=3, rows=800, train_rows=300, anomalies_per_key=1, seed=5)
    truth = []
    outcome = Outcome([], {}, records=1_500, windows=1_400, seconds=2.0)
    matching = match_episodes(truth, [])
    missed = type(matching)(np.full(3, -1), np.zeros(3, dtype=np.int64), np.zeros(0, dtype=np.bool_))
    text = report(data, outcome, missed)
    assert re.search(r"all +3 +0 +0% +-", text)
    assert "0 episodes published, 0% true, 0 false" in text
