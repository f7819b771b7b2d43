"""Figures beside published ones: which series count, what is judged, and how the table adds up."""

from __future__ import annotations

import dataclasses
import gzip
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from scripts.bench import anchors
from streamae.errors import DataError
from streamae.evaluation import jobs
from streamae.evaluation.ranking import period, vus_pr
from streamae.settings.tree import Settings

ROWS, TRAINED_ON, SPIKE = 500, 300, 420
HEADER = "dataset,series,tsb_series,start_row,rows,tsb_train_rows,match,method,vus_pr"
LINES = (
    "smd,a,x,10,480,300,exact,PCA,0.5",
    "smd,a,x,10,480,300,exact,CNN,0.75",
    "smd,b,y,0,500,300,near,PCA,0.9",
)


def write_suite(folder: Path, *lines: str) -> None:
    """Two series of two channels, a sine with noise and a spike of 10 rows."""
    manifest = "dataset,series,file,rows,channels,train_rows,timestamp_kind,step_seconds\n"
    for seed, name in enumerate("ab"):
        rng = np.random.default_rng(seed)
        values = np.sin(np.arange(ROWS) / 9.0)[:, None] + 0.1 * rng.normal(size=(ROWS, 2))
        values[SPIKE : SPIKE + 10] += 6.0
        rows = [f"{row},{x:.5f},{y:.5f},{int(SPIKE <= row < SPIKE + 10)}" for row, (x, y) in enumerate(values)]
        with gzip.open(folder / f"{name}.csv.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(["timestamp,x,y,is_anomaly", *rows]) + "\n")
        manifest += f"smd,{name},{name}.csv.gz,{ROWS},2,{TRAINED_ON},index,\n"
    (folder / "MANIFEST.csv").write_text(manifest, encoding="utf-8")
    if lines:
        (folder / anchors.ANCHORS).write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")


def test_only_exact_slices_count_and_methods_are_gathered(tmp_path: Path) -> None:
    """A slice that is only nearly the published one proves nothing."""
    write_suite(tmp_path, *LINES)
    (found,) = anchors.read_anchors(tmp_path)
    assert (found.entry.name, found.start, found.rows, found.train_rows) == ("a", 10, 480, 300)
    assert found.published == {"PCA": 0.5, "CNN": 0.75}


def test_suites_without_anchors_say_so(tmp_path: Path) -> None:
    """And so does one that names a series which is not there."""
    write_suite(tmp_path)
    with pytest.raises(DataError, match="no published figures"):
        anchors.read_anchors(tmp_path)
    write_suite(tmp_path, "smd,c,z,0,500,300,exact,PCA,0.5")
    with pytest.raises(DataError, match="smd/c is not in the manifest"):
        anchors.read_anchors(tmp_path)


def test_all_rows_of_the_slice_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on its first rows, scored to its last; rows before the first window rank lowest."""
    write_suite(tmp_path, *LINES)
    (anchor,) = anchors.read_anchors(tmp_path)
    judged: list[np.ndarray] = []

    def watch(labels: np.ndarray, scores: np.ndarray, window: int) -> float:
        judged.append(scores)
        return vus_pr(labels, scores, window)

    monkeypatch.setattr(anchors, "vus_pr", watch)
    figure = anchors.reached(anchors.AnchorJob(anchor, "zscore", 0, Settings()))
    (scores,) = judged
    assert len(scores) == 480
    assert np.isfinite(scores).all()
    assert scores[0] == scores.min()
    assert SPIKE - 10 <= int(np.argmax(scores)) < SPIKE + 10
    assert 0.5 < figure <= 1.0
    values = anchor.entry.load().series.values[10:490]
    labels = np.isin(np.arange(480), np.arange(SPIKE - 10, SPIKE))
    assert figure == pytest.approx(vus_pr(labels, scores, period(values[:, 0])))


def test_scores_may_be_laid_where_only_hindsight_can(tmp_path: Path) -> None:
    """On the middle row of their windows, half a window earlier; it is another figure, and kept as another one."""
    write_suite(tmp_path, *LINES)
    (anchor,) = anchors.read_anchors(tmp_path)
    live = anchors.AnchorJob(anchor, "zscore", 0, Settings())
    ahead = dataclasses.replace(live, is_centred=True)
    assert anchors.centred(np.arange(10.0), 4).tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 0, 0]
    assert anchors.reached(ahead) < anchors.reached(live)  # a score of single rows comes too early then
    assert ahead.fingerprint != live.fingerprint


def test_the_code_of_package_and_scripts_is_part_of_what_a_figure_is_kept_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of either makes another digest: no figure outlives the code that made it."""
    write_suite(tmp_path, *LINES)
    job = anchors.AnchorJob(anchors.read_anchors(tmp_path)[0], "zscore", 0, Settings())
    before = {job.fingerprint}
    for module, name in ((jobs, "PACKAGE"), (anchors, "SCRIPTS")):
        copy = tmp_path / name
        shutil.copytree(getattr(module, name), copy)
        (copy / "__init__.py").write_text("# another\n", encoding="utf-8")
        monkeypatch.setattr(module, name, copy)
        assert job.fingerprint not in before
        before.add(job.fingerprint)


def test_the_table_puts_the_best_published_beside_ours(tmp_path: Path) -> None:
    """Means over the group's series; methods that are not published for all of them are left out."""
    write_suite(tmp_path, *LINES, "smd,b,y,0,500,300,exact,PCA,0.25")
    found = anchors.read_anchors(tmp_path)
    text = anchors.table(found, ["default"], [[0.25, 0.75]])
    assert text == "smd, 2 series: default 0.500; published: PCA 0.375"


@pytest.mark.slow
def test_other_processes_find_the_same(tmp_path: Path) -> None:
    """Side by side or one after the other, a figure is the same to the last digit; failures come back as results."""
    write_suite(tmp_path, *LINES)
    (anchor,) = anchors.read_anchors(tmp_path)
    good = anchors.AnchorJob(anchor, "zscore", 0, Settings())
    bad = dataclasses.replace(good, anchor=dataclasses.replace(anchor, train_rows=3))
    found = {one.job.anchor.train_rows: one for one in anchors.perform([bad, good], 2)}
    assert found[300].vus_pr == anchors.run(good).vus_pr
    assert not found[300].error
    assert found[3].vus_pr == 0.0
    assert found[3].error.startswith("DataError: ")
    with pytest.raises(DataError):
        anchors.reached(bad)


def test_the_command_prints_the_table_and_tells_of_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a group and the machine; a series that failed counts zero, is named, and makes the exit code 1."""
    write_suite(tmp_path, LINES[0])
    assert anchors.main([str(tmp_path), "--detectors", "zscore,pca_row"]) == 0
    title, line, machine = capsys.readouterr().out.splitlines()
    assert title == "VUS-PR on the published slices and splits"
    assert re.fullmatch(r"smd, 1 series: zscore 0\.\d{3}, pca_row 0\.\d{3}; published: PCA 0\.500", line)
    assert "cores" in machine
    write_suite(tmp_path, LINES[0].replace(",300,", ",3,"))
    assert anchors.main([str(tmp_path), "--detectors", "zscore"]) == 1
    captured = capsys.readouterr()
    assert "smd, 1 series: zscore 0.000" in captured.out
    assert "\nfailed: smd/a zscore seed 0: DataError: " in captured.err
