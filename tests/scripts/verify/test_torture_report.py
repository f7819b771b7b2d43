"""The report of the torture runs: verdicts follow complaints, controls the other way round, and only the same is resumed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Barrier

import pytest

from scripts.verify.torture import __main__ as torture
from scripts.verify.torture import plan
from scripts.verify.torture.context import Context, Shared
from scripts.verify.torture.faults_kills import schedule
from scripts.verify.torture.report import Entry, Report, Result, percentile
from scripts.verify.torture.workers import TimedOutError, wait_until, write_settings
from streamae.fail_points import POINTS
from streamae.settings.sources import load_settings

ENTRY = Entry("T1", "kills", 30, 0, "abc123", 12.5, "passed", {"kills": 30, "recovery_p95_s": 4.25}, [])


def test_a_line_tells_test_verdict_and_figures() -> None:
    """One line a test, readable in a terminal."""
    assert ENTRY.line() == "T1   passed      12 s  kills (30): kills 30, recovery_p95_s 4.25"


def test_only_the_same_test_on_the_same_code_is_resumed(tmp_path: Path) -> None:
    """Other figures, another seed, another commit, changed files or a failure mean that the test runs again."""
    path = tmp_path / "torture.json"
    report = Report(path, "a machine")
    report.add(ENTRY)
    report.add(replace(ENTRY, id="T2", verdict="failed"))
    report.add(replace(ENTRY, id="T3", commit="abc123+"))
    again = Report(path, "a machine")
    assert again.former("T1", 30, 0, "abc123") == ENTRY
    assert again.former("T1", 200, 0, "abc123") is None
    assert again.former("T1", 30, 1, "abc123") is None
    assert again.former("T1", 30, 0, "def456") is None
    assert again.former("T2", 30, 0, "abc123") is None
    assert again.former("T3", 30, 0, "abc123+") is None


def test_results_of_other_tests_stay_in_the_file(tmp_path: Path) -> None:
    """A run of one test does not forget the others; its own former result is replaced."""
    path = tmp_path / "torture.json"
    first = Report(path, "a machine")
    first.add(ENTRY)
    first.add(replace(ENTRY, id="T2"))
    second = Report(path, "a machine")
    second.add(replace(ENTRY, seconds=99.0))
    stored = json.loads(path.read_text())
    assert {entry["id"]: entry["seconds"] for entry in stored["tests"]} == {"T1": 99.0, "T2": 12.5}
    assert stored["hardware"] == "a machine"


def test_a_file_of_another_format_is_no_obstacle(tmp_path: Path) -> None:
    """What cannot be read is not resumed from."""
    path = tmp_path / "torture.json"
    path.write_text('{"tests": [{"id": "T1"}]}')
    assert Report(path, "").former("T1", 30, 0, "abc123") is None


def test_the_table_ends_with_what_is_wrong(tmp_path: Path) -> None:
    """The hardware first, complaints of bad tests only, and a count."""
    report = Report(tmp_path / "torture.json", "a machine")
    report.add(ENTRY)
    report.add(replace(ENTRY, id="N1", verdict="missed", complaints=["blind"]))
    lines = report.table().splitlines()
    assert lines[0] == "a machine"
    assert lines[-2:] == ["     N1: blind", "1 of 2 good, 0.4 minutes"]


def test_a_requirement_that_is_not_met_fails_the_test() -> None:
    """No fault, no pass."""
    result = Result()
    result.require(1, "never said")
    assert result.is_passed
    result.require(0, "no worker was killed")
    assert result.complaints == ["no worker was killed"]
    assert not result.is_passed


def test_a_test_of_several_parts_keeps_what_each_of_them_found() -> None:
    """Neither what is wrong nor what was not shown is lost when parts become one result."""
    total, part = Result(), Result()
    part.expect(0, "nothing moved")
    total.take_findings(part, "range")
    assert (total.is_unproven, total.doubts) == (True, ["range: nothing moved"])
    part.require(0, "1 lost")
    total.take_findings(part, "sticky")
    assert (total.is_unproven, total.complaints) == (False, ["sticky: 1 lost"])


@pytest.mark.parametrize(
    ("is_control", "complaints", "verdict"),
    [(False, [], "passed"), (False, ["x"], "failed"), (True, [], "caught"), (True, ["x"], "missed")],
)
def test_verdicts(is_control: bool, complaints: list[str], verdict: str) -> None:
    """A control that nobody noticed is as bad as a test that failed."""
    test = plan.Test("X", "x", lambda _: Result({}, complaints), 1, 1, is_control=is_control)
    assert torture.verdict_of(test, Result({}, complaints)) == verdict
    assert replace(ENTRY, verdict=verdict).is_good == (not complaints)


def test_a_test_that_breaks_is_a_failed_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception ends one test, not the run, and stands in the report."""

    def breaks(_: Context) -> Result:
        raise TimedOutError("still waiting for godot after 3 s")

    report = Report(tmp_path / "torture.json", "a machine")
    with Shared(tmp_path) as shared:
        torture.Session(report, shared, "quick", seed=5).play([plan.Test("X", "breaks", breaks, 2, 1)])
    (entry,) = report.entries
    assert (entry.verdict, entry.faults, entry.seed) == ("failed", 1, 5)
    assert entry.complaints == ["TimedOutError: still waiting for godot after 3 s"]
    assert "X    failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "verdict", "runs"),
    [
        ([Result(doubts=["hit nothing"]), Result({"kills": 3})], "passed", 2),
        ([Result(doubts=["hit nothing"]), Result(doubts=["hit nothing again"])], "unproven", 2),
        ([Result(doubts=["hit nothing"]), Result(complaints=["1 lost"])], "failed", 2),
        ([Result(complaints=["1 lost"], doubts=["hit nothing"])], "failed", 1),
    ],
)
def test_a_run_that_shows_too_little_is_repeated_once_and_a_fault_found_never_is(
    tmp_path: Path, found: list[Result], verdict: str, runs: int
) -> None:
    """Chance may spare the workers once; what is wrong stays wrong however the next run would end."""
    seeds: list[int] = []

    def runs_again(context: Context) -> Result:
        seeds.append(context.seed)
        return found[len(seeds) - 1]

    report = Report(tmp_path / "torture.json", "a machine")
    with Shared(tmp_path) as shared:
        torture.Session(report, shared, seed=5).play([plan.Test("X", "x", runs_again, 1, 1)])
    (entry,) = report.entries
    assert (entry.verdict, entry.is_good, len(set(seeds))) == (verdict, verdict == "passed", runs)
    assert entry.complaints == found[runs - 1].complaints + found[runs - 1].doubts
    assert entry.figures.get("second_seed") == (seeds[1] if runs == 2 else None)  # who repeats it must know


