"""The reader of benchmark suites: what it loads, and what it says where it cannot."""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamae.errors import DataError
from streamae.evaluation.suite import COLUMNS, Suite, in_order
from streamae.settings.data import InputSettings
from tests.shared_data import shared_data

ISO = """timestamp,a,b,is_anomaly
2024-01-01 00:00:00,1.5,,0
2024-01-01 00:01:00,2.5,7,1
2024-01-01 00:01:00,3.5,8,1
2024-01-01 00:00:30,4.5,9,0
2024-01-01 00:03:00,,10,0
"""
INDEX = "timestamp,value,is_anomaly\n" + "".join(f"{row},{row / 10},{int(row == 3)}\n" for row in range(5))


def entry(**changes: str) -> dict[str, str]:
    """One row of a manifest, for the ISO file unless changed."""
    row = {
        "dataset": "one",
        "series": "iso",
        "file": "one/iso.csv.gz",
        "rows": "5",
        "channels": "2",
        "train_rows": "2",
        "timestamp_kind": "iso",
        "step_seconds": "60",
    }
    return row | changes


NUMBERED = {"dataset": "two", "series": "x/index", "file": "index.csv", "channels": "1", "timestamp_kind": "index"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two series of two groups and no manifest."""
    (tmp_path / "one").mkdir()
    with gzip.open(tmp_path / "one" / "iso.csv.gz", "wt", encoding="utf-8") as stream:
        stream.write(ISO)
    (tmp_path / "index.csv").write_text(INDEX, encoding="utf-8")
    return tmp_path


ALL = (*COLUMNS, "rows", "channels", "timestamp_kind", "step_seconds")


def write(folder: Path, *rows: dict[str, str], columns: tuple[str, ...] = ALL) -> Path:
    """Write the manifest and return the folder."""
    with (folder / "MANIFEST.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_series_are_loaded_as_the_manifest_says(folder: Path) -> None:
    """Names, values with NaN where a cell is empty, labels and the split come out of a gzipped file."""
    (found,) = Suite.open(write(folder, entry())).series
    loaded = found.load()
    assert loaded.series.key == "one/iso"
    assert loaded.series.features == ("a", "b")
    assert loaded.series.values.dtype == np.float64
    np.testing.assert_array_equal(
        loaded.series.values, np.array([[1.5, np.nan], [2.5, 7], [3.5, 8], [4.5, 9], [np.nan, 10]], np.float32)
    )
    assert loaded.labels.tolist() == [False, True, True, False, False]
    assert loaded.train_rows == 2


def test_labels_are_not_part_of_what_a_detector_gets(folder: Path) -> None:
    """The series itself carries no labels, and the label column is no feature."""
    loaded = Suite.open(write(folder, entry())).series[0].load()
    assert loaded.series.labels is None
    assert "is_anomaly" not in loaded.series.features


def test_repeated_and_backward_times_keep_their_rows(folder: Path) -> None:
    """Rows stay in order, so that scores align; a time that is not later becomes one millisecond after the row before."""
    times = Suite.open(write(folder, entry())).series[0].load().series.event_times_ms
    assert (times - times[0]).tolist() == [0, 60_000, 60_001, 60_002, 180_000]
    assert np.datetime64(int(times[0]), "ms") == np.datetime64("2024-01-01T00:00:00")


@given(st.lists(st.integers(-20, 20), max_size=30))
def test_in_order_is_strict_and_changes_only_what_is_not_later(times: list[int]) -> None:
    """The rule row by row: the own time if later than the row before, else one millisecond after it."""
    expected: list[int] = []
    for time in times:
        expected.append(time if not expected or time > expected[-1] else expected[-1] + 1)
    assert in_order(np.array(times, dtype=np.int64)).tolist() == expected


@pytest.mark.parametrize(("step", "expected_ms"), [("60", 60_000), ("", 1_000), ("0.5", 500)])
def test_row_numbers_become_times_one_step_apart(folder: Path, step: str, expected_ms: int) -> None:
    """Where the step is unknown, rows are a second apart."""
    (found,) = Suite.open(write(folder, entry(**NUMBERED, step_seconds=step))).series
    assert found.load().series.event_times_ms.tolist() == [row * expected_ms for row in range(5)]


def test_groups_in_order_and_selection(folder: Path) -> None:
    """Groups come in order of appearance; a selection keeps the manifest's order; no name means all."""
    rows = [entry(**NUMBERED), entry(), entry(**{**NUMBERED, "series": "again"})]
    suite = Suite.open(write(folder, *rows))
    assert suite.groups == ("two", "one")
    assert [one.name for one in suite.select(["two"]).series] == ["x/index", "again"]
    assert suite.select([]) == suite
    with pytest.raises(DataError, match=re.escape("no group three; there are two, one")):
        suite.select(["one", "three"])


def test_four_columns_are_enough(folder: Path) -> None:
    """Rows, channels and the usual step are counted, so that nobody has to."""
    (one, two) = Suite.open(write(folder, entry(), entry(**NUMBERED), columns=COLUMNS)).series
    assert (one.rows, one.channels, one.step_ms, one.has_times) == (5, 2, 105_000, True)
    assert (two.rows, two.channels, two.train_rows) == (5, 1, 2)
    assert one.load().differences == ()


def test_a_file_that_cannot_be_counted_is_the_failure_of_its_series(folder: Path) -> None:
    """The others are evaluated; this one says what is wrong where it is loaded."""
    (folder / "index.csv").write_text("name\nx\n", encoding="utf-8")
    (one, two) = Suite.open(write(folder, entry(), entry(**NUMBERED), columns=COLUMNS)).series
    assert one.rows == 5
    assert two.rows > two.train_rows
    with pytest.raises(DataError, match="no time was found"):
        two.load()


def test_what_the_manifest_counts_otherwise_is_told(folder: Path) -> None:
    """A truncated or foreign file shows; checksums are not looked at, and right figures bring no word."""
    said = {"rows": "4", "channels": "3", "missing_values": "2", "anomaly_rows": "99", "sha256": "wrong"}
    right = {"anomaly_events": "1", "train_anomaly_rows": "1", "test_anomaly_events": "1"}
    columns = (*ALL, *{**said, **right}.keys() - set(ALL))
    (found,) = Suite.open(write(folder, entry(**said, **right), columns=columns)).series
    assert sorted(found.load().differences) == [
        "MANIFEST.csv says anomaly_rows 99, counted 2",
        "MANIFEST.csv says channels 3, counted 2",
        "MANIFEST.csv says rows 4, counted 5",
    ]


def test_files_are_read_by_the_settings(folder: Path) -> None:
    """A suite whose labels and times have other names needs no copy of its files."""
    text = ISO.replace("is_anomaly", "attack").replace("timestamp", "when")
    (folder / "index.csv").write_text(text, encoding="utf-8")
    row = entry(series="own", file="index.csv")
    reading = InputSettings(label_field="attack", time_field="when")
    (found,) = Suite.open(write(folder, row, columns=COLUMNS), reading).series
    loaded = found.load()
    assert loaded.series.features == ("a", "b")
    assert loaded.labels.tolist() == [False, True, True, False, False]


def test_a_manifest_s_file_is_one_series(folder: Path) -> None:
    """Several keys would be mixed, or one of them taken at random."""
    (found,) = Suite.open(write(folder, entry()), InputSettings(key_field="a", value_fields=("b",))).series
    with pytest.raises(DataError, match=r"4 keys, but it is one series: leave input\.key_field out"):
        found.load()


def test_missing_manifest_says_what_a_suite_is(tmp_path: Path) -> None:
    """The first mistake is to name another folder."""
    with pytest.raises(DataError, match=r"MANIFEST\.csv: not readable.*a suite is a folder with a MANIFEST\.csv"):
        Suite.open(tmp_path)


def test_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are no crash."""
    (tmp_path / "MANIFEST.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not readable"):
        Suite.open(tmp_path)


def test_wrong_header_names_what_is_missing(folder: Path) -> None:
    """Every missing column is named at once."""
    write(folder, entry(), columns=("dataset", "series", "rows"))
    with pytest.raises(DataError, match="no column file, train_rows"):
        Suite.open(folder)


def test_empty_manifest_is_refused(folder: Path) -> None:
    """A suite without series would be evaluated to nothing."""
    with pytest.raises(DataError, match="lists no series"):
        Suite.open(write(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_rows": "0"}, "train_rows is '0', not a whole number from 1"),
        ({"train_rows": "6"}, "train_rows 6 is out of range: 1 to 5"),
        ({"rows": "many"}, "rows is 'many', not a whole number"),
        ({"channels": "-2"}, "channels is '-2'"),
        ({"timestamp_kind": "unix"}, "'unix' is neither iso nor index"),
        ({"step_seconds": "-1"}, "step_seconds is '-1', not a number of seconds"),
        ({"step_seconds": "inf"}, "step_seconds is 'inf'"),
        ({"step_seconds": "often"}, "step_seconds is 'often'"),
        ({"series": " "}, "series is empty"),
        ({"file": "one/gone.csv"}, r"there is no file .*gone\.csv"),
    ],
)
def test_bad_rows_are_refused_with_line_and_reason(folder: Path, changes: dict[str, str], message: str) -> None:
    """The error names the manifest's line and what is wrong with it."""
    with pytest.raises(DataError, match=rf"line 3: .*{message}"):
        Suite.open(write(folder, entry(**NUMBERED), entry(**changes)))


def test_short_line_is_an_empty_cell(folder: Path) -> None:
    """A line cut short is refused for what it lacks."""
    (folder / "MANIFEST.csv").write_text(",".join(ALL) + "\none,iso\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: file, train_rows, timestamp_kind is empty"):
        Suite.open(folder)


def test_series_listed_twice_is_refused(folder: Path) -> None:
    """A series that counts twice would bend the average of its group; the same name in another group is fine."""
    with pytest.raises(DataError, match="line 4: series one/iso stands twice"):
        Suite.open(write(folder, entry(), entry(dataset="two"), entry()))


def test_a_file_shorter_than_its_train_rows_is_refused(folder: Path) -> None:
    """There would be nothing to test, and something else to train."""
    (found,) = Suite.open(write(folder, entry(rows="9", train_rows="7"))).series
    with pytest.raises(DataError, match=r"iso\.csv\.gz: 5 rows, but train_rows is 7"):
        found.load()


def test_file_without_labels_is_refused(folder: Path) -> None:
    """Without labels there is nothing to score against."""
    (folder / "index.csv").write_text("timestamp,value\n0,1\n1,2\n2,3\n3,4\n4,5\n", encoding="utf-8")
    (found,) = Suite.open(write(folder, entry(**NUMBERED))).series
    with pytest.raises(DataError, match=r"no labels: name their field with input\.label_field"):
        found.load()


def test_whole_series_may_train(folder: Path) -> None:
    """A series without a test part is loadable: it has nothing to score, which is for the caller to see."""
    assert Suite.open(write(folder, entry(train_rows="5"))).series[0].load().train_rows == 5


def test_real_suite_agrees_with_its_manifest() -> None:
    """Every group's first series loads with the anomalous rows and missing values that its manifest counts."""
    folder = shared_data()
    suite = Suite.open(folder)
    assert len(suite.series) > 100
    for group in suite.groups:
        found = suite.select([group]).series[0]
        loaded = found.load()
        assert loaded.differences == ()
        assert (np.diff(loaded.series.event_times_ms) > 0).all()
