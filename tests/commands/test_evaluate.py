"""`streamae evaluate` over a generated suite: figures, resuming, failures, fleets and the table."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from streamae.commands.evaluate import evaluate
from streamae.errors import DataError, ExitCode
from streamae.evaluation.choice import Choice
from streamae.evaluation.detectors import NETWORKS
from streamae.evaluation.jobs import Job, plan
from streamae.evaluation.jobs import run as run_job
from streamae.evaluation.results import COLUMNS, Place
from streamae.evaluation.suite import Suite
from streamae.settings.data import FeatureSettings, InputSettings
from streamae.settings.decisions import EpisodeSettings
from streamae.settings.tree import Settings
from tests.evaluation.suites import QUICK, ROWS, TRAIN_ROWS, read_manifest, write_manifest, write_suite

pytestmark = pytest.mark.slow

DETECTORS = ("default", "default+sigma3")
ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    """One evaluation that ended."""

    code: int
    out: Path
    printed: str
    progress: str

    def rows(self) -> list[dict[str, str]]:
        """The table it wrote."""
        with (self.out / "metrics.csv").open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    def figures(self) -> list[list[str]]:
        """The table without times of day."""
        return [[value for name, value in row.items() if not name.endswith("_seconds")] for row in self.rows()]


def evaluated(suite: Path, out: Path, choice: Choice | None = None, settings: Settings = QUICK) -> Run:
    """Run it."""
    stream, progress = io.StringIO(), io.StringIO()
    code = evaluate(settings, suite, out, choice or Choice(detectors=DETECTORS), stream, progress)
    return Run(code, out, stream.getvalue(), progress.getvalue())


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of two series."""
    return write_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def run(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One whole evaluation for all tests that look at it."""
    return evaluated(suite, tmp_path_factory.mktemp("evaluation"))


def test_the_table_has_the_promised_columns(run: Run) -> None:
    """Scripts rely on the first seventeen by name and order."""
    promised = (
        "group,series,detector,seed,ap,vus_pr,recall_at_8,event_recall,event_precision,event_f1,strict_f1,"
        "false_episodes_per_10k,alarm_share,delay_steps,nab_standard,train_seconds,score_seconds"
    )
    header = (run.out / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith(f"{promised},")
    assert header == ",".join(COLUMNS)


def test_every_series_and_detector_has_figures(run: Run) -> None:
    """One line each, in the order of the suite, over all test rows; the first of them already has a full window."""
    assert run.code == ExitCode.OK
    rows = run.rows()
    names = [(group, f"machine-00{key}", name) for group in ("mill", "plant") for key in (0, 1) for name in DETECTORS]
    assert [(row["group"], row["series"], row["detector"]) for row in rows] == names
    assert {(row["rows"], row["events"], row["unscored_rows"]) for row in rows} == {(str(ROWS - TRAIN_ROWS), "1", "0")}
    assert all(0.0 <= float(row["ap"]) <= 1.0 for row in rows)
    assert not any(row["error"] for row in rows)
    assert max(float(row["ap"]) for row in rows) > 0.3


def test_a_series_without_test_rows_is_left_out_and_named(tmp_path: Path) -> None:
    """There is nothing to find in it: it is no failure, and no line of the table."""
    folder = write_suite(tmp_path / "suite", groups=("mill",))
    first, *others = read_manifest(folder)
    write_manifest(folder, [first | {"train_rows": first["rows"]}, *others])
    run = evaluated(folder, tmp_path / "out", Choice(detectors=("default",)))
    assert [row["series"] for row in run.rows()] == ["machine-001"]
    assert "left out: mill/machine-000: all of its rows are train rows" in run.printed
    assert "failed" not in run.printed
    with pytest.raises(DataError, match="rows behind its train rows"):
        evaluated(folder, tmp_path / "none", Choice(detectors=("default",), pattern="machine-000"))


def test_decisions_share_a_network(run: Run) -> None:
    """Another threshold rule costs no training and ranks by the same scores; only what is in alarm may differ."""
    rows = run.rows()
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["bundle"] == second["bundle"]
        assert (first["ap"], first["recall_at_8"]) == (second["ap"], second["recall_at_8"])
        assert float(first["alarm_share"]) <= float(second["alarm_share"])
    assert any(
        first["alarm_share"] != second["alarm_share"] for first, second in zip(rows[::2], rows[1::2], strict=True)
    )
    assert len([path for path in (run.out / "bundles").iterdir() if path.is_dir()]) == 4


def test_the_table_on_the_terminal_says_what_it_is_a_mean_of(run: Run) -> None:
    """Means by group and detector, over how many series, and on which machine."""
    lines = run.printed.splitlines()
    assert re.match(r"group +detector +series +AP +VUS-PR", lines[0])
    assert re.match(r"mill +default +2 of 2 +0\.\d{3} ", lines[1])
    assert re.match(r"mean of groups +default\+sigma3 +4 of 4 ", lines[6])
    assert "cores" in run.printed
    assert str(run.out / "metrics.csv") in run.printed
    mill = [float(row["ap"]) for row in run.rows()[:4:2]]
    assert lines[1].split()[5] == f"{np.mean(mill):.3f}"


def test_the_report_is_whole_in_itself(run: Run) -> None:
    """One file with all series, in both colour schemes, that asks nothing of any network."""
    text = (run.out / "report.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    for series in ("mill/machine-000", "mill/machine-001", "plant/machine-000", "plant/machine-001"):
        assert f"<h3>{series}</h3>" in text
    assert text.count("<svg") == text.count('class="threshold"') == 4
    assert not re.search(r"(src|href)=|@import|url\(|<script", text)


def test_what_is_done_is_not_done_again(suite: Path, run: Run) -> None:
    """A second run reads the figures, says so, and writes the same table."""
    before = {path: path.stat().st_mtime_ns for path in (run.out / "results").rglob("*.json")}
    table = run.rows()
    again = evaluated(suite, run.out)
    assert again.progress == "4 of 4 jobs are done from before\n"
    assert again.rows() == table
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_figures_are_the_same_to_the_last_digit(suite: Path, run: Run, tmp_path: Path) -> None:
    """Another folder, a process of its own: trained and scored anew, the table is equal."""
    choice = Choice(detectors=DETECTORS, pattern="mill/*0", processes=2)
    again = evaluated(suite, tmp_path / "deep" / "er", choice)
    assert again.figures() == run.figures()[:2]
    assert "1/1 jobs" in again.progress


def test_what_a_figure_depends_on_makes_it_stale(suite: Path, run: Run, tmp_path: Path) -> None:
    """Other settings, other data, another split or other code: kept results are not taken for the new ones."""
    (job,) = plan(QUICK, Suite.open(suite), run.out, Choice(("mill",), ("default",), pattern="machine-000"))
    assert job.finished() is not None
    other = QUICK.model_copy(update={"episode": EpisodeSettings(exit_ratio=0.5)})
    assert Job(job.entries, job.detectors, job.seed, other, job.out).finished() is None
    assert Job(job.entries, job.detectors, 1, QUICK, job.out).finished() is None
    copied = write_suite(tmp_path / "copy")
    (same,) = plan(QUICK, Suite.open(copied), run.out, Choice(("mill",), ("default",), pattern="machine-000"))
    assert same.finished() is not None
    manifest = read_manifest(copied)
    write_manifest(copied, [row | {"train_rows": TRAIN_ROWS + 1} for row in manifest])
    (moved,) = plan(QUICK, Suite.open(copied), run.out, Choice(("mill",), ("default",), pattern="machine-000"))
    assert moved.finished() is None


def test_other_settings_in_the_same_folder_make_other_figures(suite: Path, tmp_path: Path) -> None:
    """Another scaling trains another bundle and scores anew, and one line says so; the way back needs no training."""
    choice = Choice(("mill",), detectors=DETECTORS)
    by_key = QUICK.model_copy(update={"features": FeatureSettings(scaling="key")})
    runs, tables = [], []
    for settings in (QUICK, by_key, QUICK):
        runs.append(evaluated(suite, tmp_path, choice, settings))
        tables.append(runs[-1].rows())
    said = f"4 results in {tmp_path} were made by other settings, data or code and are made again"
    assert [said in run.progress.splitlines() for run in runs] == [False, True, True]
    for before, after, again in zip(*tables, strict=True):
        assert after["error"] == ""
        assert after["bundle"] != before["bundle"] == again["bundle"]
    figures = [[row["ap"] for row in table] for table in tables]
    assert figures[1] != figures[0] == figures[2]
    assert len([path for path in (tmp_path / "bundles").iterdir() if path.is_dir()]) == 4


def test_where_records_would_come_from_makes_no_figure_stale(suite: Path, run: Run) -> None:
    """A daemon's connections, topics and process may stand in the settings file: an evaluation does without them."""
    daemons = Settings.model_validate(
        QUICK.model_dump(exclude_defaults=True)
        | {
            "kafka": {"group_id": "g"},
            "input": {"topics": ["t"]},
            "service": {"http_port": 1},
            "model": {"bundle": "b"},
        }
    )
    assert evaluated(suite, run.out, settings=daemons).progress == "4 of 4 jobs are done from before\n"


def test_a_series_that_fails_counts_zero_and_says_why(suite: Path, tmp_path: Path) -> None:
    """The others go on; the failure is a line of the table with its reason, and is tried again the next time."""
    broken = write_suite(tmp_path / "suite", ("mill",))
    manifest = read_manifest(broken)
    write_manifest(broken, [manifest[0] | {"train_rows": 20}, manifest[1]])
    found = evaluated(broken, tmp_path / "out", Choice(detectors=("default",)))
    failed, good = found.rows()
    assert found.code == ExitCode.OK
    assert (failed["ap"], failed["strict_f1"], failed["nab_standard"], failed["false_episodes_per_10k"]) == (
        *("0.0", "0.0", "0.0"),
        "",
    )
    assert failed["error"].startswith("DataError: only")
    assert "failed: mill/machine-000 default: DataError: only" in found.printed
    assert "2 of 2, 1 failed" in found.printed
    assert f"{float(good['ap']) / 2:.3f}" in found.printed.splitlines()[1]
    assert "1 failed" in found.progress
    write_manifest(broken, manifest)
    assert not any(row["error"] for row in evaluated(broken, tmp_path / "out", Choice(detectors=("default",))).rows())


def test_one_labelled_file_needs_no_manifest(suite: Path, run: Run, tmp_path: Path) -> None:
    """The same file split at the same row gives the same scores; how it was read and split is said first."""
    source = suite / str(read_manifest(suite)[0]["file"])
    lines = source.read_text(encoding="utf-8").splitlines()
    rows = [f"{60 * row},{line.partition(',')[2]}" for row, line in enumerate(lines[1:])]  # a minute apart, as there
    path = tmp_path / "own.csv"
    path.write_text("\n".join([lines[0].replace("is_anomaly", "Class"), *rows]) + "\n", encoding="utf-8")
    settings = QUICK.model_copy(update={"input": InputSettings(label_field="Class")})
    choice = Choice(detectors=("default",), train_rows=TRAIN_ROWS)
    found = evaluated(path, tmp_path / "out", choice, settings)
    assert f"{path}: {ROWS} rows, features " in found.printed.splitlines()[0]
    (row,) = found.rows()
    assert (row["group"], row["error"], row["rows"]) == ("own", "", str(ROWS - TRAIN_ROWS))
    assert (row["ap"], row["strict_f1"]) == (run.rows()[0]["ap"], run.rows()[0]["strict_f1"])
    with pytest.raises(DataError, match="--train-rows is for one labelled file"):
        evaluated(suite, tmp_path / "none", choice)


def test_what_a_manifest_says_otherwise_is_printed(tmp_path: Path) -> None:
    """Once a series, and again where figures from before are taken; nothing where all is as it says."""
    folder = write_suite(tmp_path / "suite", groups=("mill",))
    first, second = read_manifest(folder)
    write_manifest(folder, [first | {"rows": ROWS + 7}, second])
    said = f"differs: mill/machine-000: MANIFEST.csv says rows {ROWS + 7}, counted {ROWS}"
    for _ in range(2):
        found = evaluated(folder, tmp_path / "out")
        assert [line for line in found.printed.splitlines() if line.startswith("differs")] == [said]


def test_nothing_but_failures_is_a_failure(tmp_path: Path) -> None:
    """The exit code tells a script that there is not one figure."""
    broken = write_suite(tmp_path / "suite", ("mill",))
    write_manifest(broken, [row | {"train_rows": 20} for row in read_manifest(broken)])
    assert evaluated(broken, tmp_path / "out").code == ExitCode.FAILURE


def test_a_fleet_shares_bundle_and_engine(suite: Path, tmp_path: Path) -> None:
    """One bundle for a group, each key with its own figures, under a name that tells it from single series."""
    found = evaluated(suite, tmp_path, Choice(("mill",), ("default",), is_fleet=True))
    rows = found.rows()
    assert [(row["series"], row["detector"]) for row in rows] == [
        ("machine-000", "default@fleet"),
        ("machine-001", "default@fleet"),
    ]
    assert len({row["bundle"] for row in rows}) == 1
    assert rows[0]["ap"] != rows[1]["ap"]
    assert len({row["train_seconds"] for row in rows}) == 1


def test_seeds_and_globs_choose_what_is_run(suite: Path, tmp_path: Path) -> None:
    """All series with the first seed come before any with the second; patterns match with or without the group."""
    suite_ = Suite.open(suite)
    jobs = plan(QUICK, suite_, tmp_path, Choice(detectors=("default",), pattern="plant/*1", seeds=2))
    assert [(job.entries[0].group, job.entries[0].name, job.seed) for job in jobs] == [
        ("plant", "machine-001", 0),
        ("plant", "machine-001", 1),
    ]
    assert len(plan(QUICK, suite_, tmp_path, Choice(detectors=("default",), pattern="*-000"))) == 2
    assert [job.seed for job in plan(QUICK, suite_, tmp_path, Choice(detectors=("default",), seeds=2))] == [0] * 4 + [
        1
    ] * 4
    with pytest.raises(DataError, match="no series is called nothing"):
        plan(QUICK, suite_, tmp_path, Choice(pattern="nothing"))
    with pytest.raises(DataError, match="no group nowhere"):
        plan(QUICK, suite_, tmp_path, Choice(("nowhere",)))


def test_usual_steps_never_restart_a_window(suite: Path, tmp_path: Path) -> None:
    """Daily rows under a gap of an hour would never fill a window: the gap grows with the step of the series."""
    daily = write_suite(tmp_path / "suite", ("mill",))
    write_manifest(daily, [row | {"step_seconds": 86_400} for row in read_manifest(daily)])
    (job, _) = plan(QUICK, Suite.open(daily), tmp_path / "out", Choice(detectors=("default",)))
    assert job.tuned("default").window.max_gap_ms == 64 * 86_400_000
    results = run_job(job)
    assert [(one.error, one.unscored_rows) for one in results] == [("", 0)]


def test_curves_are_kept_as_they_were_compared(run: Run) -> None:
    """What the report draws is what decided: alarms are the rows above the threshold, judged from the first row on."""
    curves = Place(run.out, "mill", "machine-000", "default+sigma3", 0).curves()
    assert curves is not None
    assert len(curves.labels) == ROWS - TRAIN_ROWS
    assert np.array_equal(curves.alarms, curves.scores > curves.thresholds)
    assert curves.alarms.any()
    assert np.isfinite(curves.thresholds).all()


def test_no_figure_depends_on_later_rows(suite: Path, run: Run, tmp_path: Path) -> None:
    """Scores and thresholds of test rows stay, bit by bit, when the rows behind them are taken away."""
    cut = write_suite(tmp_path / "suite", ("mill",))
    stop = ROWS - 100
    manifest = read_manifest(cut)
    path = cut / str(manifest[0]["file"])
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[: stop + 1]), encoding="utf-8")
    write_manifest(cut, [manifest[0] | {"rows": stop}])
    evaluated(cut, tmp_path / "out", Choice(detectors=("default",)))
    short = Place(tmp_path / "out", "mill", "machine-000", "default", 0).curves()
    whole = Place(run.out, "mill", "machine-000", "default", 0).curves()
    assert short is not None
    assert whole is not None
    assert np.array_equal(short.scores, whole.scores[: stop - TRAIN_ROWS])
    assert np.array_equal(short.thresholds, whole.thresholds[: stop - TRAIN_ROWS])


