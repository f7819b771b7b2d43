"""One labelled file as a suite: where it is split, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamae.errors import DataError
from streamae.evaluation.labelled_file import open_file
from streamae.evaluation.suite import Suite
from streamae.settings.data import InputSettings

LABELLED = InputSettings(label_field="Class", time_field="at")


def table(path: Path, *anomalies: int, rows: int = 20, key: str = "k") -> Path:
    """Write rows a minute apart, newest first, with anomalies at these places of time."""
    lines = [f"2025-03-03 00:{row:02}:00,{key},{row}.5,{int(row in anomalies)}" for row in reversed(range(rows))]
    path.write_text("\n".join(["at,machine,load,Class", *lines]) + "\n", encoding="utf-8")
    return path


def opened(path: Path, reading: InputSettings = LABELLED, train_rows: int | None = None) -> tuple[Suite, list[str]]:
    """Return the suite and what was told."""
    told: list[str] = []
    return open_file(path, reading, train_rows, told.append), told


@pytest.mark.parametrize(
    ("anomalies", "train_rows", "expected"),
    [((15,), None, 10), ((), None, 10), ((7, 15), None, 7), ((1, 15), None, 10), ((7,), 12, 12), ((7,), 99, 20)],
)
def test_where_a_file_is_split(
    tmp_path: Path, anomalies: tuple[int, ...], train_rows: int | None, expected: int
) -> None:
    """Half trains, or what lies before the first anomaly where that is enough to learn from, or what was asked for."""
    (one,) = opened(table(tmp_path / "cards.csv", *anomalies), train_rows=train_rows)[0].series
    assert (one.rows, one.train_rows, one.step_ms) == (20, expected, 60_000)


def test_rows_and_labels_are_those_of_the_file_in_the_order_of_time(tmp_path: Path) -> None:
    """The label is no feature and hidden from detectors; rows that came newest first are turned over with it."""
    suite, told = opened(table(tmp_path / "cards.csv", 15))
    loaded = suite.series[0].load()
    assert loaded.series.features == ("load",)
    assert loaded.series.values[:, 0].tolist() == [row + 0.5 for row in range(20)]
    assert loaded.labels.nonzero()[0].tolist() == [15]
    assert loaded.series.labels is None
    assert any("sorted" in line for line in told)


def test_each_key_is_a_series_of_its_own(tmp_path: Path) -> None:
    """Machines in one file are not mixed; each is split by its own anomalies."""
    path = table(tmp_path / "plant.csv", 15)
    lines = table(tmp_path / "other.csv", 6, key="l").read_text(encoding="utf-8").splitlines()[1:]
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(lines) + "\n", encoding="utf-8")
    suite, told = opened(path, LABELLED.model_copy(update={"key_field": "machine"}))
    assert [(one.group, one.name, one.train_rows) for one in suite.series] == [("plant", "k", 10), ("plant", "l", 6)]
    assert suite.series[1].load().labels.nonzero()[0].tolist() == [6]
    assert any("40 rows of 2 keys" in line for line in told)


def test_the_split_is_said(tmp_path: Path) -> None:
    """Nobody reads figures without knowing what was trained on, and how to split elsewhere."""
    _, told = opened(table(tmp_path / "cards.csv", 1, 15, 16, 18))
    assert "20 rows, features load" in told[-2]
    assert "the first 10 rows train (half, or up to the first anomaly), 1 of them anomalous" in told[-1]
    assert "10 are tested, anomalies in them: 2; --train-rows N splits elsewhere" in told[-1]


def test_a_file_without_labels_says_which_setting_names_them(tmp_path: Path) -> None:
    """Without labels there is nothing to hold figures against."""
    with pytest.raises(DataError, match=r"no labels: name their field with input\.label_field"):
        opened(table(tmp_path / "cards.csv"), InputSettings(time_field="at"))


@pytest.mark.parametrize(
    ("normal", "odd", "is_refused"),
    [("1", "-1", True), ("fine", "dos", True), ("BENIGN", "DoS", False), ("ok", "x", False)],
)
def test_labels_without_a_normal_row_are_refused(tmp_path: Path, normal: str, odd: str, is_refused: bool) -> None:
    """Where everything is an anomaly every alarm is right: the best of figures, and nothing was measured."""
    lines = [f"{1_740_960_000 + 10 * row},{row}.5,{odd if row == 15 else normal}" for row in range(20)]
    path = tmp_path / "cards.csv"
    path.write_text("\n".join(["at,load,verdict", *lines]), encoding="utf-8")
    reading = InputSettings(time_field="at", label_field="verdict", value_fields=("load",))
    if is_refused:
        with pytest.raises(DataError, match=r"cards\.csv: every row is labelled as an anomaly"):
            opened(path, reading)
    else:
        assert [15] == opened(path, reading)[0].series[0].load().labels.nonzero()[0].tolist()
