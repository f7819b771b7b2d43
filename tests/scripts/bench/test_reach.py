"""Every target beside what is reached: one command end to end on a small suite, and the arithmetic of each row."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts.bench.anchors import ANCHORS, Anchor, AnchorJob, AnchorResult, read_anchors
from scripts.bench.reach import __main__ as command
from scripts.bench.reach import targets
from scripts.bench.reach.findings import (
    AnchorMean,
    Corpus,
    Figure,
    Findings,
    Mean,
    Number,
    Ratio,
    fleet_ratio,
    pca_ratio,
)
from scripts.bench.reach.kept_anchors import KeptAnchors, resume
from scripts.bench.reach.runs import Reach, anchor_text
from scripts.bench.reach.targets import TARGETS, Row, Target, rows, text, write
from streamae.errors import DataError, ExitCode
from streamae.evaluation.measures import COLUMNS, Measures, failed
from streamae.evaluation.nab_corpus import CorpusScore
from streamae.evaluation.results import Result
from streamae.evaluation.suite import SuiteSeries
from streamae.settings.data import FeatureSettings
from streamae.settings.tree import Settings
from tests.evaluation.suites import QUICK, ROWS, TRAIN_ROWS, read_manifest, write_manifest, write_suite

pytestmark = pytest.mark.slow

ANCHOR_HEADER = "dataset,series,tsb_series,start_row,rows,tsb_train_rows,match,method,vus_pr"
GROUPS = ("smd", "asd", "nab", "ucr")


class Run(NamedTuple):
    """One command that ended."""

    code: int
    out: Path
    printed: str
    progress: str

    def table(self) -> dict[str, dict[str, str]]:
        """Return the rows of `reach.csv` by their `what`."""
        with (self.out / "reach.csv").open(encoding="utf-8", newline="") as stream:
            return {row["what"]: row for row in csv.DictReader(stream)}


def reached(suite: Path, out: Path, groups: tuple[str, ...] = (), seeds: int = 1, settings: Settings = QUICK) -> Run:
    """Run it with settings that train in a moment."""
    stream, progress = io.StringIO(), io.StringIO()
    code = Reach(settings, suite, out, groups, seeds, 1, stream, progress).run()
    return Run(code, out, stream.getvalue(), progress.getvalue())


def write_anchors(folder: Path, *places: str) -> None:
    """Publish figures for whole series, given as `group,series`."""
    lines = [f"{place},x,0,{ROWS},{TRAIN_ROWS},exact,CNN,0.5" for place in places]
    (folder / ANCHORS).write_text("\n".join([ANCHOR_HEADER, *lines]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four groups, the fleet's of two series; two of them have a published slice."""
    folder = write_suite(tmp_path_factory.mktemp("suite"), GROUPS)
    write_manifest(folder, [one for one in read_manifest(folder) if "smd" in one.values() or "001" not in str(one)])
    write_anchors(folder, "smd,machine-000", "ucr,machine-000")
    return folder