def test_tests_run_side_by_side_where_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two jobs are two tests at a time, each with a line of its own; what is no part of a quick run is left out."""
    both = Barrier(2, timeout=30)

    def meets(_: Context) -> Result:
        both.wait()
        return Result({"met": 1})

    report = Report(tmp_path / "torture.json", "a machine")
    tests = [plan.Test(name, "meets", meets, 1, quick) for name, quick in (("A", 1), ("B", 1), ("C", None))]
    with Shared(tmp_path) as shared:
        torture.Session(report, shared, jobs=2).play(tests)
    assert sorted(entry.id for entry in report.entries) == ["A", "B"]
    assert all(entry.is_good for entry in report.entries)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_another_number_of_faults_is_played_where_asked(tmp_path: Path) -> None:
    """Who asks for an hour gets it, also of a test that has no part in the size."""
    asked: list[int] = []

    def notes(context: Context) -> Result:
        asked.append(context.faults)
        return Result({})

    with Shared(tmp_path) as shared:
        session = torture.Session(Report(tmp_path / "torture.json", "a machine"), shared, "quick", faults=720)
        session.play([plan.Test("X", "notes", notes, 20, None)])
    assert asked == [720]


@pytest.mark.parametrize("arguments", [["--faults", "720"], ["--tests", "A2", "--faults", "0"]])
def test_one_number_of_faults_for_the_whole_plan_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each test counts something else; none at all would be a green run of nothing."""
    with pytest.raises(SystemExit):
        torture.main(arguments)
    assert "--faults is at least 1" in capsys.readouterr().err


def test_the_plan_names_every_test_once() -> None:
    """Ids are what `--tests` and the report go by; a quick run is never longer than a full one, nor a smoke longer."""
    assert len({test.id for test in plan.PLAN}) == len(plan.PLAN)
    assert all(test.quick is None or test.quick <= test.full for test in plan.PLAN)
    assert all(test.smoke is None or test.smoke <= (test.quick or 0) for test in plan.PLAN)
    assert sum(test.is_control for test in plan.PLAN) >= 5


def test_every_size_has_all_controls() -> None:
    """A run whose checkers could be blind proves nothing."""
    for size in ("smoke", "quick", "full"):
        assert all(test.faults(size) for test in plan.PLAN if test.is_control)
        assert any(test.faults(size) for test in plan.PLAN if not test.is_control)


def test_an_unknown_test_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error must not pass as a green run of nothing."""
    with pytest.raises(SystemExit) as ended:
        torture.main(["--tests", "T1,T99"])
    assert ended.value.code == 2
    assert "no such test: T99" in capsys.readouterr().err


def test_kills_meet_every_fail_point_often_enough() -> None:
    """Of 200 kills 80 are at the 12 fail points, at least 6 at each, and each follows a kill of the same slot."""
    kills = schedule(200, Random(1))
    points = [kill.point for kill in kills if kill.point]
    assert len(kills) == 200
    assert len(points) == 80
    assert min(points.count(point) for point in POINTS) >= 6
    assert all(kills[i - 1].slot == kill.slot for i, kill in enumerate(kills) if kill.point)
    assert schedule(200, Random(1)) == kills
    assert {kill.point for kill in schedule(30, Random(2))} == {None, *POINTS}
    assert {kill.point for kill in schedule(4, Random(2))} == {None}


def test_percentiles_are_values_that_were_measured() -> None:
    """The smallest value that so many do not exceed; nothing measured is not a number."""
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert percentile([3.0], 0.95) == 3.0
    assert math.isnan(percentile([], 0.5))


def test_waiting_ends_with_what_was_waited_for() -> None:
    """Whoever reads a failed run learns what did not happen."""
    assert wait_until(lambda: True, "nothing", 1.0) < 1.0
    with pytest.raises(TimedOutError, match="still waiting for godot after 0 s"):
        wait_until(lambda: False, "godot", 0.0, 0.0)


def test_settings_of_a_worker_are_valid(tmp_path: Path) -> None:
    """What the harness writes is read by the product, and unset values are left out."""
    sections = {"kafka": {"group_id": "g", "instance_id": None}, "input": {"topics": ["a"]}, "state": {}}
    loaded = load_settings(write_settings(tmp_path / "w.toml", sections), {}, {})
    assert loaded.settings.kafka.instance_id is None
    assert loaded.settings.input.topics == ("a",)