def test_labels_do_not_reach_the_detector(suite: Path, run: Run, tmp_path: Path) -> None:
    """The same rows with every label turned over give the same scores and alarms."""
    turned = write_suite(tmp_path / "suite", ("mill",), keys=1)
    write_manifest(turned, read_manifest(turned)[:1])
    path = turned / str(read_manifest(turned)[0]["file"])
    lines = path.read_text(encoding="utf-8").splitlines()
    swapped = [lines[0], *(f"{line[:-1]}{1 - int(line[-1])}" for line in lines[1:])]
    path.write_text("\n".join(swapped) + "\n", encoding="utf-8")
    straight = write_suite(tmp_path / "straight", ("mill",), keys=1)
    for folder in (turned, straight):
        evaluated(folder, tmp_path / f"out-{folder.name}", Choice(detectors=("default",)))
    first, second = (
        Place(tmp_path / f"out-{name}", "mill", "machine-000", "default", 0).curves() for name in ("suite", "straight")
    )
    assert first is not None
    assert second is not None
    assert np.array_equal(first.scores, second.scores)
    assert np.array_equal(first.alarms, second.alarms)
    assert np.array_equal(first.labels, ~second.labels)


def test_every_network_of_the_table_runs(suite: Path, tmp_path: Path) -> None:
    """Baselines go the same way as networks: trained, bundled, scored live and measured."""
    found = evaluated(suite, tmp_path, Choice(detectors=tuple(NETWORKS), pattern="mill/*0"))
    assert [(row["detector"], row["error"]) for row in found.rows()] == [(name, "") for name in NETWORKS]
    assert len({row["bundle"] for row in found.rows()}) >= len(NETWORKS) - 2  # default and auto are others of them


def test_ctrl_c_leaves_what_is_finished(suite: Path, tmp_path: Path) -> None:
    """An interrupt ends the processes with exit code 130 at once; finished results and their table are there."""
    flags = [f"--train.{name}={value}" for name, value in QUICK.train.model_dump(exclude_defaults=True).items()]
    command = ["env", "--default-signal=INT"]  # whoever runs tests in the background ignores it, and so would ours
    command += [*(sys.executable, "-m", "streamae", "evaluate", str(suite), "--out", str(tmp_path)), *flags]
    command += ["--seeds", "50", "--jobs", "2", "--detectors", "default"]
    with subprocess.Popen(command, cwd=ROOT, env={}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " 2/" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == ExitCode.INTERRUPTED
    assert "Traceback" not in rest
    with (tmp_path / "metrics.csv").open(encoding="utf-8") as stream:
        kept = list(csv.DictReader(stream))
    assert len(kept) >= 2
    for row in kept:
        place = Place(tmp_path, row["group"], row["series"], row["detector"], int(row["seed"]))
        assert json.loads(place.path.read_text(encoding="utf-8"))["error"] == ""