@pytest.fixture(scope="module")
def run(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One whole command, with two seeds, for all tests that look at it."""
    return reached(suite, tmp_path_factory.mktemp("reach"), seeds=2)


def result(group: str, series: str, figure: float, detector: str = "default", seed: int = 0) -> Result:
    """A result whose figures are all `figure`."""
    return Result(group, series, detector, seed, Measures(**dict.fromkeys(COLUMNS, figure)), events=1)


def anchor(group: str, series: str) -> Anchor:
    """A published slice that nobody loads."""
    entry = SuiteSeries(group, series, Path(series), ROWS, 1, TRAIN_ROWS, has_times=False, step_ms=None)
    return Anchor(entry, 0, ROWS, TRAIN_ROWS, {"CNN": 0.5})


def anchored(group: str, series: str, figure: float, detector: str = "default", seed: int = 0) -> AnchorResult:
    """What was reached on such a slice."""
    return AnchorResult(AnchorJob(anchor(group, series), detector, seed, QUICK), figure)


def row(reached: Figure, sign: str, bound: float | Figure, form: str = ".3f") -> Row:
    """The row of one target, of findings that do not matter."""
    (found,) = rows(Findings(()), [Target("it", reached, sign, bound, "someone said so", form)])
    return found


def test_one_command_fills_the_whole_table(run: Run) -> None:
    """Every target has its row, in the order of the table; what could be run has a figure, whatever it is worth."""
    assert run.code == ExitCode.OK
    table = run.table()
    assert list(table) == [target.what for target in TARGETS]
    for what in ("smap_msl", "skab", "mscloud"):
        assert table[f"AP, default / pca, {what}"]["reached"] == "not run"
    names = {name for name, one in table.items() if one["reached"] == "not run"}
    assert len(names) == 4  # and no slice of smap_msl
    assert {one["is_met"] for name, one in table.items() if name not in names} <= {"true", "false"}
    assert {table[name]["is_met"] for name in names} == {""}


def test_the_table_is_printed_with_the_machine_under_it(run: Run) -> None:
    """A row a target: what, target, reached, met; then what the figures were made on and where they are."""
    lines = run.printed.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("what "))
    assert lines[head].split() == ["what", "target", "reached", "met", "the", "target", "is"]
    shown = lines[head + 1 : head + 1 + len(TARGETS)]
    assert all(line.startswith(target.what) for line, target in zip(shown, TARGETS, strict=True))
    assert all(re.search(r"  (yes|-|undefined|missed( by \S+| narrowly|: equal))  ", line) for line in shown)
    assert lines[-2].endswith("jobs of one core: 1")
    assert lines[-1] == f"table: {run.out / 'reach.csv'}"


def test_figures_are_those_of_the_evaluation(run: Run) -> None:
    """Seeds, single bundles, fleet and corpus are read from where the evaluation has put them."""
    with (run.out / "single" / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        single = [one for one in csv.DictReader(stream) if one["group"] == "smd"]
    with (run.out / "fleet" / "metrics.csv").open(encoding="utf-8", newline="") as stream:
        fleet = list(csv.DictReader(stream))
    assert {one["detector"] for one in single} == {"default", "default+sigma8", "default+sigma3", "pca"}
    assert {one["seed"] for one in single} == {"0", "1"}
    assert {(one["group"], one["detector"], one["seed"]) for one in fleet} == {("smd", "default@fleet", "0")}

    def mean(table: list[dict[str, str]], detector: str, seeds: str) -> float:
        chosen = [float(one["ap"]) for one in table if one["detector"] == detector and one["seed"] in seeds]
        return math.fsum(chosen) / len(chosen)

    table = run.table()
    ratio = mean(single, "default", "01") / mean(single, "pca", "01")
    assert float(table["AP, default / pca, smd"]["reached"]) == pytest.approx(ratio)
    ratio = mean(fleet, "default@fleet", "0") / mean(single, "default", "0")
    assert float(table["AP, one bundle for smd / one a machine"]["reached"]) == pytest.approx(ratio)
    with (run.out / "single" / "nab.csv").open(encoding="utf-8", newline="") as stream:
        corpus = [one for one in csv.DictReader(stream) if (one["group"], one["detector"]) == ("nab", "default")]
    own = math.fsum(float(one["nab_own_threshold"]) for one in corpus) / 2
    assert float(table["NAB corpus, own threshold"]["reached"]) == pytest.approx(own)


def test_what_is_done_is_not_done_again(suite: Path, run: Run) -> None:
    """A second command trains nothing and writes the same table; figures on slices are taken from their file."""
    files = [path for path in run.out.rglob("*") if path.is_file() and {"bundles", "results"} & set(path.parts)]
    before = {path: path.stat().st_mtime_ns for path in files}
    table = run.table()
    again = reached(suite, run.out, seeds=2)
    assert again.progress.splitlines() == [
        "20 of 20 jobs are done from before",  # 5 series, 2 networks, 2 seeds
        "1 of 1 jobs are done from before",  # one fleet
        "10 of 10 jobs are done from before",  # 2 slices by default and pca, one by auto, 2 seeds
    ]
    assert again.table() == table
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_figures_on_slices_are_kept_by_all_they_depend_on(suite: Path, run: Run, tmp_path: Path) -> None:
    """A kept figure is believed as it stands, but not for another seed, other settings, or after it was damaged."""
    kept = KeptAnchors.read(run.out / "anchors.csv")
    assert [place for place in kept.figures if place[3] == 0] == [
        ("default", "smd", "machine-000", 0),
        ("default", "ucr", "machine-000", 0),
        ("pca", "smd", "machine-000", 0),
        ("pca", "ucr", "machine-000", 0),
        ("auto", "ucr", "machine-000", 0),
    ]
    job = AnchorJob(read_anchors(suite)[0], "pca", 0, QUICK)
    marked = KeptAnchors(tmp_path / "anchors.csv")
    marked.keep(AnchorResult(job, 0.125))
    assert resume([job], marked.path, 1, io.StringIO()) == [AnchorResult(job, 0.125)]
    found = KeptAnchors.read(marked.path)
    assert found.find(dataclasses.replace(job, seed=1)) is None
    other = QUICK.model_copy(update={"train": QUICK.train.model_copy(update={"window_size": 16})})
    assert found.find(dataclasses.replace(job, detector="default", settings=other)) is None
    assert found.find(dataclasses.replace(job, anchor=dataclasses.replace(job.anchor, start=1))) is None
    by_key = QUICK.model_copy(update={"features": FeatureSettings(scaling="key")})
    scaled, progress = dataclasses.replace(job, settings=by_key), io.StringIO()
    (made,) = resume([scaled], marked.path, 1, progress)
    assert made.vus_pr != 0.125
    assert progress.getvalue().splitlines()[0] == (
        f"1 results in {marked.path} were made by other settings, data or code and are made again"
    )
    assert KeptAnchors.read(marked.path).find(scaled) == made
    marked.path.write_text("detector,group\nnot,ours\n", encoding="utf-8")
    assert KeptAnchors.read(marked.path).figures == {}


def test_a_slice_that_fails_counts_zero_and_is_tried_again(suite: Path, tmp_path: Path) -> None:
    """One bad series must neither end the others nor be kept as a figure; the exit code tells."""
    good = AnchorJob(read_anchors(suite)[0], "pca", 0, QUICK)
    bad = AnchorJob(dataclasses.replace(good.anchor, train_rows=3), "pca", 1, QUICK)
    first, second = resume([bad, good], tmp_path / "anchors.csv", 1, io.StringIO())
    assert first.vus_pr == 0.0
    assert first.error.startswith("DataError: ")
    assert 0.0 < second.vus_pr <= 1.0
    assert not second.error
    assert [place[3] for place in KeptAnchors.read(tmp_path / "anchors.csv").figures] == [0]


def test_other_settings_make_the_whole_table_anew(suite: Path, tmp_path: Path) -> None:
    """Into the same folder: single bundles, the fleet's and the figures on slices are made again, which is said."""
    before = reached(suite, tmp_path, ("smd",)).table()
    by_key = QUICK.model_copy(update={"features": FeatureSettings(scaling="key")})
    again = reached(suite, tmp_path, ("smd",), settings=by_key)
    told = [line for line in again.progress.splitlines() if line.endswith("and are made again")]
    assert [line.split(" results in ")[0] for line in told] == ["8", "2", "2"]
    assert "from before" not in again.progress
    assert again.table() != before


def test_a_group_that_is_not_run_says_so(suite: Path, tmp_path: Path) -> None:
    """Neither a smaller choice nor a suite without fleet group and published figures is an error."""
    found = reached(suite, tmp_path, ("asd",))
    assert found.code == ExitCode.OK
    assert "fleet: not run, there is no group smd in asd" in found.printed
    assert f"anchors: not run, {ANCHORS} has no exact slice of asd" in found.printed
    table = found.table()
    done = {what for what, one in table.items() if one["reached"] != "not run"}
    assert done == {"AP, default / pca, asd", "recall at 8 false blocks, asd"}
    assert not (tmp_path / "fleet").exists()


def test_any_suite_will_do(tmp_path: Path) -> None:
    """Groups that no target names still count in the mean of all groups; failures are told by the exit code."""
    folder = write_suite(tmp_path / "suite", ("mill",))
    found = reached(folder, tmp_path / "out")
    assert found.code == ExitCode.OK
    assert f"anchors: not run, there is no {ANCHORS} in {folder}" in found.printed
    done = [what for what, one in found.table().items() if one["reached"] != "not run"]
    assert done == [target.what for target in TARGETS if "all groups" in target.what]
    write_manifest(folder, [row | {"train_rows": 20} for row in read_manifest(folder)])
    assert reached(folder, tmp_path / "out").code == ExitCode.FAILURE


def test_a_suite_that_cannot_be_used_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with a sentence, not with a traceback, and takes no setting that could be tuned to targets."""
    assert command.main([str(tmp_path), "--out", str(tmp_path / "out")]) == ExitCode.FAILURE
    captured = capsys.readouterr()
    assert captured.err.startswith(f"reach: {tmp_path / 'MANIFEST.csv'}: not readable")
    folder = write_suite(tmp_path / "suite", ("mill",))
    with pytest.raises(DataError, match="no group smd"):
        reached(folder, tmp_path / "out", ("smd",))
    for wrong in (["--seeds", "0"], ["--train.max_steps", "1"]):
        with pytest.raises(SystemExit):
            command.main([str(folder), "--out", str(tmp_path / "out"), *wrong])


def test_means_are_over_series_then_groups() -> None:
    """As the table of an evaluation has them: seeds first; failures are zeros; no mean while a group is missing."""
    broken = Result("asd", "y", "default", 0, failed(has_events=True), events=1, error="too short")
    results = [
        *(result("smd", "x", 0.2), result("smd", "x", 0.4, seed=1), result("smd", "y", 0.9)),
        *(result("asd", "x", 1.0), broken, result("asd", "x", 0.7, "pca")),
    ]
    findings = Findings(("smd", "asd"), results)
    assert Mean("ap", ("smd",)).of(findings) == pytest.approx(0.6)
    assert Mean("ap", ("smd",), seed=0).of(findings) == pytest.approx(0.55)
    assert Mean("strict_f1", ("asd",)).of(findings) == pytest.approx(0.5)
    assert Mean("alarm_share", ("asd",)).of(findings) == pytest.approx(1.0)
    assert Mean("strict_f1", ("smd", "asd")).of(findings) == pytest.approx(0.55)
    assert Mean("strict_f1").of(findings) == pytest.approx(0.55)
    assert Mean("strict_f1", ("smd", "nab")).of(findings) is None
    assert Mean("strict_f1").of(Findings(("smd", "asd", "nab"), results)) is None
    assert Mean("ap", ("smd",), "pca").of(findings) is None


def test_ratios_hold_one_mean_against_another() -> None:
    """Default over pca, and the fleet's bundle over single ones with the same seed; zero below is no crash."""
    results = [
        *(result("smd", "x", 0.6), result("smd", "x", 0.2, seed=1), result("smd", "x", 0.5, "pca")),
        result("smd", "x", 0.3, "default@fleet"),
    ]
    findings = Findings(("smd",), results)
    assert pca_ratio("smd").of(findings) == pytest.approx(0.8)
    assert fleet_ratio("smd").of(findings) == pytest.approx(0.5)
    assert fleet_ratio("smd").of(Findings(("smd",), results[:3])) is None
    assert Ratio(Number(1.0), Number(0.0)).of(findings) == math.inf
    assert math.isnan(Ratio(Number(0.0), Number(0.0)).of(findings) or 0.0)


def test_slices_are_averaged_over_seeds_then_series() -> None:
    """Only the group's and the detector's own figures count."""
    found = [
        *(anchored("smd", "x", 0.2), anchored("smd", "x", 0.4, seed=1), anchored("smd", "y", 0.9)),
        *(anchored("smd", "x", 1.0, "pca"), anchored("ucr", "x", 0.1), anchored("ucr", "x", 0.7, "auto")),
    ]
    findings = Findings((), anchors=found)
    assert AnchorMean("smd").of(findings) == pytest.approx(0.6)
    assert AnchorMean("ucr", "auto").of(findings) == pytest.approx(0.7)
    assert AnchorMean("smap_msl").of(findings) is None


def test_detectors_on_other_slices_have_lines_of_their_own() -> None:
    """What ran on all groups stands together beside what was published, what ran on some behind it."""
    places = [anchor("smd", "x"), anchor("ucr", "x")]
    found = [
        *(anchored("smd", "x", 0.2), anchored("ucr", "x", 0.4), anchored("ucr", "x", 0.6, seed=1)),
        *(anchored("smd", "x", 0.3, "pca"), anchored("ucr", "x", 0.1, "pca"), anchored("ucr", "x", 0.7, "auto")),
    ]
    assert anchor_text(places, found).splitlines() == [
        "smd, 1 series: default 0.200, pca 0.300; published: CNN 0.500",
        "ucr, 1 series: default 0.500, pca 0.100; published: CNN 0.500",
        "ucr, 1 series: auto 0.700; published: CNN 0.500",
    ]


def test_the_corpus_score_is_a_mean_over_seeds() -> None:
    """Of the shipped detector on the group that the score is defined for."""
    scores = [
        CorpusScore("nab", "default", 0, 9, 50.0, 70.0, 1.0, 60.0),
        CorpusScore("nab", "default", 1, 9, 60.0, 72.0, 1.0, 60.0),
        CorpusScore("nab", "pca", 0, 9, 0.0, 0.0, 1.0, 0.0),
        CorpusScore("smd", "default", 0, 9, 0.0, 0.0, 1.0, 0.0),
    ]
    findings = Findings((), corpus=scores)
    assert Corpus("own").of(findings) == pytest.approx(55.0)
    assert Corpus("optimised").of(findings) == pytest.approx(71.0)
    assert Corpus("own").of(Findings(())) is None


@pytest.mark.parametrize(
    ("reached", "sign", "bound", "is_met", "verdict"),
    [
        (1.25, ">=", 1.25, True, "yes"),
        (1.0, ">=", 1.25, False, "missed by 0.250"),
        (0.4, ">", 0.4, False, "missed: equal"),
        (0.4001, ">", 0.4, True, "yes"),
        (0.63999, ">=", 0.64, False, "missed narrowly"),
        (4.0, "<=", 4.0, True, "yes"),
        (4.5, "<=", 4.0, False, "missed by 0.500"),
        (2.0, "<", 2.0, False, "missed: equal"),
        (math.inf, ">=", 1.0, True, "yes"),
        (math.nan, ">=", 1.0, False, "undefined"),
    ],
)
def test_a_target_is_met_to_the_last_digit(reached: float, sign: str, bound: float, is_met: bool, verdict: str) -> None:
    """Nothing is rounded up to a target, and a miss says how far it is away."""
    found = row(Number(reached), sign, bound)
    assert (found.is_met, found.verdict) == (is_met, verdict)


def test_the_bound_may_be_another_figure_of_the_run() -> None:
    """Against a rival the target is the rival's own figure; without the rival there is nothing to hold against."""
    rival = row(Number(0.5), ">", Number(0.25))
    assert rival.cells() == ("it", "> 0.250", "0.500", "yes", "someone said so")
    alone = row(Number(0.5), ">", Mean("strict_f1", ("smd",)))
    assert alone.is_met is None
    assert alone.cells()[1:4] == ("> not run", "0.500", "-")


def test_people_and_programs_read_the_same_rows(tmp_path: Path) -> None:
    """The text is rounded and in percent where that is usual; the CSV has every digit and plain words."""
    found = [
        row(Number(0.0171), "<=", 0.015, ".2%"),
        row(Number(math.nan), ">=", 0.5),
        row(AnchorMean("smd"), ">", 0.4),
    ]
    cells = [re.split(r" {2,}", line) for line in text(found).splitlines()[1:]]
    assert cells == [
        ["it", "<= 1.50%", "1.71%", "missed by 0.21%", "someone said so"],
        ["it", ">= 0.500", "undefined", "undefined", "someone said so"],
        ["it", "> 0.400", "not run", "-", "someone said so"],
    ]
    write(tmp_path / "reach.csv", found)
    assert (tmp_path / "reach.csv").read_text(encoding="utf-8").splitlines() == [
        "what,target,reached,is_met",
        "it,<= 0.015,0.0171,false",
        "it,>= 0.5,nan,false",
        "it,> 0.4,not run,",
    ]


def test_every_target_has_a_row_of_its_own_and_a_source() -> None:
    """Rows are told apart by what they say, and nobody has to ask where a target comes from."""
    assert len({target.what for target in TARGETS}) == len(TARGETS) == 23
    assert all(target.source and target.sign in targets.COMPARED for target in TARGETS)
    measured = {target.figure.column for target in TARGETS if isinstance(target.figure, Mean)}
    assert measured <= set(COLUMNS)
